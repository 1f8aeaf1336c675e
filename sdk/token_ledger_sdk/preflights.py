"""Preflights: whether planned calls would fit now, before any of them is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from .answers import error_of
from .directives import Refusal
from .errors import Problem
from .fields import Fields
from .reservations import Call, call_body
from .wire import ApiRequest, path_to, post


class PlannedCall(Call, total=False):
    """A call that may come, `count` times (once unless given).

    A `Call` is planned as `{**call, "count": 1}`: type checkers can't tell that a `Call` has no other `count`.
    """

    count: int


@dataclass(frozen=True, slots=True)
class Stop:
    """What stops the first planned call that does not fit: the code of the error it would be refused with."""

    code: str
    detail: str
    refusals: tuple[Refusal, ...]


# What stops a call and is no denial (402): no budget, however large, would admit it.
_MISTAKES = {"unknown_model": 422, "run_not_found": 404, "run_not_open": 409}


@dataclass(frozen=True, slots=True)
class Preflight:
    """How many of the planned calls would fit now, in order; `tokens` and `cost` (dollars) are of all of them."""

    finishes: bool
    asked: tuple[int, ...]
    fits: tuple[int, ...]
    tokens: int
    cost: Decimal
    stopped_by: Stop | None
    warnings: tuple[Refusal, ...]

    @classmethod
    def parse(cls, fields: Fields) -> Preflight:
        stop = fields.optional_child("stopped_by")
        return cls(
            finishes=fields.flag("finishes"),
            asked=fields.integers("asked"),
            fits=fields.integers("fits"),
            tokens=fields.integer("tokens"),
            cost=fields.money("cost"),
            stopped_by=None
            if stop is None
            else Stop(stop.text("code"), stop.text("detail"), _refusals(stop, "refusals")),
            warnings=_refusals(fields, "warnings"),
        )


def affordable(preflight: Preflight) -> bool:
    """Say whether the calls would be admitted; raises UnknownModel, NotFound or RunNotOpen if no budget would help."""
    stop = preflight.stopped_by
    if stop is not None and stop.code in _MISTAKES:
        raise error_of(Problem(_MISTAKES[stop.code], stop.code, detail=stop.detail))
    return preflight.finishes


def _refusals(fields: Fields, name: str) -> tuple[Refusal, ...]:
    return tuple(Refusal.parse(item) for item in fields.children(name))


def preflight_request(
    calls: Sequence[PlannedCall],
    *,
    run_id: str | None = None,
    user: str | None = None,
    cost_center: str | None = None,
) -> ApiRequest:
    """Build the request that asks whether calls would fit, one after the other; nothing is held."""
    return post(path_to("preflight"), {"calls": [_planned(call, run_id, user, cost_center) for call in calls]})


def _planned(call: PlannedCall, run_id: str | None, user: str | None, cost_center: str | None) -> dict[str, object]:
    told: dict[str, Any] = dict(call)
    count = told.pop("count", 1)
    # What matters only to a hold is nothing to a plan.
    plan = {name: value for name, value in told.items() if name not in ("idempotency_key", "ttl_seconds")}
    body = call_body(run_id=run_id, user=user, cost_center=cost_center, **cast(Call, plan))
    return {**body, "count": count}
