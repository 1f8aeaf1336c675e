"""One call of a tool: admitted before, and booked after it as a tool call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import LedgerError, Problem, ReservationNotOpen, RunNotOpen, Unavailable, Unreachable
from ..guard.context import CallContext
from ..guard.functions import FunctionTerms
from ..waiting_async import shielded_async
from ..wire.events import Report, ReportedEvent, ToolCall, reports
from ..wire.runs import RunSnapshot, read_request
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall
from .sender import AsyncSender

_log = logging.getLogger("token_ledger_sdk")


class AsyncToolBooking:
    """One call of a tool, under a hold if it has a price: `admit` it, then say that it `returned` or `failed`."""

    def __init__(
        self,
        sender: AsyncSender,
        terms: FunctionTerms,
        context: CallContext,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call: AsyncGuardedCall | None = None
        self._calls: list[AsyncGuardedCall] = []
        self._sender = sender
        self._terms = terms
        self._context = context
        self._clock = clock
        self._began: float | None = None

    async def admit(self, guard: AsyncGuard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hold what the tool's model may cost. What has no price is admitted unless its run has ended."""
        scope = self._context.scope()
        self._context.required_agent_type()
        if self._terms.model is not None:
            self.call = await guard.admit(self._terms.ask(args, kwargs))
            self._calls.append(self.call)
        elif scope.run_id is not None:
            run = (await self._sender.send(read_request(scope.run_id))).read(RunSnapshot)
            if run.state != "open":
                detail = f"run {run.run_id} is {run.state}: call no further tools for it"
                raise RunNotOpen(Problem(409, "run_not_open", detail=detail))
        if self._began is None:
            self._began = self._clock()

    async def returned(self, result: object) -> None:
        """Book the call of a tool that returned."""
        await self._book(self._event(result))

    async def failed(self, error: BaseException) -> None:
        """Book the call of a tool that raised an exception."""
        await self._book(self._terms.failed_event(self._context, error, *self._held))

    def _event(self, result: object) -> ToolCall:
        try:
            return self._terms.event(self._context, result, *self._held)
        except Exception:
            _log.warning("the function that says what a tool used or cost has failed", exc_info=True)
            plain = replace(self._terms, usage=None, cost=None)
            return plain.event(self._context, None, *self._held)

    @property
    def _held(self) -> tuple[Any, str | None]:
        return (None, None) if self.call is None else (self.call.permission.most, self.call.model)

    async def _book(self, event: ReportedEvent) -> None:
        began = self._clock() if self._began is None else self._began
        latency = max(0, round((self._clock() - began) * 1_000))
        (report,) = reports([replace(event, measured={**(event.measured or {}), "latency_ms": latency})])

        async def book() -> None:
            try:
                await self._report(report)
            except (Unreachable, Unavailable) as failure:
                # The hold stays until it expires: what the tool cost is not booked yet.
                _log.warning("Token Ledger has not yet booked a call of tool %s: %s", self._terms.tool, failure)
                self._sender.backlog.keep(event.idempotency_key, partial(self._report, report, again=False))
            except LedgerError as failure:
                _log.warning("Token Ledger could not book a call of tool %s: %s", self._terms.tool, failure)

        await shielded_async(book)

    async def _report(self, report: Report, *, again: bool = True) -> None:
        (recorded,) = report.read(await self._sender.send(report.request, again=again))
        if recorded.status not in ("booked", "duplicate"):
            _log.warning(
                "Token Ledger: a call of tool %s is %s: %s", self._terms.tool, recorded.status, recorded.detail
            )
        for call in self._calls:
            # A hold that has expired meanwhile is free as it is.
            with suppress(ReservationNotOpen):
                await call.permission.release(reason=f"booked as event {recorded.event_id} of the tool")
