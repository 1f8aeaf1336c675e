"""Reads members of a provider's response, whether it is JSON or an object of the provider's SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from typing import TypeGuard


def member(value: object, name: str) -> object:
    """Return a member of a JSON object or an attribute of an SDK object; None if it is absent."""
    if isinstance(value, dict):  # asking whether it is any Mapping takes ten times as long
        return value.get(name)
    if value is None:
        return None
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def either(value: object, *names: str) -> object:
    """Return the first of several members that is there."""
    for name in names:
        found = member(value, name)
        if found is not None:
            return found
    return None


def members(value: object) -> Sequence[object]:
    """Return the items of a list; none if the value is no list."""
    return value if isinstance(value, list | tuple) else ()


def names_of(value: object) -> Sequence[str]:
    """Return the names of all members of a JSON object or of a plain object."""
    return [*(value if isinstance(value, Mapping) else getattr(value, "__dict__", ()))]


def text(value: object, name: str) -> str | None:
    """Return a string that is not empty; enumerations of SDKs count by their value."""
    found = member(value, name)
    found = getattr(found, "value", found)
    return found if isinstance(found, str) and found else None


def has_count(usage: object, name: str) -> bool:
    """Whether a usage object has a number under this name."""
    return _is_number(member(usage, name))


def count(usage: object, *names: str) -> int:
    """Return the first count that is not 0 among these names; else 0. Some gateways send 12.0 for 12.

    A count that is absent, negative or not a number is 0.
    """
    if usage is None:
        return 0
    for name in names:
        value = usage.get(name) if isinstance(usage, dict) else member(usage, name)
        if value:
            if type(value) is int and value > 0:
                return value
            if _is_number(value) and value >= 1:
                return int(value)
    return 0


def whole_seconds(value: object) -> int:
    """Return a duration in seconds, rounded up; 0 if it is not a number. Some APIs send it as a string."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0
    return max(0, ceil(value)) if _is_number(value) else 0


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) is int or (isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value))
