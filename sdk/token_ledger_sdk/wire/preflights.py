"""Preflights: whether planned calls would fit now, before any of them is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..directives import Refusal
from ..errors import Problem
from .calls import PlannedCall, Scope, call_body
from .problems import error_from
from .requests import ApiRequest, path_to, post

# The codes that are mistakes rather than denials, with their status: no budget, however large, would admit the call.
_MISTAKES = {"unknown_model": 422, "run_not_found": 404, "run_not_open": 409}
_OF_HOLDS_ONLY = ("idempotency_key", "ttl_seconds")


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the first planned call that does not fit would be refused: the error's code, text and refusals."""

    code: str
    detail: str
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Preflight:
    """How many of the planned calls would fit now, in order; `tokens` and `cost` (US dollars) are those of all."""

    finishes: bool
    asked: tuple[int, ...]
    fits: tuple[int, ...]
    tokens: int
    cost: Decimal
    stopped_by: Stop | None
    warnings: tuple[Refusal, ...]


def affordable(preflight: Preflight) -> bool:
    """Whether all calls would be admitted; raises UnknownModel, NotFound or RunNotOpen if no budget would help."""
    stop = preflight.stopped_by
    if stop is not None and stop.code in _MISTAKES:
        raise error_from(Problem(_MISTAKES[stop.code], stop.code, detail=stop.detail))
    return preflight.finishes


def preflight_request(calls: Sequence[PlannedCall], scope: Scope) -> ApiRequest:
    """Build the request that asks whether calls would fit, one after the other; nothing is held."""
    return post(path_to("preflight"), {"calls": [_planned(call, scope) for call in calls]})


def _planned(call: PlannedCall, scope: Scope) -> dict[str, object]:
    body = {"count": 1, **call_body(call, scope)}
    return {name: value for name, value in body.items() if name not in _OF_HOLDS_ONLY}
