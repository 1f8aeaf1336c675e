"""Measures re-costing: calls a second whose corrected price is booked, and reserves of the tenant meanwhile.

`python -m tests.bench.recosting URL` is the measured process: it re-costs every call of the first tenant, page by page,
as `token-ledger prices recost --also-priced --accept` does, and prints how many it has re-costed in how many seconds.
"""

import asyncio
import json
import subprocess
import sys
import time
from typing import Final

from tests.bench import shapes
from tests.bench.flood import Answers, call_quietly, percentile_ms
from tests.bench.ingest import copied_rows
from tests.bench.ledger import LedgerBench
from tests.bench.rows import Failure, Figure, Row, Run, Target
from tests.bench.traffic import caller, size
from token_ledger.cli.event_loop import collect_less_garbage, loop_factory
from token_ledger.cli.recostings import recost_calls
from token_ledger.core.batch.administration import SetPrice
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import Changed, Recorded
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import FIRST_INSTANT
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.prices import check_rates, load_price_book
from token_ledger.storage.reads.recostings import Wanted
from token_ledger.storage.tenants import find_tenant

GROUP: Final = "usage"
_CALLS: Final = 30_000
_AT_ONCE: Final = 500
_COPY: Final = "bare COPY of the same columns, 500 rows each, rows/s"


def recost(ledger: LedgerBench) -> list[Row]:
    """Measure how many calls a second are re-costed, and the slowest reserves and settles of the tenant beside it."""
    rates: list[Run] = []
    beside: list[Run] = []
    for _ in range(ledger.plan.repetitions):
        with ledger.service_of(shapes.ONE_ACCOUNT) as (base, [key], _, url):
            asyncio.run(_fill(url))
            copied = asyncio.run(copied_rows(url, ledger.plan.seconds))
            ledger.server.checkpoint()
            alone = asyncio.run(call_quietly(base, key, ledger.plan.seconds, "alone"))
            calls, seconds, answers = asyncio.run(_beside(url, base, key))
            if calls < _CALLS:
                raise Failure(f"only {calls} calls of {_CALLS} were re-costed")
            rates.append(Run(calls / seconds, copied))
            beside.append(Run(percentile_ms(answers.seconds, 0.99), percentile_ms(alone.seconds, 0.99)))
            ledger.verify("recost", url)
        ledger.plan.say(
            f"recost: {rates[-1].value:,.0f} events/s; p99 beside it {beside[-1].value:.1f} ms,"
            f" alone {beside[-1].yardstick_value:.1f} ms"
        )
    return [
        Row(GROUP, "recost", "events/s", _COPY, tuple(rates), Target(Figure.VALUE, 15_000)),
        Row(GROUP, "beside_recost", "ms", "p99 alone, ms", tuple(beside), Target(Figure.RATIO, 2, at_most=True)),
    ]


async def _beside(url: str, base: str, key: str) -> tuple[int, float, Answers]:
    """Re-cost in another process, and send requests of the same tenant until it has ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.recosting", url, stdout=subprocess.PIPE
    )
    ended = asyncio.create_task(process.communicate())
    answers = Answers()
    while not ended.done():
        more = await call_quietly(base, key, 0.2, f"{time.monotonic()}-")
        answers.seconds += more.seconds
    output, _ = ended.result()
    if process.returncode:
        raise Failure(f"the measured process ended with status {process.returncode}")
    return *json.loads(output), answers


async def _fill(url: str) -> None:
    """Book calls, then correct the price that they have."""
    database = Database(url)
    async with database.reading() as connection:
        commits = GroupCommit(database, await load_price_book(connection))
        tenant = await find_tenant(connection, shapes.FIRST_TENANT)
    assert tenant is not None
    for first in range(0, _CALLS, _AT_ONCE):
        submitted = (commits.submit(tenant, _call(number)) for number in range(first, first + _AT_ONCE))
        outcomes = await asyncio.gather(*submitted)
        if not all(isinstance(each, Recorded) for each in outcomes):
            raise Failure("a call was not booked")
    names = {(caller(number).provider, caller(number).model) for number in range(_CALLS)}
    for provider, model in names:
        rates = {"base": {"input": "3", "output": "7"}}
        price = check_rates(rates)
        command = SetPrice(f"{provider}/{model}", b"", provider, model, rates, price, "bench", FIRST_INSTANT)
        if not isinstance(await commits.submit(tenant, command), Changed):
            raise Failure("the price was not set")
    await commits.drain()
    await database.close()


def _call(number: int) -> Record:
    who = caller(number)
    return Record(
        f"call {number}", b"", "bench", who.agent_type, who.provider, who.model, Usage(*size(number)),
        user=who.user, cost_center=who.cost_center,
    )  # fmt: skip


async def _recost(url: str) -> tuple[int, float]:
    database = Database(url)
    async with database.reading() as connection:
        commits = GroupCommit(database, await load_price_book(connection))
        tenant = await find_tenant(connection, shapes.FIRST_TENANT)
    assert tenant is not None
    collect_less_garbage()
    started = time.perf_counter()
    models = await recost_calls(database, commits, TenantId(tenant), Wanted(also_priced=True), accept=True)
    seconds = time.perf_counter() - started
    await commits.drain()
    await database.close()
    return sum(each["events"] for each in models), seconds


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(_recost(sys.argv[1]))))
