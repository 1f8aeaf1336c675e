"""Requests as values: what is sent, before anything is sent.

A request is encoded once, with its idempotency key inside, so every retry sends the same bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call to the service; `content` is the JSON body, None for a read, and `idempotency_key` the one inside it."""

    method: str
    path: str
    content: bytes | None = None
    idempotency_key: str | None = None


def new_key() -> str:
    """Make an idempotency key (32 hexadecimal digits)."""
    return uuid.uuid4().hex


def post(path: str, body: Mapping[str, object]) -> ApiRequest:
    """Build a POST; fields that are None are left out, which is how "not given" is written."""
    given = {name: value for name, value in body.items() if value is not None}
    key = given.get("idempotency_key")
    content = json.dumps(given, allow_nan=False).encode()
    return ApiRequest("POST", path, content, key if isinstance(key, str) else None)


def get(path: str) -> ApiRequest:
    """Build a GET."""
    return ApiRequest("GET", path)


def path_to(*segments: str) -> str:
    """Join path segments below /v1, escaping what callers gave us."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def money_text(amount: Decimal) -> str:
    """Write US dollars as the service reads them: a plain decimal string, never with an exponent."""
    if not isinstance(amount, Decimal):
        raise TypeError(f"money is a Decimal, not {type(amount).__name__}: binary fractions lose nano-dollars")
    return format(amount, "f")


def time_text(time: datetime) -> str:
    """Write a time as RFC 3339; a time without a zone is refused, as it would be read as UTC."""
    if time.tzinfo is None:
        raise ValueError("the time has no zone")
    return time.isoformat()
