"""Several requests as one list of operations, and the answer to the list as the answers that each would have had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Answer
from .operations import MAX_OPERATIONS, operations_request
from .requests import ApiRequest, operation_of

MOST_OPERATIONS = MAX_OPERATIONS
MOST_BYTES = 500_000
"""The most bytes of a list of several requests: half of what a service takes unless it is told otherwise."""
_LARGEST = 50_000
_SURROGATE = b"\\ud"
_WHOLE_BODY = "the body"


def can_travel(request: ApiRequest) -> bool:
    """Whether a request may be an operation of a list, and is answered there as it would be alone.

    A half of a surrogate pair is refused by other words in a list, so whatever JSON writes as pairs goes alone.
    """
    content = request.content
    return request.operation is not None and content is not None and (
        len(content) <= _LARGEST and _SURROGATE not in content
    )  # fmt: skip


def list_request(requests: Sequence[ApiRequest], before: Sequence[str] = ()) -> ApiRequest:
    """Build the request that has others as its operations, after some that are written already.

    Each must be one that `can_travel`.
    """
    return operations_request([*before, *(operation_of(request) for request in requests)])


def answers_of(answer: Answer, requests: int) -> list[Answer] | None:
    """Return the answer to each of so many requests of a list; None if each must be sent by itself to have one.

    That the service can't serve requests now is the answer to each of them.
    """
    if answer.status == 429 or answer.status >= 500:
        return [answer] * requests
    if not answer.is_good:
        return None
    try:
        results = json.loads(answer.content)["results"]
        found = [_answer(result, f"operations.{position}") for position, result in enumerate(results)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if len(found) == requests else None


def _answer(result: Mapping[str, Any], place: str) -> Answer:
    status, body, after = result["status"], result["body"], result.get("retry_after")
    if type(status) is not int or not isinstance(body, dict):
        raise TypeError("a result has no status or no body")
    if status >= 300:
        body = _told_alone(body, place)
    return Answer(status, retry_after_seconds=None if after is None else float(after), body=body)


def _told_alone(problem: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a problem as the operation's own route tells it: fields without their place in the list."""
    told = dict(problem)
    if isinstance(detail := told.get("detail"), str):
        path, colon, words = detail.partition(": ")
        if colon and (path == place or path.startswith(f"{place}.")):
            told["detail"] = f"{_alone(path, place) or _WHOLE_BODY}: {words}"
    if isinstance(errors := told.get("errors"), list):
        told["errors"] = [
            {**each, "field": _alone(each["field"], place)} if isinstance(each, dict) and "field" in each else each
            for each in errors
        ]
    return told


def _alone(path: str, place: str) -> str:
    return "" if path == place else path.removeprefix(f"{place}.")
