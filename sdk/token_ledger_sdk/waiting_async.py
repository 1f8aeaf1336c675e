"""Waiting, for the asynchronous client; with `waiting_sync`, the only place where the two differ by more than `await`.

anyio comes with httpx2, which needs it for the same purpose; it lets this client run on asyncio and trio. Only this
client imports the two, as they take a fifth of the time of an import.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from .errors import ToolTimedOut, Unreachable

Value = TypeVar("Value")

# The longest that the end of a block may keep a task that is being canceled.
_SHIELDED_SECONDS = 10.0
# How long a task has to be cancelled by those who wait for it, before it is cancelled by itself.
_GRACE_SECONDS = 0.05


async def sleep_async(seconds: float) -> None:
    """Wait without blocking other tasks."""
    await anyio.sleep(seconds)


def lock_async() -> anyio.Lock:
    """Make a lock between tasks."""
    return anyio.Lock()


class SignalAsync:
    """Wakes the one task that waits for it, or will."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Wake whoever waits."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self, seconds: float | None) -> bool:
        """Wait, at most so long unless it is None; returns whether the signal came."""
        if not self._is_set:
            self._event = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._event.wait()
        came, self._is_set, self._event = self._is_set, False, None
        return came


class InterruptionAsync:
    """Cancels the task that made it, where that is one of asyncio: what it does must not go on."""

    __slots__ = ("__weakref__", "_before", "_is_over", "_is_taken_back", "_is_used", "_loop", "_task")

    def __init__(self) -> None:
        try:
            self._task = asyncio.current_task()
        except RuntimeError:  # on trio
            self._task = None
        self._loop = None if self._task is None else self._task.get_loop()
        self._before = 0 if self._task is None else self._task.cancelling()
        self._is_used = self._is_over = self._is_taken_back = False

    @property
    def is_possible(self) -> bool:
        """Whether there is a task to cancel."""
        return self._task is not None

    def interrupt(self, *, unless_ending: bool = False) -> None:
        """Cancel the task, from any thread; a moment later, and unless that was done meanwhile, if that is said."""
        if self._loop is not None and not self._is_over:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._begin_to_end if unless_ending else self._cancel)

    def _begin_to_end(self) -> None:
        assert self._loop is not None
        self._loop.call_later(_GRACE_SECONDS, self._cancel_unless_ending)

    def _cancel_unless_ending(self) -> None:
        if self._task is not None and self._task.cancelling() == self._before:
            self._cancel()

    def _cancel(self) -> None:
        # One stop may be heard several times, and only one cancellation is taken back.
        if self._task is not None and not (self._is_used or self._is_over or self._task.done()):
            self._is_used = True
            self._task.cancel()

    def over(self) -> None:
        """Interrupt nothing from now on."""
        self._is_over = True

    def caused(self, error: BaseException | None) -> bool:
        """Whether an exception is the cancellation by this, and nobody else cancels the task; ask when it is over."""
        if self._task is None or not self._is_used:
            return False
        if not self._is_taken_back:
            self._is_taken_back = True
            self._task.uncancel()
        return self._task.cancelling() <= self._before and isinstance(error, asyncio.CancelledError)


async def apart_async(do: Callable[[], Awaitable[None]]) -> None:
    """Await `do`, which goes on when this task is canceled meanwhile; on trio it is canceled, too."""
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        await do()
        return
    task = asyncio.ensure_future(do())
    _apart.add(task)
    task.add_done_callback(_apart.discard)
    await asyncio.shield(task)


async def together_async(works: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Await all at the same time, each in a task of its own, and to its end."""
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(work)


async def shielded_async(end: Callable[[], Awaitable[None]]) -> None:
    """Await `end` to its end even if this task is being canceled; raises Unreachable after ten seconds.

    A cancellation that arrives meanwhile is raised afterwards, with a note of what went wrong.
    """
    with anyio.CancelScope(shield=True):
        if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
            await _in_a_task(end)
        else:
            await _limited(end)


async def _in_a_task(end: Callable[[], Awaitable[None]]) -> None:
    # A shield of anyio only holds off anyio's scopes: `wait_for`, `timeout` and `Task.cancel` reach through it.
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
        with anyio.fail_after(_SHIELDED_SECONDS):
            await end()
    except TimeoutError as error:
        raise Unreachable(
            f"leaving the block took more than {_SHIELDED_SECONDS:.0f} s and was given up: what it sent may be done"
        ) from error


def check_function_async(function: object) -> None:
    """Raise TypeError for what is no function that can be awaited."""
    if not inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{function!r} is no `async def` that returns: guard it with TokenLedger, and a stream with ledger.wrap(…)"
        )


async def computed_async(compute: Callable[[], Value], *, is_quick: bool) -> Value:
    """Compute something, in a thread unless it is quick, so that other tasks can run."""
    return compute() if is_quick else await anyio.to_thread.run_sync(compute)


def run_later_async(seconds: float, do: Callable[[], Awaitable[None]]) -> Callable[[], None] | None:
    """Await `do` later in a task of its own, or as soon as asyncio cancels that task; returns what calls it off.

    Returns None on trio, where no task outlives its nursery.
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


def at_task_end_async(do: Callable[[BaseException], Awaitable[None]]) -> Callable[[], None]:
    """Await `do` if the current task of asyncio ends before what this returns was called."""
    task = asyncio.current_task()

    def ended(task: asyncio.Task[object]) -> None:
        end = asyncio.ensure_future(do(asyncio.CancelledError()))
        _ends.add(end)
        end.add_done_callback(_ends.discard)

    if task is None:
        return lambda: None
    task.add_done_callback(ended)

    def call_off() -> None:
        task.remove_done_callback(ended)

    return call_off


_ends: set[asyncio.Future[None]] = set()
_apart: set[asyncio.Future[None]] = set()


WorkAsync: TypeAlias = Awaitable[Value]
"""What `gather` takes: something to await."""


def background_async(do: Callable[[], Awaitable[None]], name: str) -> Callable[[], None]:
    """Await `do` in a task of its own until what this returns was called, which cancels it; on trio, not at all."""
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return lambda: None
    task = asyncio.ensure_future(do())
    task.set_name(name)
    _apart.add(task)
    task.add_done_callback(_apart.discard)

    def end() -> None:
        with suppress(RuntimeError):  # the loop is closed
            task.get_loop().call_soon_threadsafe(task.cancel)

    return end


def event_async() -> anyio.Event:
    """Make what tasks wait for."""
    return anyio.Event()


def seat_async() -> object:
    """Return what the tasks have in common that may wait for each other: their thread, and so their event loop."""
    return threading.get_ident()


async def limited_async(
    seconds: float | None, work: Callable[[], Awaitable[Value]], when_late: Callable[[], None]
) -> Value:
    """Await something that is canceled after so many seconds; raises ToolTimedOut then.

    It has ended when this ends, so `when_late` is not called.
    """
    if seconds is None:
        return await work()
    with anyio.move_on_after(seconds):
        return await work()
    raise ToolTimedOut(f"no answer after {seconds:g} s: it was canceled")


async def gathered_async(works: Sequence[Awaitable[object]]) -> list[tuple[object, BaseException | None]]:
    """Await all at the same time, each in a task of its own, and to its end; returns results and errors, in order."""
    outcomes: dict[int, tuple[object, BaseException | None]] = {}

    async def follow(index: int, work: Awaitable[object]) -> None:
        try:
            outcomes[index] = await work, None
        except Exception as error:
            outcomes[index] = None, error

    async with anyio.create_task_group() as group:
        for index, work in enumerate(works):
            group.start_soon(follow, index, work)
    canceled = RuntimeError("it was canceled by somebody else")
    return [outcomes.get(index, (None, canceled)) for index in range(len(works))]
