"""Divides long work into slices so short that others who need the same locks hardly notice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLICE_SECONDS = 0.05
MOST_ROUNDS = 50
"""How many times in a row one duty looks for more work before it waits for its next turn."""


class Slices:
    """How much to do in the next slice, learned from how long the last one took; after each it waits as long."""

    def __init__(self, size: int, largest: int) -> None:
        self.size = size
        self._largest = largest
        self._began = 0.0

    @asynccontextmanager
    async def next(self) -> AsyncIterator[int]:
        """Give the size of a slice, and time it."""
        self.restart_clock()
        yield self.size
        seconds = time.monotonic() - self._began
        wanted = int(self.size * SLICE_SECONDS / max(seconds, 0.001))
        self.size = max(1, min(self._largest, 2 * self.size, wanted))
        await asyncio.sleep(seconds)

    def restart_clock(self) -> None:
        """Time the slice from now on: waiting for a lock delays nobody else, so it does not count."""
        self._began = time.monotonic()
