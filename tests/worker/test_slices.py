"""Slices of long work take about as long as they may, however long a lock was waited for."""

import pytest

from token_ledger.worker import slices
from token_ledger.worker.slices import Slices


class Time:
    """Stands for `time` and `asyncio` in the module: time passes only when somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(round(seconds, 3))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(slices, "time", made)
    monkeypatch.setattr(slices, "asyncio", made)
    return made


async def _slices(time: Time, of: Slices, seconds_each: float, count: int, *, waited_seconds: float = 0.0) -> list[int]:
    sizes = []
    for _ in range(count):
        async with of.next() as size:
            time.now += waited_seconds
            if waited_seconds:
                of.restart_clock()
            time.now += size * seconds_each
            sizes.append(size)
    return sizes


async def test_slices_grow_until_they_take_the_allowed_time(time: Time) -> None:
    assert await _slices(time, Slices(1, 1_000), 0.004, 6) == [1, 2, 4, 8, 12, 12]
    assert await _slices(time, Slices(4, 8), 0.0, 3) == [4, 8, 8]


async def test_slices_that_take_too_long_shrink_but_never_to_nothing(time: Time) -> None:
    assert await _slices(time, Slices(8, 8), 0.1, 2) == [8, 1]
    assert await _slices(time, Slices(1, 8), 0.2, 2) == [1, 1]


async def test_waiting_for_a_lock_makes_no_slice_smaller(time: Time) -> None:
    assert await _slices(time, Slices(8, 8), 0.0, 3, waited_seconds=0.1) == [8, 8, 8]


async def test_after_each_slice_others_have_as_long(time: Time) -> None:
    await _slices(time, Slices(8, 8), 0.005, 2)
    assert time.pauses == [0.04, 0.04]
