# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""A run: one user's request worked on by agents, with limits of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

from ..errors import LedgerError, RunNotOpen
from ..reservations import Call, Reservation, reserve_request
from ..runs import RunSnapshot, end_request, read_request
from ..unsettled import held_usage
from ..waiting import shield_sync
from ..wire import ApiRequest
from .hold import Hold
from .sender import Sender


class Run:
    """A run that is opened when its block is entered, and closed when it is left.

    A run made by `attach` is somebody else's: its block neither opens nor closes it.
    """

    def __init__(self, sender: Sender, *, opening: ApiRequest | None = None, run_id: str = "") -> None:
        self._sender = sender
        self._opening = opening
        self._run_id = run_id
        self._ended = False

    @property
    def run_id(self) -> str:
        """The run's id, to be handed to sub-agents in other processes for `attach`."""
        if not self._run_id:
            raise LedgerError("the run is not open yet: enter its block, or call open()")
        return self._run_id

    def open(self) -> RunSnapshot:
        """Open the run; repeating it, after an error too, answers the same run."""
        if self._opening is None:
            return self.read()
        snapshot = RunSnapshot.parse(self._sender.send(self._opening))
        self._run_id = snapshot.run_id
        return snapshot

    def read(self) -> RunSnapshot:
        """Read the run's state and balances."""
        return RunSnapshot.parse(self._sender.send(read_request(self.run_id)))

    def reserve(self, **call: Unpack[Call]) -> Hold:
        """Ask for permission to make one call; raises BudgetExceeded, RunNotOpen."""
        return reserve(self._sender, reserve_request(run_id=self.run_id, **call), call)

    def cancel(self) -> RunSnapshot:
        """Stop the run: every later reserve is refused, calls under way are still booked."""
        return self._end("cancel")

    def close(self) -> RunSnapshot:
        """End the run as done: every later reserve is refused, calls under way are still booked."""
        return self._end("close")

    def _end(self, verb: str) -> RunSnapshot:
        snapshot = RunSnapshot.parse(self._sender.send(end_request(self.run_id, verb)))
        self._ended = True
        return snapshot

    def __enter__(self) -> Self:
        if self._opening is not None:
            self.open()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ended or self._opening is None:
            return
        try:
            with shield_sync():
                self.close()
        except RunNotOpen:
            # Somebody else ended the run, which is what closing is for.
            return
        except (LedgerError, TimeoutError) as failure:
            if error is None:
                raise
            error.add_note(f"Token Ledger could not close run {self.run_id}: {failure}")


def reserve(sender: Sender, request: ApiRequest, call: Call) -> Hold:
    """Send a reserve and make its answer a hold."""
    reservation = Reservation.parse(sender.send(request))
    held = held_usage(
        reservation,
        input_tokens=call["input_tokens"],
        max_output_tokens=call["max_output_tokens"],
        cached_input_tokens=call.get("cached_input_tokens", 0),
    )
    return Hold(sender, reservation, held)
