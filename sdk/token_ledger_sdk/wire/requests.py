"""Requests as values: what is sent, before anything is sent.

A request is encoded once, with its idempotency key inside, so every retry sends the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Operation:
    """What a request is called in a list of operations, and the id that its own path has: the field's name, the id."""

    op: str
    named: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call to the service; `content` is its JSON body (None for a read) with `idempotency_key` inside.

    `known_tag` is the entity tag of an earlier answer, which the service need not repeat. `operation` is the same
    request as an item of a list of operations: what stands there before its body.
    """

    method: str
    path: str
    content: bytes | None = None
    idempotency_key: str | None = None
    known_tag: str | None = None
    operation: Operation | None = None


def operation_of(request: ApiRequest) -> str:
    """Return a request that is one of the operations of callers as an item of a list of these (JSON text)."""
    assert request.operation is not None, request.path
    before = {"op": request.operation.op}
    if request.operation.named is not None:
        before[request.operation.named[0]] = request.operation.named[1]
    said = (request.content or b"{}").decode()[1:]
    return f"{json.dumps(before)[:-1]}{', ' if said != '}' else ''}{said}"


def new_key() -> str:
    """Make an idempotency key (32 hexadecimal digits)."""
    return os.urandom(16).hex()


def post(path: str, body: Mapping[str, object], operation: Operation | None = None) -> ApiRequest:
    """Build a POST of the fields that are given."""
    key = body.get("idempotency_key")
    content = json_text(given(body)).encode()
    return ApiRequest("POST", path, content, key if isinstance(key, str) else None, operation=operation)


def get(path: str, known_tag: str | None = None) -> ApiRequest:
    """Build a GET."""
    return ApiRequest("GET", path, known_tag=known_tag)


def path_to(*segments: str) -> str:
    """Join path segments below /v1, escaping each."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def given(body: Mapping[str, object]) -> dict[str, object]:
    """Leave out fields that are None or False: in a request, an absent field means just that."""
    return {name: value for name, value in body.items() if value is not None and value is not False}


def json_text(value: object) -> str:
    """Encode a body; raises TypeError or ValueError for what JSON or the service does not take."""
    return _encode(value)


def money_text(amount: Decimal) -> str:
    """Write US dollars as the service reads them: a plain decimal string, never with an exponent."""
    if not isinstance(amount, Decimal):
        raise TypeError(f"an amount of money is a {type(amount).__name__}: give a Decimal, such as Decimal('1.50')")
    return format(amount, "f")


def time_text(time: datetime) -> str:
    """Write a time as RFC 3339; raises ValueError for one without a zone, which the service would take for UTC."""
    if time.tzinfo is None:
        raise ValueError(f"the time {time} has no zone: give one, as in datetime.now(UTC)")
    return time.isoformat()


def _encoded(value: object) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):  # objects of providers' SDKs are models of pydantic
        return dump(mode="json", warnings=False)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"{value!r} is {type(value).__name__}, which a request can't carry")


# One for all: making an encoder takes as long as encoding a settle.
_encode = json.JSONEncoder(allow_nan=False, default=_encoded).encode
