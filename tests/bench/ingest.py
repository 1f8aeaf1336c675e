"""Measures `/v1/usage`: events a second over HTTP in lists of 500, beside a bare COPY of the rows that they become."""

import asyncio
import json
import threading
import time
from functools import partial
from http.client import HTTPConnection
from typing import Final

import asyncpg

from tests.bench import shapes
from tests.bench.ledger import LedgerBench
from tests.bench.plan import WARM_UP_SECONDS
from tests.bench.rows import Failure, Figure, Row, Target, interleave
from tests.bench.traffic import caller, size

GROUP: Final = "usage"
EVENTS: Final = 500
CONNECTIONS: Final = 2
"""A key has room for about two such lists at once."""
_COPY: Final = "bare COPY of the same columns, 500 rows each, rows/s"
_MARK: Final = "@list@"


def a_list(events: int = EVENTS) -> str:
    """Return the body of a list of events, with a mark in every key."""
    return json.dumps({"events": [_event(number) for number in range(events)]})


def _event(number: int) -> dict[str, object]:
    who = caller(number)
    input_tokens, output_tokens = size(number)
    return {
        "source": "bench", "idempotency_key": f"{_MARK}-{number}", **who._asdict(),
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens},
        "response_id": f"resp-{_MARK}-{number}",
        "measured": {"latency_ms": 900 + number, "first_token_ms": 300, "finish_reason": "stop"},
    }  # fmt: skip


def ingest(ledger: LedgerBench) -> list[Row]:
    """Measure how many events a second one process takes in."""
    with ledger.service_of(shapes.ONE_ACCOUNT) as (base, [key], _, url):
        address = base.removeprefix("http://")
        _report(address, key, "warm-up", WARM_UP_SECONDS)
        numbers = iter(range(ledger.plan.repetitions))
        (runs,) = interleave(
            ledger.plan.repetitions,
            lambda: asyncio.run(copied_rows(url, ledger.plan.seconds)),
            lambda: _report(address, key, f"run-{next(numbers)}", ledger.plan.seconds),
        )
        ledger.verify("ingest_500", url)
    for run in runs:
        ledger.plan.say(f"ingest_500: {run.value:,.0f} events/s; COPY: {run.yardstick_value:,.0f} rows/s")
    return [Row(GROUP, "ingest_500", "events/s", _COPY, runs, Target(Figure.RATIO, 0.1))]


def _report(address: str, key: str, run: str, seconds: float) -> float:
    """Report lists over some connections for so long; return how many events a second were booked."""
    counts: list[int] = []
    errors: list[str] = []
    started = time.perf_counter()
    report = partial(_report_lists, address, key, counts, errors, until=started + seconds)
    threads = [threading.Thread(target=report, args=(f"{run}-{number}",)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise Failure(f"a list was not booked: {errors[0]}")
    return sum(counts) / (time.perf_counter() - started)


def _report_lists(
    address: str, key: str, counts: list[int], errors: list[str], run: str, *, until: float
) -> None:  # fmt: skip
    template = a_list()
    connection = HTTPConnection(address, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    lists = 0
    while time.perf_counter() < until and not errors:
        body = template.replace(_MARK, f"{run}-{lists}").encode()
        connection.request("POST", "/v1/usage", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        booked = said.count(b'"status":"booked"') + said.count(b'"status": "booked"')
        if answer.status != 200 or booked != EVENTS:
            errors.append(f"{answer.status}, {booked} booked: {said[:500]!r}")
        lists += 1
    counts.append(lists * EVENTS)
    connection.close()


async def copied_rows(url: str, seconds: float) -> float:
    """Return how many rows a second one connection copies into a table with the columns of the events."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("create table if not exists copied (like usage_events)")
        records = [tuple(row) for row in await connection.fetch(f"select * from usage_events limit {EVENTS}")]
        rows, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            await connection.copy_records_to_table("copied", records=records)
            rows += len(records)
        return rows / (time.perf_counter() - started)
    finally:
        await connection.execute("drop table if exists copied")
        await connection.close()
