"""Owns how recurring work is repeated: nothing stops it but its cancellation, and what fails is tried less often."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
"""How long after failures work is tried again: twice as long every time, up to this."""


async def repeat(
    what: str,
    seconds: float,
    task: Callable[[], Awaitable[object]],
    *,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> None:
    """Do something for ever, with so many seconds in between, or with a growing pause while it fails."""
    failures = 0
    while True:
        try:
            await task()
            failures = 0
        except Exception as error:  # whatever it is (no schema yet, say), the next round may go well
            failures += 1
            reason = f"{type(error).__name__}: {error}"[:300]
            log.warning("upkeep failed, tried again later", extra={"task": what, "reason": reason, "times": failures})
        await asyncio.sleep(pause_seconds(seconds, failures, longest_pause_seconds))


def pause_seconds(seconds: float, failures: int, longest: float) -> float:
    """Return how long to wait after so many failures in a row, a little by chance, so that many do not come at once."""
    if failures:
        seconds = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - nobody gains from guessing it
