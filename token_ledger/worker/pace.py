"""Owns how much of a long work is done at a time: in slices so short that nobody notices."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLICE_SECONDS = 0.05


class Pace:
    """How much to do in one slice, learned from how long the last one took. After each it waits as long."""

    def __init__(self, size: int, largest: int) -> None:
        self.size = size
        self._largest = largest

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[int]:
        """Time a slice and give its size."""
        started = time.monotonic()
        yield self.size
        seconds = time.monotonic() - started
        wanted = int(self.size * SLICE_SECONDS / max(seconds, 0.001))
        self.size = max(1, min(self._largest, 2 * self.size, wanted))
        await asyncio.sleep(seconds)
