"""Waiting, for the synchronous client; each function has a twin in `waiting_async`."""

from __future__ import annotations

import atexit
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Generic, TypeAlias, TypeVar, cast

from .errors import ToolTimedOut

Value = TypeVar("Value")


def sleep_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def lock_sync() -> threading.Lock:
    """Make a lock between threads."""
    return threading.Lock()


class SignalSync:
    """Wakes the one thread that waits for it, or will."""

    __slots__ = ("_unset",)

    def __init__(self) -> None:
        self._unset = threading.Lock()  # held until it is set
        self._unset.acquire()

    def set(self) -> None:
        """Wake whoever waits."""
        with suppress(RuntimeError):  # it is set already
            self._unset.release()

    def wait(self, seconds: float | None) -> bool:
        """Wait, at most so long unless it is None; returns whether the signal came."""
        return self._unset.acquire(timeout=-1 if seconds is None else seconds)


class InterruptionSync:
    """Does nothing: a thread is not cancelled, but stops at its next step."""

    __slots__ = ("__weakref__",)

    @property
    def is_possible(self) -> bool:
        """Return False."""
        return False

    def interrupt(self, *, unless_ending: bool = False) -> None:
        """Do nothing."""

    def over(self) -> None:
        """Do nothing."""

    def caused(self, error: BaseException | None) -> bool:
        """Return False."""
        return False


def apart_sync(do: Callable[[], None]) -> None:
    """Call `do`: threads are not canceled."""
    do()


def together_sync(works: Sequence[Callable[[], None]]) -> None:
    """Call all at the same time, the first in this thread, and to their end; what finds no thread is called later."""
    first, *others = works
    runs = [_Run(work) for work in others]
    started = []
    for run in runs:
        with suppress(RuntimeError):  # no thread begins while the interpreter ends, as in what `atexit` calls
            run.start()
            started.append(run)
    first()
    for run in started:
        run.ended.wait()
        run.result()
    for work in others[len(started) :]:
        work()


def shielded_sync(end: Callable[[], None]) -> None:
    """Call `end`: threads are not canceled."""
    end()


def check_function_sync(function: object) -> None:
    """Raise TypeError for what is no function that returns when it is done."""
    is_other = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    if not callable(function) or is_other or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{function!r} is no function that returns: guard an `async def` with AsyncTokenLedger, and a stream with"
            " ledger.wrap(…)"
        )


def computed_sync(compute: Callable[[], Value], *, is_quick: bool) -> Value:
    """Compute something."""
    return compute()


def run_later_sync(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """Call `do` later in a thread of its own, or as soon as the process exits; returns what calls it off."""

    def run() -> None:
        if _scheduled.pop(timer, None) is not None:
            do()

    def call_off() -> None:
        _scheduled.pop(timer, None)
        timer.cancel()

    timer = threading.Timer(seconds, run)
    timer.daemon = True
    _scheduled[timer] = run
    timer.start()
    return call_off


def at_task_end_sync(do: Callable[[BaseException], None]) -> Callable[[], None]:
    """Do nothing: a thread is not canceled."""
    return lambda: None


WorkSync: TypeAlias = Callable[[], Value]
"""What `gather` takes: something to call."""


def background_sync(do: Callable[[], None], name: str) -> Callable[[], None]:
    """Call `do` in a thread of its own, which ends with the process; who wants it to end earlier tells it."""
    threading.Thread(target=do, name=name, daemon=True).start()
    return lambda: None


def event_sync() -> threading.Event:
    """Make what threads wait for."""
    return threading.Event()


def seat_sync() -> object:
    """Return what the threads have in common that may wait for each other: all of a process do."""
    return None


def limited_sync(seconds: float | None, work: Callable[[], Value], when_late: Callable[[], None]) -> Value:
    """Call something in a thread, with this one's context, that is left alone after so many seconds: ToolTimedOut.

    A thread can't be stopped: what it returns later is dropped, and `when_late` is called when it has ended.
    """
    if seconds is None:
        return work()
    run = _Run(work, when_late)
    run.start()
    try:
        run.ended.wait(seconds)
    finally:
        is_late = run.leave()
    if is_late:
        raise ToolTimedOut(f"no answer after {seconds:g} s: its thread goes on, and what it returns is dropped")
    return run.result()


def gathered_sync(works: Sequence[Callable[[], object]]) -> list[tuple[object, BaseException | None]]:
    """Call all at the same time, each in a thread with this one's context; returns results and errors, in order."""
    runs = [_Run(work) for work in works]
    for run in runs:
        run.start()
    for run in runs:
        run.ended.wait()
    return [run.outcome for run in runs]


class _Run(Generic[Value]):
    """One call in a thread of its own, which ends with the process."""

    def __init__(self, work: Callable[[], Value], when_late: Callable[[], None] = lambda: None) -> None:
        self.ended = threading.Event()
        self.outcome: tuple[Value | None, BaseException | None] = None, None
        self._work = work
        self._when_late = when_late
        self._context = copy_context()
        self._lock = threading.Lock()
        self._is_left = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="token-ledger-tool", daemon=True).start()

    def _run(self) -> None:
        try:
            self.outcome = self._context.run(self._work), None
        except BaseException as error:
            self.outcome = None, error
        with self._lock:
            self.ended.set()
            is_left = self._is_left
        if is_left:
            self._when_late()

    def leave(self) -> bool:
        """Wait no longer; returns whether the call has not ended."""
        with self._lock:
            self._is_left = not self.ended.is_set()
            return self._is_left

    def result(self) -> Value:
        value, error = self.outcome
        if error is not None:
            raise error
        return cast(Value, value)


_scheduled: dict[threading.Timer, Callable[[], None]] = {}


@atexit.register
def _run_at_exit() -> None:
    for run in [*_scheduled.values()]:
        run()
