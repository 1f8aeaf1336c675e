"""The pace of a long work: slices take about as long as they may, whatever was waited for before."""

import asyncio

from token_ledger.worker.pace import Pace


async def _slices(of: Pace, seconds_each: float, count: int, *, waited_seconds: float = 0.0) -> list[int]:
    sizes = []
    for _ in range(count):
        async with of.slice() as size:
            await asyncio.sleep(waited_seconds)
            if waited_seconds:
                of.begin()
            await asyncio.sleep(size * seconds_each)
            sizes.append(size)
    return sizes


async def test_slices_become_as_large_as_their_time_allows_and_no_larger() -> None:
    sizes = await _slices(Pace(1, 1_000), 0.005, 6)
    assert sizes[:3] == [1, 2, 4]
    assert max(sizes) <= 10
    assert await _slices(Pace(4, 8), 0.0, 3) == [4, 8, 8]


async def test_slices_that_take_too_long_become_smaller_and_never_nothing() -> None:
    assert await _slices(Pace(8, 8), 0.1, 2) == [8, 1]
    assert (await _slices(Pace(1, 8), 0.2, 2))[1] == 1


async def test_what_was_waited_for_makes_no_slice_smaller() -> None:
    assert await _slices(Pace(8, 8), 0.0, 3, waited_seconds=0.1) == [8, 8, 8]
