# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""A run: one user's request worked on by agents, with limits of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack

from ..errors import LedgerError, RunNotOpen, Unavailable, Unreachable
from ..guard.context import ContextFields, context_of
from ..guard.run_stops import cancelled_error
from ..spool.deliveries import event_operation
from ..spool.lines import Record
from ..unavailable import OnUnavailable
from ..waiting_sync import InterruptionSync
from ..wire import runs
from ..wire.amounts import Share
from ..wire.calls import Actual, Call, PlannedCall, Scope, use_of
from ..wire.requests import ApiRequest, new_key
from ..wire.runs import Opening, RunNews, RunSnapshot, Step
from .block import Block
from .hold import Hold
from .sender import Sender
from .tool_methods import ToolMethods
from .wrapping import Wrapper, check_lease_calls

if TYPE_CHECKING:
    from ..wire.preflights import Preflight
    from .langchain_callbacks import LangChainHandler
    from .langchain_middleware import LangChainMiddleware
    from .langchain_tools import LangChainTools
    from .leases import Leases
    from .run_events import RunEvents

Client = TypeVar("Client")


class Run(Block, ToolMethods):
    """A run that is opened when its block is entered, and closed when the block is left.

    A run made by `attach` belongs to somebody else: its block neither opens nor closes it. Once this client has heard
    that the run was cancelled, in an answer or, with `live`, at once, the task in the block is cancelled, and the block
    raises RunCancelled; so does whatever asks for more.
    """

    def __init__(
        self,
        sender: Sender,
        wrapper: Wrapper,
        *,
        opening: ApiRequest | None = None,
        run_id: str = "",
        closes: bool = True,
        live: bool = False,
    ) -> None:
        self._sender = sender
        self._wrapper = wrapper
        self._opening = opening
        self._closes = closes and opening is not None
        self._run_id = run_id
        self._ended = False
        self._live = live
        self._events: RunEvents | None = None
        self._interruption: InterruptionSync | None = None
        self._news: RunNews | None = None

    @property
    def news(self) -> RunNews | None:
        """What the service has told of the run last, to who listens with `live`; None until it has."""
        return self._news

    @property
    def run_id(self) -> str:
        """The run's id; hand it to sub-agents in other processes, for `attach`."""
        if not self._run_id:
            raise LedgerError("the run is not open yet: enter its block, or call open()")
        return self._run_id

    @property
    def _scope(self) -> Scope:
        return Scope(run_id=self.run_id)

    def _tool_wrapper(self) -> tuple[Wrapper, str]:
        return self._wrapper, self.run_id

    def open(self) -> RunSnapshot:
        """Open the run; opening it again, also after an error, returns the same run."""
        if self._opening is None:
            return self.read()
        snapshot = (self._sender.send(self._opening)).read(RunSnapshot)
        self._run_id = snapshot.run_id
        if snapshot.parent_run_id is not None:
            self._sender.stops.is_part_of(snapshot.run_id, snapshot.parent_run_id)
        return snapshot

    def read(self) -> RunSnapshot:
        """Read the run's state and balances."""
        return (self._sender.send(runs.read_request(self.run_id))).read(RunSnapshot)

    def reserve(self, *, lease_calls: int | None = None, **call: Unpack[Call]) -> Hold:
        """Ask for permission to make one call; raises BudgetExceeded, RunNotOpen.

        Where such calls follow each other closely, they are admitted from a lease: their settlements say
        `booked=False`, as they are booked together, soon. With `lease_calls=0` each has a hold of its own, with 50 they
        draw from leases for 50 from the first one on. What announces `max_usage` has a hold of its own.
        """
        call = self._staged(call)
        # By the rates of a lease the cost of other kinds is not known before they are booked.
        calls = 0 if call.get("max_usage") else lease_calls
        permission = self._wrapper.pool.reserve(call, self._scope, check_lease_calls(calls))
        if isinstance(permission, Hold):
            return permission
        from .leased_hold import LeasedHold

        return LeasedHold(self._sender, permission, call, self._scope)

    def lease(
        self, *, calls: int, longest_call_seconds: float = 60.0, flush_seconds: float = 1.0, **call: Unpack[Call]
    ) -> Leases:
        """Prepare leases for up to `calls` calls each, of which `call` is the largest usual one; sends nothing.

        Their calls are of the stage that the run is in now.
        """
        from ..leases.terms import Terms
        from .leases import Leases

        terms = Terms(
            self._staged(call), calls=calls, longest_call_seconds=longest_call_seconds, flush_seconds=flush_seconds
        )
        return Leases(self._sender, terms, self._scope)

    def wrap(
        self,
        client: Client,
        *,
        provider: str | None = None,
        limit_output: bool = True,
        lease_calls: int | None = None,
        on_unavailable: OnUnavailable | None = None,
        **said: Unpack[ContextFields],
    ) -> Client:
        """Return a copy of a provider's client, of the same type, whose calls are calls of this run.

        All else is as with `ledger.wrap`.
        """
        guard = self._wrapper.guard(
            context_of(said),
            limit_output=limit_output,
            lease_calls=lease_calls,
            on_unavailable=on_unavailable,
            run_id=self.run_id,
        )
        return self._wrapper.wrap(client, guard, provider)

    def langchain_middleware(
        self,
        *,
        provider: str | None = None,
        limit_output: bool = True,
        lease_calls: int | None = None,
        **said: Unpack[ContextFields],
    ) -> LangChainMiddleware:
        """Return middleware for an agent of LangChain whose calls are calls of this run.

        All else is as with `ledger.langchain_middleware`.
        """
        guard = self._wrapper.guard(
            context_of(said), limit_output=limit_output, lease_calls=lease_calls, run_id=self.run_id
        )
        return self._wrapper.langchain_middleware(guard, provider)

    def langchain_tools(self, *, tool_source: str | None = None, **said: Unpack[ContextFields]) -> LangChainTools:
        """Return middleware for an agent of LangChain that books each call of a tool as one of this run.

        All else is as with `ledger.langchain_tools`.
        """
        return self._wrapper.langchain_tools(self._wrapper.guard(context_of(said), run_id=self.run_id), tool_source)

    def langchain_handler(
        self, *, provider: str | None = None, lease_calls: int | None = None, **said: Unpack[ContextFields]
    ) -> LangChainHandler:
        """Return a callback handler for chat models of LangChain whose calls are calls of this run.

        All else is as with `ledger.langchain_handler`.
        """
        guard = self._wrapper.guard(context_of(said), lease_calls=lease_calls, run_id=self.run_id)
        return self._wrapper.langchain_handler(guard, provider)

    def step(self, label: str | None = None, *, idempotency_key: str | None = None) -> Step:
        """Begin another iteration; raises IterationsExceeded once this run or one it is a part of has used all.

        Repeated with the same key, as after Unreachable, it is the same iteration; without a key it is another. Raises
        RunCancelled, RunNotOpen.
        """
        self._sender.stops.check(self.run_id)
        return (self._sender.send(runs.step_request(self.run_id, label, idempotency_key))).read(Step)

    def mark(self, stage: str | None) -> None:
        """Say what stage the run is in, until it is marked again or closed here; sends nothing.

        Later calls that this process makes for the run have the tag `stage`, unless they have one of their own; budgets
        may select it. A sub-run has stages of its own. None ends the stage. Raises ValueError for a blank one.
        """
        self._sender.stages.mark(self.run_id, stage)

    def _staged(self, call: Call) -> Call:
        tags = self._sender.stages.tagged(self.run_id, call.get("tags") or {})
        return {**call, "tags": tags} if tags else call

    def sub_run(self, *, live: bool = False, **opening: Unpack[Opening]) -> Run:
        """Prepare a part of this run, with limits of its own within this run's; its block opens and closes it."""
        request = runs.open_request(opening, parent_run_id=self.run_id)
        closes = not opening.get("attach", False)
        return Run(self._sender, self._wrapper, opening=request, closes=closes, live=live)

    def preflight(self, calls: Sequence[PlannedCall]) -> Preflight:
        """Ask whether calls would fit now, one after the other, and what stops them; nothing is held."""
        from ..wire.preflights import Preflight, preflight_request

        return (self._sender.send(preflight_request(calls, self._scope))).read(Preflight)

    def can_afford(self, **call: Unpack[Call]) -> bool:
        """Ask whether a call would be admitted now; nothing is held, so a moment later the answer may differ.

        False means that a budget or an allocation has no room; anything else raises as a reserve would: UnknownModel,
        RunNotOpen, TenantStopped.
        """
        from ..wire.preflights import affordable

        return affordable(self.preflight([{**call, "count": 1}]))

    def track_usage(self, response: object, *, agent_type: str, **actual: Unpack[Actual]) -> None:
        """Book a call of this run that had no hold, with what is sent next: a `Usage`, a provider's response, a stream.

        `actual` must say the provider and the model that were called. It is in the spool before this returns, and it
        counts on all budgets of the run, however little room they have. Raises UsageMissing if the response has no
        token counts.
        """
        provider, model = actual.get("provider"), actual.get("model")
        if provider is None or model is None:
            raise TypeError("track_usage needs what was called: give provider=… and model=…")
        actual.setdefault("occurred_at", datetime.now(UTC))
        told: dict[str, object] = {"agent_type": agent_type, "run_id": self.run_id}
        tags = self._sender.stages.tagged(self.run_id, {})
        if tags:
            told["tags"] = tags
        use = use_of(response, actual, provider=provider, model=model)
        outbox = self._sender.outbox
        outbox.put(Record(event_operation(new_key(), told, use)))
        outbox.added()

    def rebalance(self, allocation: Mapping[str, int | Share], *, idempotency_key: str | None = None) -> RunSnapshot:
        """Split what the run has available over agent types again; repeated with its key, it changes nothing more."""
        request = runs.rebalance_request(self.run_id, allocation, idempotency_key)
        return (self._sender.send(request)).read(RunSnapshot)

    def cancel(self) -> RunSnapshot:
        """Stop the run: every later reserve is refused, calls in progress are still booked.

        Other blocks of it in this process raise RunCancelled; this one goes on. What leases have left is given back.
        """
        snapshot = self._end("cancel")
        self._sender.stops.cancelled(self.run_id, by=self._interruption)
        with suppress(Unreachable, Unavailable):  # the run is stopped; what waits is sent again
            self._wrapper.close(self.run_id)
        return snapshot

    def close(self) -> RunSnapshot:
        """End the run as done: every later reserve is refused, calls in progress are still booked.

        Before, what its calls have used is booked, and what its leases have left is given back.
        """
        try:
            self._wrapper.close(self.run_id)
        finally:
            snapshot = self._end("close")
        return snapshot

    def _end(self, verb: Literal["cancel", "close"]) -> RunSnapshot:
        snapshot = (self._sender.send(runs.end_request(self.run_id, verb))).read(RunSnapshot)
        self._ended = True
        self._forget()
        return snapshot

    def _forget(self) -> None:
        self._sender.stops.forget(self.run_id)
        self.mark(None)

    def __enter__(self) -> Self:
        if self._opening is not None:
            self.open()
        self._interruption = InterruptionSync()
        self._sender.stops.enter(self.run_id, self._interruption, is_block=True)
        if self._live:
            from .run_events import RunEvents

            self._events = RunEvents(self._sender, self.run_id, self._hear)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interruption = self._interruption
        if interruption is None:
            raise LedgerError("the block of the run was left, and never entered")
        interruption.over()
        self._sender.stops.leave(interruption)
        if self._events is not None:
            self._events.close()
        was_interrupted = interruption.caused(error)
        try:
            super().__exit__(error_type, error, traceback)
        except BaseException as late:
            if not interruption.caused(late):  # it has come too late to stop anything
                raise
        if was_interrupted:
            raise cancelled_error(self.run_id) from error

    def _hear(self, news: RunNews) -> None:
        before, self._news = self._news, news
        stops = self._sender.stops
        stops.told(self.run_id, news.stop)
        if before is not None and before.terms != news.terms:
            stops.halt(self.run_id)  # other limits, or directives: the next call asks for another lease

    def _leave(self, error: BaseException | None) -> None:
        if self._ended or not self._closes:
            return
        try:
            # If somebody else has ended the run, nothing is left to close.
            with suppress(RunNotOpen):
                self.close()
        finally:
            self._forget()

    def _failure(self) -> str:
        return f"close run {self.run_id}"
