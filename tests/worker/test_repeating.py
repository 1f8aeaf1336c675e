"""Recurring work continues whatever happens, with longer pauses while it fails."""

import asyncio
import logging
from itertools import pairwise

import pytest

from tests.api.waiting import until
from token_ledger.worker import repeating
from token_ledger.worker.repeating import pause_seconds, repeat


@pytest.mark.parametrize(
    ("failures", "expected"), [(0, 7.0), (1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (8, 60.0), (10_000, 60.0)]
)
def test_pauses_double_with_each_failure_up_to_the_longest(failures: int, expected: float) -> None:
    pauses = [pause_seconds(7.0, failures, 60.0) for _ in range(200)]
    assert min(pauses) >= 0.9 * expected
    assert max(pauses) <= 1.1 * expected
    assert len(set(pauses)) > 100, "many processes would come at once"


async def test_errors_are_logged_and_do_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repeating, "FIRST_PAUSE_SECONDS", 0.001)
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls in (2, 3, 5):
            raise RuntimeError(f"trouble {calls}")

    async def has_gone_on() -> bool:
        return calls >= 8

    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(repeat("sweep the floor", 0.001, work))
        await until(has_gone_on)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    said = [(vars(record)["task"], vars(record)["reason"], vars(record)["times"]) for record in caplog.records]
    assert said == [
        ("sweep the floor", "RuntimeError: trouble 2", 1),
        ("sweep the floor", "RuntimeError: trouble 3", 2),
        ("sweep the floor", "RuntimeError: trouble 5", 1),
    ]


async def test_failing_work_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "FIRST_PAUSE_SECONDS", 0.02)
    loop = asyncio.get_running_loop()
    instants: list[float] = []

    async def fail() -> None:
        instants.append(loop.time())
        raise OSError("away")

    async def was_tried() -> bool:
        return len(instants) == 5

    task = asyncio.create_task(repeat("call", 0.0, fail, longest_pause_seconds=0.08))
    await until(was_tried)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    pauses = [after - before for before, after in pairwise(instants)]
    assert all(pause >= least for pause, least in zip(pauses, (0.018, 0.036, 0.072, 0.072), strict=True)), pauses


async def test_work_ends_when_it_is_cancelled() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(repeat("wait", 1.0, work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
