"""Lists of operations on the wire: many settles, releases and reserves in one request, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ApiError, InvalidAnswer
from .fields import Fields
from .problems import error_from, problem_of
from .requests import ApiRequest, path_to

MAX_OPERATIONS = 256
"""The most operations that the service takes in one request."""


def operations_request(operations: Sequence[str]) -> ApiRequest:
    """Build the request that executes operations (JSON texts, at most 256), each with a key of its own."""
    return ApiRequest("POST", path_to("operations"), f'{{"operations": [{", ".join(operations)}]}}'.encode())


def tenant_request() -> ApiRequest:
    """Build the request that asks which tenant a key is of: one operation that is none, which changes nothing."""
    return operations_request(["{}"])


def read_results(answer: Fields, operations: int) -> list[Fields | ApiError]:
    """Read the answer or the error of each operation, in the order in which they were sent."""
    results = [_result(item) for item in answer.children("results")]
    if len(results) != operations:
        raise InvalidAnswer(f"answer.results has {len(results)} items for {operations} operations")
    return results


def _result(item: Fields) -> Fields | ApiError:
    status, body = item.integer("status"), item.child("body")
    return body if status < 300 else error_from(problem_of(status, body.raw))
