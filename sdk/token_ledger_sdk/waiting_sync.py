"""Waiting, for the synchronous client; each function has a twin in `waiting_async`."""

from __future__ import annotations

import atexit
import inspect
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def sleep_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def lock_sync() -> threading.Lock:
    """Make a lock between threads."""
    return threading.Lock()


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


_scheduled: dict[threading.Timer, Callable[[], None]] = {}


@atexit.register
def _run_at_exit() -> None:
    for run in [*_scheduled.values()]:
        run()
