"""One call of a tool: admitted before, and booked after it as a tool call."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..errors import Problem, RunNotOpen
from ..guard.context import CallContext
from ..guard.functions import FunctionTerms
from ..spool.deliveries import SPOOLED_EVENT
from ..spool.lines import Record
from ..waiting_async import shielded_async
from ..wire.calls import Measured
from ..wire.events import ReportedEvent, ToolCall
from ..wire.requests import json_text
from ..wire.runs import RunSnapshot, read_request
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall
from .sender import AsyncSender

_log = logging.getLogger("token_ledger_sdk")


class AsyncToolBooking:
    """One call of a tool, under a hold if it has a price: `admit` it, then say that it `returned` or `failed`."""

    def __init__(self, sender: AsyncSender, terms: FunctionTerms, context: CallContext) -> None:
        self._calls: list[AsyncGuardedCall] = []
        self._sender = sender
        self._terms = terms
        self._context = context
        self._began: float | None = None

    @property
    def call(self) -> AsyncGuardedCall | None:
        """The call that was admitted last; None if the tool has no price."""
        return self._calls[-1] if self._calls else None

    async def admit(self, guard: AsyncGuard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hold what the tool's model may cost. What has no price is admitted unless its run has ended."""
        scope = self._context.scope()
        self._context.required_agent_type()
        if self._terms.model is not None:
            self._calls.append(await guard.admit(self._terms.ask(args, kwargs)))
        elif scope.run_id is not None:
            self._sender.stops.check(scope.run_id)
            run = (await self._sender.send(read_request(scope.run_id))).read(RunSnapshot)
            if run.state != "open":
                if run.state == "cancelled":
                    self._sender.stops.cancelled(run.run_id)
                    self._sender.stops.check(run.run_id)
                detail = f"run {run.run_id} is {run.state}: call no further tools for it"
                raise RunNotOpen(Problem(409, "run_not_open", detail=detail))
        if self._began is None:
            self._began = time.monotonic()

    async def returned(self, result: object) -> None:
        """Book the call of a tool that returned."""
        await self._book(self.answer(result))

    async def failed(self, error: BaseException) -> None:
        """Book the call of a tool that raised an exception."""
        await self._book(self._terms.failed_event(self._context, error, *self._held))

    def answer(self, result: object) -> ToolCall:
        """Return the event of what was called last, and returned."""
        try:
            return self._terms.event(self._context, result, *self._held)
        except Exception:
            _log.warning("the function that says what a tool used or cost has failed", exc_info=True)
            plain = replace(self._terms, usage=None, cost=None)
            return plain.event(self._context, None, *self._held)

    @property
    def _held(self) -> tuple[Any, str | None]:
        call = self.call
        return (None, None) if call is None else (call.permission.most, call.model)

    async def _book(self, event: ReportedEvent) -> None:
        now = time.monotonic()
        latency = round((now - (now if self._began is None else self._began)) * 1_000)
        measured: Measured = {**(event.measured or {}), "latency_ms": latency}
        # When it was made, because nobody knows when it can be sent.
        made_at = event.occurred_at or datetime.now(UTC)
        told = {**SPOOLED_EVENT, **replace(event, measured=measured, occurred_at=made_at).to_json()}
        outbox = self._sender.outbox
        outbox.put(Record(json_text(told)))
        for call in self._calls:
            # What was held is given back only with the event that books it, or after it.
            await call.permission.release_soon(f"booked as event {event.idempotency_key} of the tool")
        await shielded_async(outbox.added)
