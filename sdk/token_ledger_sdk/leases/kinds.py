"""Which calls may draw from leases, and which from the same one."""

from __future__ import annotations

from collections.abc import Hashable

from ..wire.calls import DEFAULT_TTL_SECONDS, Call, Scope
from .terms import SKEW_SECONDS

LONGEST_CALL_SECONDS = 120.0
"""No call is admitted from a lease that expires sooner."""
_SIZES = frozenset({"input_tokens", "max_output_tokens", "cached_input_tokens", "max_usage", "idempotency_key"})


def may_be_leased(call: Call) -> bool:
    """Whether a call may draw from a lease: not if it has a key of its own, or is to live only shortly."""
    lives = call.get("ttl_seconds", DEFAULT_TTL_SECONDS)
    return "idempotency_key" not in call and lives > LONGEST_CALL_SECONDS + SKEW_SECONDS


def kind_of(call: Call, scope: Scope, calls: int | None) -> Hashable:
    """Return what calls must have in common to draw from the same lease: all that is said of them but their sizes."""
    said = sorted((name, _hashable(value)) for name, value in call.items() if name not in _SIZES)
    return scope, calls, tuple(said)


def _hashable(value: object) -> Hashable:
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list | tuple) else value
