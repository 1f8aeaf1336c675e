"""Waiting, for both clients: the only place where they differ by more than `await`.

anyio comes with httpx2, which needs it for the same purpose; so the asynchronous client runs on asyncio
and on trio.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Awaitable, Callable

import anyio

from .errors import Unreachable

# What a block ends with while its task is being canceled must not keep the task for longer than this.
_ENDING_SECONDS = 10.0


async def pause_async(seconds: float) -> None:
    """Wait without blocking other tasks."""
    await anyio.sleep(seconds)


def pause_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


async def uncanceled_async(end: Callable[[], Awaitable[None]]) -> None:
    """Await `end` to its end although this task is being canceled; Unreachable after ten seconds.

    A cancellation that comes meanwhile is raised afterwards, with a note of what went wrong.
    """
    with anyio.CancelScope(shield=True):
        if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
            await _in_a_task(end)
        else:
            await _limited(end)


async def _in_a_task(end: Callable[[], Awaitable[None]]) -> None:
    # A shield of anyio holds off its own scopes only: `wait_for`, `timeout` and `Task.cancel` reach through it.
    task = asyncio.ensure_future(_limited(end))
    canceled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            canceled = error
    if canceled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        canceled.add_note(f"Token Ledger: {failure}")
    raise canceled


async def _limited(end: Callable[[], Awaitable[None]]) -> None:
    try:
        with anyio.fail_after(_ENDING_SECONDS):
            await end()
    except TimeoutError as error:
        raise Unreachable(
            f"it did not end within {_ENDING_SECONDS:.0f} s, which is all it may keep its task"
        ) from error


def uncanceled_sync(end: Callable[[], None]) -> None:
    """Call `end`: without tasks there is no cancellation."""
    end()


def later_async(seconds: float, do: Callable[[], Awaitable[None]]) -> Callable[[], None] | None:
    """Await `do` later in a task of its own, or as soon as asyncio ends that task; return what calls it off.

    None on trio, where no task lives outside of a nursery.
    """
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return None
    is_off = False

    async def wait() -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            if not is_off:
                await do()

    task = asyncio.ensure_future(wait())

    def call_off() -> None:
        nonlocal is_off
        is_off = True
        task.cancel()

    return call_off


def later_sync(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """Call `do` later in a thread of its own, or as soon as the process ends; return what calls it off."""

    def run() -> None:
        if _due.pop(timer, None) is not None:
            do()

    def call_off() -> None:
        _due.pop(timer, None)
        timer.cancel()

    timer = threading.Timer(seconds, run)
    timer.daemon = True
    _due[timer] = run
    timer.start()
    return call_off


_due: dict[threading.Timer, Callable[[], None]] = {}


@atexit.register
def _do_what_is_due() -> None:
    for run in [*_due.values()]:
        run()


def turns_async() -> anyio.Lock:
    """Return a lock of which one task at a time has a turn."""
    return anyio.Lock()


def turns_sync() -> threading.Lock:
    """Return a lock of which one thread at a time has a turn."""
    return threading.Lock()
