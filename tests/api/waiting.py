"""Waits for a condition with a deadline. Tests never sleep for a time that is only likely to be enough."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 60
"""When a test is given up that waits for what does not happen. A slow machine only needs longer."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as a condition holds; TimeoutError if it never does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)
