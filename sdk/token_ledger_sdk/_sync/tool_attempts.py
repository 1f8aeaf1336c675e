# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""The attempts of one call of a tool, which are booked as one event, and answers that came from the cache."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from functools import reduce
from operator import add
from typing import Any

from ..errors import BreakerOpen
from ..guard.context import CallContext
from ..guard.functions import FunctionTerms
from ..guard.tool_cache import Kept
from ..wire.calls import Measured
from ..wire.events import CacheHit, ReportedEvent, ToolCall
from .sender import Sender
from .tool_booking import ToolBooking


class ToolAttempts(ToolBooking):
    """One call of a tool: each attempt is admitted, and all are booked together, with what each may have cost."""

    def __init__(self, sender: Sender, terms: FunctionTerms, context: CallContext) -> None:
        super().__init__(sender, terms, context)
        self._failures: list[ToolCall] = []

    def begin(self) -> None:
        """Count the time from now."""
        self._began = time.monotonic()

    def attempt_failed(self, error: BaseException) -> None:
        """Note what an attempt may have cost that ended with an exception."""
        self._failures.append(self._terms.failed_event(self._context, error, *self._held))

    def returned(self, result: object) -> None:
        """Book the call of a tool that returned, with what attempts before may have cost."""
        self.book_answer(self.answer(result))

    def book_answer(self, answer: ToolCall) -> None:
        """Book the event of the attempt that returned, with what those before it may have cost."""
        self._book(_sum_of([*self._failures, answer], retries=len(self._failures)))

    def failed(self, error: BaseException) -> None:
        """Book the call of a tool that failed in all attempts, or was not called because its breaker is open."""
        failures = self._failures
        if isinstance(error, BreakerOpen):
            refused = replace(self._free_failure(error), measured={"error_kind": "breaker_open"})
            self._book(_sum_of([*failures, refused], retries=len(failures)))
        elif failures:  # else nothing was called
            self._book(_sum_of(failures, retries=len(failures) - 1))

    def failed_with_others(self, error: Exception) -> None:
        """Book a call that waited for another one, which has failed; what it cost is in the event of that one."""
        self._book(self._free_failure(error))

    def _free_failure(self, error: BaseException) -> ToolCall:
        free = replace(self._terms, cost=None, provider=None, model=None)
        return free.failed_event(self._context, error, None, None)

    def answered_from_cache(self, kept: Kept) -> None:
        """Book an answer from the cache: a cache hit where a model was saved, else a tool call that costs nothing."""
        free = replace(self._terms, cost=None, provider=None, model=None, usage=None)
        now = free.event(self._context, None, None, None)
        event, hit = kept.event, replace(now, from_cache=True)
        if event.provider is None or event.model is None or event.usage is None:
            self._book(hit)
            return
        whose: dict[str, Any] = {
            name: getattr(now, name)
            for name in ("source", "agent_type", "run_id", "user", "cost_center", "request_type", "tags", "tool")
        }
        self._book(
            CacheHit(
                **whose,
                provider=event.provider,
                model=event.model,
                usage=event.usage,
                service_tier=event.service_tier,
                estimated=event.estimated,
            )
        )


def _sum_of(events: list[ToolCall], *, retries: int) -> ReportedEvent:
    """Return one event for attempts, of which the last says how the call ended."""
    last = events[-1]
    costs = [event.cost for event in events if event.cost is not None]
    uses = [event.usage for event in events if event.usage is not None]
    named = next((event for event in reversed(events) if event.usage is not None), last)
    measured: Measured = {**(last.measured or {})}
    if retries:
        measured["retries"] = retries
    return replace(
        last,
        cost=sum(costs, Decimal(0)) if costs else None,
        usage=reduce(add, uses) if uses else None,
        provider=named.provider,
        model=named.model,
        service_tier=named.service_tier,
        estimated=any(event.estimated for event in events),
        measured=measured,
    )
