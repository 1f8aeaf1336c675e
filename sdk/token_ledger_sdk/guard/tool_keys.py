"""The key of a cached answer: whose it is, which tool's, and for which arguments, whichever way they are given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, bytearray, Decimal, timedelta})
_DATED = frozenset({date, datetime, time})
_LISTED = frozenset({list, tuple})
_UNORDERED = frozenset({set, frozenset})


def cache_key(owner: tuple[str, ...], arguments: str) -> bytes:
    """Return the key of one call: `owner` is the tenant, the tool, and the user unless they share answers."""
    return hashlib.sha256(repr((owner, arguments)).encode("utf-8", "surrogatepass")).digest()


def plain_arguments(tool: str, arguments: Mapping[str, object]) -> str:
    """Return arguments as text; raises TypeError for one that is no plain value, and says what to do."""
    parts = []
    for name, value in arguments.items():
        try:
            parts.append((name, _plain(value)))
        except (_NotPlainError, RecursionError) as error:
            raise TypeError(
                f"tool {tool!r} can't be cached by its argument {name!r}, which is or has {error or 'itself'}: give"
                " cache_key=…, a function of the arguments that returns numbers, texts, dates, or lists of them"
            ) from None
    return repr(parts)


class _NotPlainError(Exception):
    """A value that does not say by itself what it is equal to."""


def _plain(value: object) -> object:
    """Return a value as texts and tuples, whose `repr` differs for all that is different: 1 is not True, nor "1"."""
    kind = type(value)
    if kind in _PLAIN:
        return kind.__name__, repr(value)
    if isinstance(value, (date, time)) and kind in _DATED:
        return kind.__name__, value.isoformat(), repr(getattr(value, "tzinfo", None))
    if isinstance(value, (list, tuple)) and kind in _LISTED:
        return kind.__name__, *map(_plain, value)
    if isinstance(value, (set, frozenset)) and kind in _UNORDERED:
        return "set", *sorted(map(_plain, value), key=repr)
    if isinstance(value, dict) and kind is dict:
        return "dict", *sorted(((_plain(name), _plain(each)) for name, each in value.items()), key=repr)
    named = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, Enum):
        return named, value.name
    if isinstance(value, PurePath) or named == "uuid.UUID":  # whose module is slow to import
        return named, str(value)
    if is_dataclass(value):
        return named, *((each.name, _plain(getattr(value, each.name))) for each in fields(value))
    raise _NotPlainError(f"a {named}")
