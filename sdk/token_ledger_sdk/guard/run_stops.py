"""What a client has heard of its runs: which were cancelled, and who in this process is to be told. No I/O."""

from __future__ import annotations

import os
import threading
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from ..errors import ApiError, Problem, RunCancelled

_MOST_REMEMBERED = 10_000
"""How many cancelled runs are known to be so, and how many parts; the service refuses what is asked for any other."""


class Halting(Protocol):
    """What was granted for a run, and admits from that."""

    def halt(self) -> None:
        """Admit nothing more: what comes next is to be asked for."""


class Interruptible(Protocol):
    """What goes on for a run."""

    def interrupt(self, *, unless_ending: bool = False) -> None:
        """Let it stop where it waits, soon and unless it ends already if that is said."""


Member = TypeVar("Member")
Value = TypeVar("Value")


class RunStops:
    """Tells what goes on for a run that it was cancelled; safe to use from any number of threads.

    What was heard of a run counts for its parts. Where nobody has entered the run's block, nothing is interrupted:
    whoever comes next is stopped.
    """

    def __init__(self) -> None:
        self._cancelled: dict[str, None] = {}
        self._parents: dict[str, str] = {}
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # guards what follows
        # Each with its run; what is garbage is none of them any more.
        self._halting: WeakKeyDictionary[Halting, str] = WeakKeyDictionary()
        self._blocks: WeakKeyDictionary[Interruptible, str] = WeakKeyDictionary()
        self._calls: WeakKeyDictionary[Interruptible, str] = WeakKeyDictionary()

    def check(self, run_id: str | None) -> None:
        """Raise RunCancelled for a run that was cancelled, or is a part of one that was."""
        if self._cancelled and run_id is not None and any(each in self._cancelled for each in self._lineage(run_id)):
            raise cancelled_error(run_id)

    def is_part_of(self, run_id: str, parent: str) -> None:
        """Note that a run is a part of another."""
        self._parents[run_id] = parent
        _forget_first(self._parents)

    def forget(self, run_id: str) -> None:
        """Forget what a run is a part of, once it has ended."""
        self._parents.pop(run_id, None)

    def follow(self, run_id: str, halting: Halting) -> None:
        """Tell something from now on, until it is garbage."""
        with self._guarded():
            self._halting[halting] = run_id

    def enter(self, run_id: str, interruptible: Interruptible, *, is_block: bool) -> None:
        """Interrupt the block of a run, or a call of it, when the run was cancelled; until it has left."""
        with self._guarded():
            (self._blocks if is_block else self._calls)[interruptible] = run_id

    def leave(self, interruptible: Interruptible) -> None:
        """Let something be that has ended."""
        with self._guarded():
            self._blocks.pop(interruptible, None)
            self._calls.pop(interruptible, None)

    def told(self, run_id: str | None, stop: str | None) -> None:
        """Act on why an answer says that no further call of a run should be made, if it does."""
        if run_id is None or stop is None or stop.startswith("lease_"):
            return
        if stop == "run_cancelled":
            self.cancelled(run_id)
        else:
            self.halt(run_id)

    def refused(self, error: ApiError) -> None:
        """Act on a refusal that says which run was cancelled."""
        run_id = error.problem.extra.get("run_id")
        if isinstance(error, RunCancelled) and isinstance(run_id, str):
            self.cancelled(run_id)

    def halt(self, run_id: str) -> None:
        """Let nothing more be admitted from what was granted for a run, because what it was granted by has changed."""
        with self._guarded():
            halting = self._of(self._halting, run_id)
        for each in halting:
            each.halt()

    def cancelled(self, run_id: str, *, by: Interruptible | None = None) -> None:
        """Stop all that goes on for a run, but for the block that has cancelled it itself."""
        if run_id in self._cancelled:
            return
        self._cancelled[run_id] = None
        _forget_first(self._cancelled)
        self.halt(run_id)
        with self._guarded():
            blocks, calls = self._of(self._blocks, run_id), self._of(self._calls, run_id)
        for block in blocks:
            if block is not by:
                block.interrupt()
        if blocks:
            for call in calls:
                # A task that one of the blocks waits for is cancelled with it: a second time would disturb its end.
                call.interrupt(unless_ending=True)

    def _lineage(self, run_id: str) -> list[str]:
        found = [run_id]
        while (parent := self._parents.get(found[-1])) is not None and parent not in found:
            found.append(parent)
        return found

    def _guarded(self) -> threading.Lock:
        if self._process != os.getpid():  # what a fork copied goes on in the parent process
            self._begin()
        return self._lock

    def _of(self, members: WeakKeyDictionary[Member, str], run_id: str) -> list[Member]:
        return [member for member, its_run in [*members.items()] if run_id in self._lineage(its_run)]


def _forget_first(known: dict[str, Value]) -> None:
    while len(known) > _MOST_REMEMBERED:
        known.pop(next(iter(known)), None)


def cancelled_error(run_id: str) -> RunCancelled:
    """Build the error of a run that was heard to be cancelled."""
    detail = f"run {run_id} was cancelled, or one that it is part of: open another run"
    return RunCancelled(Problem(409, "run_not_open", detail=detail, extra={"run_state": "cancelled"}))
