"""A run: one user's request worked on by agents, with limits of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

from ..amounts import Share
from ..errors import LedgerError, RunNotOpen
from ..preflights import PlannedCall, Preflight, affordable, preflight_request
from ..reservations import Call, reserve_request
from ..runs import (
    Opening,
    RunSnapshot,
    Step,
    end_request,
    open_request,
    read_request,
    rebalance_request,
    step_request,
)
from ..waiting import uncanceled_async
from ..wire import ApiRequest
from .hold import AsyncHold, reserve
from .lease import AsyncLeases
from .sender import AsyncSender


class AsyncRun:
    """A run that is opened when its block is entered, and closed when it is left.

    A run made by `attach` is somebody else's: its block neither opens nor closes it.
    """

    def __init__(
        self, sender: AsyncSender, *, opening: ApiRequest | None = None, run_id: str = "", closes: bool = True
    ) -> None:
        self._sender = sender
        self._opening = opening
        self._closes = closes and opening is not None
        self._run_id = run_id
        self._ended = False

    @property
    def run_id(self) -> str:
        """The run's id, to be handed to sub-agents in other processes for `attach`."""
        if not self._run_id:
            raise LedgerError("the run is not open yet: enter its block, or call open()")
        return self._run_id

    async def open(self) -> RunSnapshot:
        """Open the run; repeating it, after an error too, answers the same run."""
        if self._opening is None:
            return await self.read()
        snapshot = RunSnapshot.parse(await self._sender.send(self._opening))
        self._run_id = snapshot.run_id
        return snapshot

    async def read(self) -> RunSnapshot:
        """Read the run's state and balances."""
        return RunSnapshot.parse(await self._sender.send(read_request(self.run_id)))

    async def reserve(self, **call: Unpack[Call]) -> AsyncHold:
        """Ask for permission to make one call; raises BudgetExceeded, RunNotOpen."""
        return await reserve(self._sender, reserve_request(call, run_id=self.run_id), call)

    def lease(
        self, *, calls: int, longest_call_seconds: float = 60.0, flush_seconds: float = 1.0, **call: Unpack[Call]
    ) -> AsyncLeases:
        """Prepare leases for up to so many calls each, of which a call is the largest usual one; sends nothing."""
        return AsyncLeases(
            self._sender,
            call,
            calls=calls,
            longest_call_seconds=longest_call_seconds,
            flush_seconds=flush_seconds,
            run_id=self.run_id,
        )

    async def step(self, label: str | None = None, *, idempotency_key: str | None = None) -> Step:
        """Begin another iteration; raises IterationsExceeded once all are made, here or in a run this is a part of.

        Repeated with its key, as after Unreachable, it is the same iteration; without one it is another.
        """
        return Step.parse(await self._sender.send(step_request(self.run_id, label, idempotency_key)))

    def sub_run(self, **opening: Unpack[Opening]) -> AsyncRun:
        """Prepare a part of this run, with limits of its own within those of this; its block opens and closes it."""
        request = open_request(parent_run_id=self.run_id, **opening)
        return AsyncRun(self._sender, opening=request, closes=not opening.get("attach", False))

    async def preflight(self, calls: Sequence[PlannedCall]) -> Preflight:
        """Ask whether calls would fit now, one after the other, and what stops them; nothing is held."""
        return Preflight.parse(await self._sender.send(preflight_request(calls, run_id=self.run_id)))

    async def can_afford(self, **call: Unpack[Call]) -> bool:
        """Ask whether a call would be admitted now; nothing is held, so the next moment may differ.

        False is a denial for want of budget or of an allocation; anything else raises as a reserve would:
        UnknownModel, RunNotOpen, TenantStopped.
        """
        return affordable(await self.preflight([{**call, "count": 1}]))

    async def rebalance(
        self, allocation: Mapping[str, int | Share], *, idempotency_key: str | None = None
    ) -> RunSnapshot:
        """Split anew over agent types what the run has available; repeated with its key, it changes nothing more."""
        request = rebalance_request(self.run_id, allocation, idempotency_key)
        return RunSnapshot.parse(await self._sender.send(request))

    async def cancel(self) -> RunSnapshot:
        """Stop the run: every later reserve is refused, calls under way are still booked."""
        return await self._end("cancel")

    async def close(self) -> RunSnapshot:
        """End the run as done: every later reserve is refused, calls under way are still booked."""
        return await self._end("close")

    async def _end(self, verb: str) -> RunSnapshot:
        snapshot = RunSnapshot.parse(await self._sender.send(end_request(self.run_id, verb)))
        self._ended = True
        return snapshot

    async def _close_if_open(self) -> None:
        try:
            await self.close()
        except RunNotOpen:
            return  # somebody else ended the run, which is what closing is for

    async def __aenter__(self) -> Self:
        if self._opening is not None:
            await self.open()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ended or not self._closes:
            return
        try:
            await uncanceled_async(self._close_if_open)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"Token Ledger could not close run {self.run_id}: {failure}")
