"""Waiting, for both clients: the only place where they differ by more than `await`.

anyio comes with httpx2, which needs it for the same purpose; so the asynchronous client runs on asyncio
and on trio.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext

import anyio

# Ending a hold while its task is being canceled must not keep the task for longer than this.
_SHIELD_SECONDS = 10.0


async def pause_async(seconds: float) -> None:
    """Wait without blocking other tasks."""
    await anyio.sleep(seconds)


def pause_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def shield_async() -> AbstractContextManager[object]:
    """Let a block finish although its task is being canceled; TimeoutError after ten seconds."""
    return anyio.fail_after(_SHIELD_SECONDS, shield=True)


def shield_sync() -> AbstractContextManager[object]:
    """Do nothing: without tasks there is no cancellation."""
    return nullcontext()


def turns_async() -> anyio.Lock:
    """Return a lock of which one task at a time has a turn."""
    return anyio.Lock()


def turns_sync() -> threading.Lock:
    """Return a lock of which one thread at a time has a turn."""
    return threading.Lock()
