"""The group `finance`: how long reports take over half a year of calls, and how fast these are exported.

The same with a tenth of the calls is the yardstick: reports read sums, so that more calls should hardly cost more time.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
import psutil  # type: ignore[import-untyped]

from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Failure, Figure, Row, Run, Target
from tests.bench.servers import BenchServer, bench_server
from tests.bench.shapes import FIRST_TENANT, ONE_ACCOUNT, filling
from tests.proof.ledger import make_partitions
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Calendar
from token_ledger.reports.cost_report import Wanted, cost_report
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.event_list import EventList, list_events
from token_ledger.reports.formats.cost_json import cost_report_answer
from token_ledger.reports.formats.event_csv import Reading, event_csv
from token_ledger.reports.formats.event_parquet import check_parquet, event_parquet
from token_ledger.reports.span import Span
from token_ledger.reports.spend import Asked, Spend, spend_of
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.tenants import find_tenant

GROUP: Final = "finance"
_FEW: Final = 500_000
_MANY: Final = 5_000_000
_DAYS: Final = 180
_REPORTS: Final = 20
"""How often a report is read for its 95th percentile."""
_YARDSTICK: Final = f"the same with {_FEW:,} calls, ms"
_MOST_GROWTH: Final = 50 * 1024 * 1024
_SPAN: Final = "posted_at >= :since and posted_at < :until"
T = TypeVar("T")
Export = Callable[[Reading, EventList], AsyncIterator[bytes]]

_CALLS: Final = f"""
create unlogged table history as
select n, (2 * n) << 16 as reservation_id, (2 * n + 1) << 16 as event_id, 'user-' || n % 200 as user_id,
       'center-' || n % 200 % 12 as cost_center, 'agent-' || n % 8 as agent_type, 'model-' || n / 8 % 20 as model,
       800 + n % 400 as input_tokens, 100 + n % 50 as output_tokens, n % 1000 = 0 as estimated, n % 97 = 0 as failed,
       1000000 + n % 7000 as cost_nanos,
       $2::timestamptz + n * (interval '{_DAYS} days' / $1) as at,
       (select account_id from accounts where tenant_id = 1 limit 1) as account_id,
       (select price_id from prices where model = 'gpt-5.4' limit 1) as price_id
from generate_series(1, $1::bigint) as n
"""
_SUMS: Final = "count(*), sum(input_tokens), sum(output_tokens), 0, 0, 0, sum(cost_nanos)"
_STATEMENTS: Final = (
    """
    insert into usage_events (
        tenant_id, event_id, booked_at, occurred_at, posted_at, reservation_id, user_id, cost_center, agent_type,
        request_type, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, reasoning_tokens, cost_nanos, price_id, path, estimated, failed
    )
    select 1, event_id, at, at, at, reservation_id, user_id, cost_center, agent_type, 'chat', 'openai', model,
           input_tokens, output_tokens, 0, 0, 0, 0, cost_nanos, price_id, array[account_id], estimated, failed
    from history
    """,
    f"insert into hourly_usage select 1, date_trunc('hour', at), cost_center, agent_type, model, {_SUMS}"
    " from history group by 2, 3, 4, 5",
    f"insert into daily_usage select 1, date_trunc('day', at), user_id, agent_type, model, 'chat', {_SUMS}"
    " from history group by 2, 3, 4, 5",
    "update tenant_ledgers set sequence = (select max(2 * n + 2) from history), booked_at = now() where tenant_id = 1",
    "update tenants set created_at = created_at - interval '1 year' where tenant_id = 1",
    "drop table history",
)


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Start the database server, and yield the measurements; the first one fills it."""
    with bench_server() as server:
        finance = FinanceBench(plan, server)
        yield {
            "analytics_rollup": finance.rollups,
            "analytics_edges": finance.edges,
            "analytics_events": finance.events,
            "report_month": finance.report_month,
            "export_csv": partial(finance.export, "export_csv", event_csv, 60_000),
            "export_parquet": partial(finance.export, "export_parquet", event_parquet, 100_000),
        }


@dataclass(frozen=True, slots=True)
class _Books:
    """A database with so many calls, its one tenant, and when its half year began."""

    database: Database
    tenant: TenantId
    calendar: Calendar
    made_at: datetime
    begin: datetime

    def days(self, first: int, last: int) -> Span:
        """Return the span from one day of the half year to before another."""
        return self.begin + timedelta(days=first), self.begin + timedelta(days=last)

    async def spend(self, span: Span, *group_by: str, snapshot: bool = True) -> Spend:
        """Read the report of spend."""
        asked = Asked(tuple(map(dimension_named, group_by)), span, most=100)
        async with self.database.reading(self.tenant, snapshot=snapshot, unlimited=True) as connection:
            return await spend_of(connection, self.tenant, self.calendar, self.made_at, asked)


class FinanceBench:
    """The measurements on one database server; each public method returns rows."""

    def __init__(self, plan: Plan, server: BenchServer) -> None:
        self._plan = plan
        self._server = server
        self._begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_DAYS)

    def rollups(self) -> list[Row]:
        """Measure the 95th percentile of whole days by what the roll-ups have."""
        groups = (("user",), ("model", "day"), ("cost_center",), ("agent_type", "model"))

        async def read(books: _Books, number: int) -> None:
            await books.spend(books.days(120 + number % 20, 150 + number % 20), *groups[number % len(groups)])

        runs = self._compared(lambda books: _p95_ms(partial(read, books)))
        return [
            Row(GROUP, "analytics_rollup", "ms", _YARDSTICK, runs, Target(Figure.VALUE, 50, at_most=True)),
            Row(GROUP, "analytics_rollup_growth", "ms", _YARDSTICK, runs, Target(Figure.RATIO, 1.3, at_most=True)),
        ]

    def edges(self) -> list[Row]:
        """Measure the 95th percentile of spans that begin and end within a day."""

        async def read(books: _Books, number: int) -> None:
            since, until = books.days(120 + number, 150 + number)
            await books.spend((since + timedelta(hours=7.3), until + timedelta(hours=16.6)), "user")

        runs = self._compared(lambda books: _p95_ms(partial(read, books)))
        return [Row(GROUP, "analytics_edges", "ms", _YARDSTICK, runs, Target(Figure.VALUE, 120, at_most=True))]

    def events(self) -> list[Row]:
        """Measure a grouping of 31 days that no roll-up has, so that every call is read."""

        async def read(books: _Books) -> float:
            started = time.perf_counter()
            await books.spend(books.days(140, 171), "provider", "user")
            return 1_000 * (time.perf_counter() - started)

        runs = self._compared(read)
        return [Row(GROUP, "analytics_events", "ms", _YARDSTICK, runs, Target(Figure.VALUE, 1_500, at_most=True))]

    def report_month(self) -> list[Row]:
        """Measure the detailed cost report of 30 days beside the 30 before."""

        async def read(books: _Books) -> float:
            by = tuple(map(dimension_named, ("cost_center", "user")))
            wanted = Wanted(books.days(140, 170), books.days(110, 140), by=by)
            started = time.perf_counter()
            async with books.database.reading(books.tenant, snapshot=True, unlimited=True) as connection:
                report = await cost_report(
                    connection, books.tenant, "acme", books.calendar, books.made_at, wanted
                )  # fmt: skip
            cost_report_answer(report, "detailed")
            return 1_000 * (time.perf_counter() - started)

        runs = self._compared(read)
        return [Row(GROUP, "report_month", "ms", _YARDSTICK, runs, Target(Figure.VALUE, 400, at_most=True))]

    def export(self, name: str, write: Export, at_least: float) -> list[Row]:
        """Measure an export of 60 days beside a bare COPY of the same rows, and how much memory it takes."""
        rates: list[Run] = []
        grown: list[Run] = []

        async def export(books: _Books) -> None:
            span = books.days(100, 160)
            copied = await self._bare_copy(span)
            reading = partial(books.database.reading, books.tenant)
            async with reading() as connection:
                listed = await list_events(connection, books.tenant, books.calendar, span, (), None)
                counted = f"select count(*) from usage_events {listed.selection.where(_SPAN)}"
                [(rows,)] = await fetch_rows(connection, counted, **listed.selection.values)
            started = time.perf_counter()
            with _watched_memory() as peak:
                async for _ in write(reading, listed):
                    pass
            rates.append(Run(rows / (time.perf_counter() - started), copied))
            grown.append(Run(float(peak()), float(_MOST_GROWTH)))

        check_parquet()  # loads its package, which is not of an export's memory
        for _ in range(self._plan.repetitions):
            self._on(_MANY, export)
            self._plan.say(f"{name}: {rates[-1].value:,.0f} rows/s, {grown[-1].value / 2**20:.1f} MB more memory")
        yardstick = "bare COPY of all columns of the same rows, rows/s"
        return [
            Row(GROUP, name, "rows/s", yardstick, tuple(rates), Target(Figure.VALUE, at_least)),
            Row(
                GROUP, f"{name}_memory", "bytes", "50 MB", tuple(grown),
                Target(Figure.VALUE, _MOST_GROWTH, at_most=True),
            ),
        ]  # fmt: skip

    def _compared(self, measure: Callable[[_Books], Awaitable[float]]) -> tuple[Run, ...]:
        runs = []
        for _ in range(self._plan.repetitions):
            few = self._on(_FEW, measure)
            runs.append(Run(self._on(_MANY, measure), few))
            self._plan.say(f"  {runs[-1].value:,.1f} ms, {few:,.1f} ms with {_FEW:,} calls")
        return tuple(runs)

    def _on(self, calls: int, measure: Callable[[_Books], Awaitable[T]]) -> T:
        """Measure on a database with so many calls, which is filled once."""
        url = self._server.template(f"finance_{calls}", partial(self._fill, calls))

        async def run() -> T:
            database = Database(url)
            try:
                async with database.reading() as connection:
                    tenant = await find_tenant(connection, FIRST_TENANT)
                if tenant is None:
                    raise Failure("the tenant of the benchmark is not there")
                async with database.reading(tenant) as connection:
                    calendar, made_at = await load_calendar(connection, tenant)
                return await measure(_Books(database, tenant, calendar, made_at, self._begin))
            finally:
                await database.close()

        return asyncio.run(run())

    async def _fill(self, calls: int, url: str) -> None:
        await filling(ONE_ACCOUNT)(url)
        connection = await asyncpg.connect(url, command_timeout=1_800)
        try:
            await connection.execute("set timezone = 'UTC'")
            await make_partitions(connection, self._begin)
            made = _CALLS.replace("$1", str(calls)).replace("$2", f"'{self._begin.isoformat()}'")
            for statement in (made, *_STATEMENTS, "vacuum analyze"):
                await connection.execute(statement)
        finally:
            await connection.close()
        self._plan.say(f"finance: {calls:,} calls are stored")

    async def _bare_copy(self, span: Span) -> float:
        connection = await asyncpg.connect(self._server.template(f"finance_{_MANY}", partial(self._fill, _MANY)))

        async def leave(_: bytes) -> None:
            pass

        try:
            started = time.perf_counter()
            query = "select * from usage_events where tenant_id = 1 and posted_at >= $1 and posted_at < $2"
            done: Any = await connection.copy_from_query(query, *span, output=leave, format="csv")
            return float(str(done).removeprefix("COPY ")) / (time.perf_counter() - started)
        finally:
            await connection.close()


async def _p95_ms(read: Callable[[int], Awaitable[None]]) -> float:
    await read(0)  # connects and plans
    taken: list[float] = []
    for number in range(_REPORTS):
        started = time.perf_counter()
        await read(number)
        taken.append(time.perf_counter() - started)
    return 1_000 * sorted(taken)[int(len(taken) * 0.95) - 1]


@contextmanager
def _watched_memory() -> Iterator[Callable[[], int]]:
    """Look at this process's memory meanwhile; yield what tells by how much it has grown at most."""
    process, over = psutil.Process(os.getpid()), threading.Event()
    before = process.memory_info().rss
    most = [before]

    def look() -> None:
        while not over.wait(0.01):
            most.append(max(most.pop(), process.memory_info().rss))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield lambda: most[-1] - before
    finally:
        over.set()
        watcher.join()
