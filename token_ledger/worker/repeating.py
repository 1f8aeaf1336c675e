"""Repeats work until it is cancelled; work that fails is tried again after longer and longer pauses."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
"""The pause after a failure begins with the first, doubles with each further failure, and ends with the longest."""


async def repeat(
    what: str,
    seconds: float,
    task: Callable[[], Awaitable[object]],
    *,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> None:
    """Do a task forever, with a pause of `seconds` in between, or a growing one while it fails."""
    failures = 0
    while True:
        try:
            await task()
            failures = 0
        except Exception as error:  # whatever it is (no schema yet, for example), the next round may succeed
            failures += 1
            reason = f"{type(error).__name__}: {error}"[:300]
            log.warning(
                "recurring work failed, trying again later", extra={"task": what, "reason": reason, "times": failures}
            )
        await asyncio.sleep(pause_seconds(seconds, failures, longest_pause_seconds))


def pause_seconds(seconds: float, failures: int, longest: float) -> float:
    """Return the pause after so many failures in a row, varied at random so that processes do not act in step."""
    if failures:
        seconds = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - nobody gains from guessing it
