"""Measurements of scale: many callers on one account, several processes, a large history, a snapshot, memory."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

import asyncpg

from tests.bench import callers as callers_process
from tests.bench.history import grow
from tests.bench.plan import WARM_UP_SECONDS
from tests.bench.rows import Figure, Row, Run, Target, interleave
from tests.bench.servers import most_memory_bytes
from tests.bench.shapes import ONE_ACCOUNT, filling

if TYPE_CHECKING:
    from tests.bench.ledger import LedgerBench

GROUP: Final = "ledger"
_CALLERS: Final = 200
_PROCESSES: Final = (1, 2, 4)
_SMALL: Final = 50_000
_LARGE: Final = 5_000_000
_SNAPSHOT_SECONDS: Final = 60
_MOST_BYTES: Final = 250 * 1024 * 1024


def scale_rows(bench: "LedgerBench") -> dict[str, Callable[[], Sequence[Row]]]:
    """Return the measurements by name."""
    rows = {
        "shared_scope_200": shared_scope,
        "processes_1_2_4": processes,
        "growth": growth,
        "snapshot_60s": snapshot,
        "memory": memory,
        "pair_cpu_one_caller": pair_cpu,
    }
    return {name: partial(measure, bench) for name, measure in rows.items()}


def shared_scope(bench: "LedgerBench") -> list[Row]:
    """Measure reserves of 200 connections on one account over HTTP: 99th percentile and rate."""
    rates: list[Run] = []

    def serve() -> float:
        with bench.service() as (base, key, _):
            load = bench.load("shared_scope_200", base, "reserve", key, _CALLERS)
        rates.append(Run(load.requests_per_second, load.requests_per_second))
        return load.p99_ms

    (runs,) = interleave(bench.plan.repetitions, lambda: bench.noop("shared_scope_200", _CALLERS).p99_ms, serve)
    return [
        Row(GROUP, "shared_scope_200", "ms", "a route that only validates, ms", runs,
            Target(Figure.VALUE, 100, at_most=True)),
        Row(GROUP, "shared_scope_200_rate", "requests/s", "itself", tuple(rates)),
    ]  # fmt: skip


def processes(bench: "LedgerBench") -> list[Row]:
    """Measure one tenant's operations with 1, 2 and 4 processes of 256 callers each, compared with the best of them."""
    rounds: list[dict[int, float]] = []
    for _ in range(bench.plan.repetitions):
        rounds.append({number: _together(bench, number) for number in _PROCESSES})
        bench.plan.say(f"processes_1_2_4: {', '.join(f'{rate:,.0f}' for rate in rounds[-1].values())} operations/s")
    return [
        Row(
            GROUP, f"processes_{number}", "operations/s", "the best of 1, 2 and 4 processes",
            tuple(Run(rates[number], max(rates.values())) for rates in rounds), Target(Figure.RATIO, 0.7),
        )
        for number in _PROCESSES
    ]  # fmt: skip


def _together(bench: "LedgerBench", number: int) -> float:
    bench.server.template(ONE_ACCOUNT.name, filling(ONE_ACCOUNT))
    with bench.server.copy(ONE_ACCOUNT.name) as url:
        bench.server.checkpoint()
        running = [
            callers_process.start(url, callers=256, seconds=bench.plan.seconds, keys=f"{one}/") for one in range(number)
        ]
        return sum(callers_process.report_of(process).operations_per_second for process in running)


def growth(bench: "LedgerBench") -> list[Row]:
    """Measure the time of an operation and of a balance read with 5,000,000 events stored, compared with 50,000."""
    urls = {}
    for events in (_SMALL, _LARGE):
        fill = partial(_grown, events)
        urls[events] = bench.server.template(f"grown_{events}", fill)
        bench.plan.say(f"growth: {events:,} events are stored")

    def cost_us(events: int) -> float:
        bench.server.checkpoint()
        keys = f"{bench.plan.repetitions}-{len(taken)}/"
        taken.append(events)
        process = callers_process.start(urls[events], callers=64, seconds=bench.plan.seconds, keys=keys)
        cost = 1e6 / callers_process.report_of(process).operations_per_second
        bench.plan.say(f"growth: {cost:.1f} us an operation with {events:,} events")
        return cost

    taken: list[int] = []
    (runs,) = interleave(bench.plan.repetitions, partial(cost_us, _SMALL), partial(cost_us, _LARGE))
    (reads,) = interleave(5, lambda: _balance_us(urls[_SMALL]), lambda: _balance_us(urls[_LARGE]))
    at_most = Target(Figure.RATIO, 1.2, at_most=True)
    return [
        Row(GROUP, "growth", "us/operation", "the same with 50,000 events", runs, at_most),
        Row(GROUP, "growth_balance_read", "us", "the same with 50,000 events", reads, at_most),
    ]


async def _grown(events: int, url: str) -> None:
    await filling(ONE_ACCOUNT)(url)
    await grow(url, events)


def _balance_us(url: str) -> float:
    """Return the median time of reading one account by its key, in microseconds."""

    async def read() -> float:
        connection = await asyncpg.connect(url)
        try:
            loop = asyncio.get_running_loop()
            times = []
            for _ in range(5_000):
                started = loop.time()
                await connection.fetchrow("select * from accounts where tenant_id = 1 order by account_id limit 1")
                times.append(loop.time() - started)
            return median(times) * 1e6
        finally:
            await connection.close()

    return asyncio.run(read())


def snapshot(bench: "LedgerBench") -> list[Row]:
    """Measure the 99th percentile of settles while a transaction keeps a snapshot open, compared with none."""

    def p99(held: bool) -> float:
        bench.server.template(ONE_ACCOUNT.name, filling(ONE_ACCOUNT))
        with bench.server.copy(ONE_ACCOUNT.name) as url:
            bench.server.checkpoint()
            done = threading.Event()
            holder = threading.Thread(target=lambda: asyncio.run(_hold_snapshot(url, done)))
            if held:
                holder.start()
            try:
                report = callers_process.report_of(callers_process.start(url, callers=64, seconds=_SNAPSHOT_SECONDS))
            finally:
                done.set()
                if held:
                    holder.join()
        bench.plan.say(f"snapshot_60s: settle p99 {report.settle_p99_ms:.1f} ms" + (" with a snapshot" if held else ""))
        return report.settle_p99_ms

    (runs,) = interleave(1, lambda: p99(False), lambda: p99(True))
    return [
        Row(GROUP, "snapshot_60s", "ms", "the same without a snapshot", runs, Target(Figure.RATIO, 3, at_most=True))
    ]


async def _hold_snapshot(url: str, done: threading.Event) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval("select count(*) from accounts")
            await asyncio.to_thread(done.wait)
    finally:
        await connection.close()


def memory(bench: "LedgerBench") -> list[Row]:
    """Measure the peak memory of the service under load."""

    def serve() -> float:
        with bench.service() as (base, key, pid):
            bench.load("memory", base, "alternate", key)
            found = most_memory_bytes(pid)
        bench.plan.say(f"memory: {found / 1024 / 1024:.0f} MiB")
        return found / 1024 / 1024

    (runs,) = interleave(bench.plan.repetitions, lambda: _MOST_BYTES / 1024 / 1024, serve)
    return [Row(GROUP, "memory", "MiB", "the target", runs, Target(Figure.VALUE, 250, at_most=True))]


def pair_cpu(bench: "LedgerBench") -> list[Row]:
    """Measure the processor time of one caller's reserve and settle, in the process and in the database."""
    bench.server.template(ONE_ACCOUNT.name, filling(ONE_ACCOUNT))

    def cost_ms(plan_cache_mode: str) -> float:
        with bench.server.copy(ONE_ACCOUNT.name) as url:
            bench.server.checkpoint()
            used = bench.server.processor_seconds()
            process = callers_process.start(url, callers=1, seconds=bench.plan.seconds, plan_cache_mode=plan_cache_mode)
            report = callers_process.report_of(process)
            # The database also works while callers warm up, at the same rate.
            share = report.seconds / (report.seconds + WARM_UP_SECONDS)
            in_database = (bench.server.processor_seconds() - used) * share
            pairs = report.operations / 2
        in_process, in_database = (1e3 * seconds / pairs for seconds in (report.process_seconds, in_database))
        said = plan_cache_mode or "the service's settings"
        bench.plan.say(f"pair_cpu_one_caller: {in_process:.2f} ms and {in_database:.2f} ms in the database, {said}")
        return in_process + in_database

    (runs,) = interleave(bench.plan.repetitions, partial(cost_ms, "auto"), partial(cost_ms, ""))
    return [Row(GROUP, "pair_cpu_one_caller", "ms of processor", "with plan_cache_mode = auto, ms", runs)]
