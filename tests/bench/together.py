"""Measures what it brings that the requests of many callers of one process travel together."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from token_ledger_sdk import AsyncTokenLedger, TokenLedger, Usage
from token_ledger_sdk._async import travel as async_travel
from token_ledger_sdk._sync import travel as sync_travel

from tests.bench.ledger import LedgerBench
from tests.bench.rows import Figure, Row, Target, interleave

CALLERS: Final = 256
_CALL: Final[dict[str, Any]] = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600,
    "max_output_tokens": 400,
}  # fmt: skip
_USED: Final = Usage(600, 200)


def coalesced(group: str, ledger: LedgerBench) -> list[Row]:
    """Measure the pairs of reserve and settle of 256 callers without leases, as tasks and as threads.

    Besides, what one caller by itself waits for a pair; each beside the same with a request for every call.
    """
    seconds, repetitions = ledger.plan.seconds, ledger.plan.repetitions
    with ledger.service() as (base, key, _):
        many = [
            Row(group, name, "pairs/s", "each with requests of its own, pairs/s", runs, Target(Figure.RATIO, 3))
            for name, measure in (("coalesced", _tasks), ("coalesced_threads", _threads))
            for runs in interleave(repetitions, partial(_alone, measure, base, key, CALLERS, seconds),
                                   partial(measure, base, key, CALLERS, seconds))
        ]  # fmt: skip
        single = partial(_pair_ms, base, key, seconds)
        (runs,) = interleave(repetitions, partial(_alone, single), single)
    target = Target(Figure.RATIO, 1.05, at_most=True)
    return [*many, Row(group, "coalesced_single", "ms a pair", "requests of its own, ms a pair", runs, target)]


def _alone(measure: Callable[..., float], *arguments: Any) -> float:
    with ExitStack() as stack:
        for module in (async_travel, sync_travel):
            stack.enter_context(patch.object(module, "can_travel", lambda request: False))
        return measure(*arguments)


def _tasks(base: str, key: str, callers: int, seconds: float) -> float:
    async def call(ledger: AsyncTokenLedger, until: float) -> int:
        made = 0
        while time.perf_counter() < until:
            hold = await ledger.reserve(user="ada", **_CALL)
            await hold.settle(_USED)
            made += 1
        return made

    async def run() -> float:
        async with AsyncTokenLedger(base, key, timeout=60) as ledger:
            await asyncio.gather(*(call(ledger, time.perf_counter()) for _ in range(callers)))
            started = time.perf_counter()
            made = await asyncio.gather(*(call(ledger, started + seconds) for _ in range(callers)))
            return sum(made) / (time.perf_counter() - started)

    return asyncio.run(run())


def _threads(base: str, key: str, callers: int, seconds: float) -> float:
    made = [0] * callers
    with TokenLedger(base, key, timeout=60) as ledger:
        started = time.perf_counter()

        def call(number: int) -> None:
            while time.perf_counter() < started + seconds:
                ledger.reserve(user="ada", **_CALL).settle(_USED)
                made[number] += 1

        threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(made) / (time.perf_counter() - started)


def _pair_ms(base: str, key: str, seconds: float) -> float:
    return 1_000 / _tasks(base, key, 1, seconds)
