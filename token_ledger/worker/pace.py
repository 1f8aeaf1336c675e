"""Owns how much is done in one slice of a long work, so that those who wait for the same locks hardly notice."""

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
        self._began = 0.0

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[int]:
        """Time a slice and give its size."""
        self.begin()
        yield self.size
        seconds = time.monotonic() - self._began
        wanted = int(self.size * SLICE_SECONDS / max(seconds, 0.001))
        self.size = max(1, min(self._largest, 2 * self.size, wanted))
        await asyncio.sleep(seconds)

    def begin(self) -> None:
        """Take the slice to begin only now: who waited for a lock held up nobody, however long that was."""
        self._began = time.monotonic()
