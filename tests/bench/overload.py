"""The group `overload`: what the service does when somebody sends more than it can take.

Every measurement runs a new process on a new copy of a migrated database, on loopback, with clients in this process.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Final

from tests.bench import attacks, shapes
from tests.bench.flood import LIST, Answers, call_quietly, flood_of, percentile_ms, send_lists, start_flood
from tests.bench.ledger import LedgerBench
from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Failure, Figure, Row, Run, Target
from tests.bench.servers import bench_server, most_memory_bytes
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import new_key

GROUP: Final = "overload"
_MEGABYTE: Final = 1_000_000
_CONNECTIONS: Final = 150
_MADE_UP_KEYS: Final = 10_500
_FEW: Final = (2, 4, 8)
"""Connections that send lists; one of these numbers gives the best rate."""
_FLOOD: Final = 100
_OVERLOAD: Final = 10
"""How many times as many operations as the peak are sent to measure what is booked of them."""
_SETTLING_SECONDS: Final = 3
"""How much longer a flood lasts than other loads: its lists take long, and those under way at the end do not count."""
_BACKLOG_SECONDS: Final = 4
_PATIENCE_SECONDS: Final = 300
_DUE: Final = "select count(*) from reservations where state = 'held' and expires_at <= now()"


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Start the database server that all measurements share, and yield the measurements."""
    with bench_server() as server:
        ledger = LedgerBench(plan, server)
        yield {
            "flood": partial(flood, ledger),
            "rss_under_attack": partial(rss_under_attack, ledger),
            "expiry_rate": partial(expiry_rate, ledger),
        }


def flood(ledger: LedgerBench) -> list[Row]:
    """Measure a flood of one tenant: what is booked, how soon it is told to stop, and a quiet tenant beside it."""
    quiet: list[Run] = []
    goodput: list[Run] = []
    flooded: list[Run] = []
    shed: list[Run] = []
    for _ in range(ledger.plan.repetitions):
        with ledger.service_of(shapes.TWO_TENANTS) as (base, [flooder, other], _, url):
            measured = _Flooded(ledger.plan, base, flooder, other)
            quiet.append(measured.quiet)
            goodput.append(measured.goodput)
            flooded.append(measured.flooded)
            shed.append(measured.shed)
            ledger.verify("flood", url)
    most_ms = 3 * median(run.yardstick_value for run in quiet) + 50
    return [
        Row(GROUP, "quiet_beside_flood", "ms", "p99 alone, ms", tuple(quiet),
            Target(Figure.VALUE, round(most_ms), at_most=True)),
        Row(GROUP, "goodput_at_10x", "operations/s", "the best of few connections", tuple(goodput),
            Target(Figure.RATIO, 0.8)),
        Row(GROUP, "goodput_in_flood", "operations/s", "the best of few connections", tuple(flooded)),
        Row(GROUP, "shed_ms", "ms", "its median, ms", tuple(shed),
            Target(Figure.VALUE, 50, at_most=True)),
    ]  # fmt: skip


class _Flooded:
    """One run: alone; with few connections; with ten times the best rate; as much as 100 connections can send."""

    def __init__(self, plan: Plan, base: str, flooder: str, other: str) -> None:
        seconds = plan.seconds + _SETTLING_SECONDS
        send = partial(start_flood, base, flooder, seconds=seconds)
        flood_of(send(connections=_FEW[0], keys="warm-up"))
        alone = asyncio.run(call_quietly(base, other, seconds, "alone"))
        alone_ms = percentile_ms(alone.seconds, 0.99)
        peak = max(
            flood_of(send(connections=connections, keys=f"few-{connections}")).granted_per_second
            for connections in _FEW
        )
        overload = flood_of(send(connections=_FLOOD, keys="overload", lists_per_second=_OVERLOAD * peak / LIST))
        offered = overload.offered_per_second
        if offered < 0.9 * _OVERLOAD * peak:
            raise Failure(f"only {offered:,.0f} operations/s were sent, with a peak of {peak:,.0f}")
        under_way = send(connections=_FLOOD, keys="flood")
        beside, probes = asyncio.run(_beside(base, flooder, other, seconds - 1))
        flooded = flood_of(under_way)
        if beside.refused_seconds:
            raise Failure(f"the quiet tenant was refused {len(beside.refused_seconds)} times beside the flood")
        self.quiet = Run(percentile_ms(beside.seconds, 0.99), alone_ms)
        self.goodput = Run(overload.granted_per_second, peak)
        self.flooded = Run(flooded.granted_per_second, peak)
        self.shed = Run(percentile_ms(probes.refused_seconds, 0.99), percentile_ms(probes.refused_seconds, 0.5))
        beside_ms = percentile_ms(beside.seconds, 0.5)
        for line in (
            f"{overload.granted_per_second:,.0f} operations/s of {offered:,.0f} are granted, at best {peak:,.0f}",
            f"{flooded.granted_per_second:,.0f} operations/s of {flooded.offered_per_second:,.0f} in a flood; "
            f"lists: {flooded.refused} refused, "
            f"{flooded.lists} not; told in {self.shed.yardstick_value:.0f} ms, p99 {self.shed.value:.0f} ms",
            f"the quiet tenant: p50 {beside_ms:.0f} ms, p99 {self.quiet.value:.0f} ms, alone p99 {alone_ms:.0f} ms",
        ):
            plan.say(f"flood: {line}")


async def _beside(base: str, flooder: str, other: str, seconds: float) -> tuple[Answers, Answers]:
    """Send the requests of the quiet tenant, and some lists of the flooder, beside its flood."""
    return await asyncio.gather(
        call_quietly(base, other, seconds, "beside"), send_lists(base, flooder, seconds, "probe")
    )


def expiry_rate(ledger: LedgerBench) -> list[Row]:
    """Measure how fast a backlog of due holds expires, while a tenant reserves and settles quietly."""
    runs = []
    for _ in range(ledger.plan.repetitions):
        with ledger.service_of(shapes.TWO_TENANTS) as (base, [flooder, other], _, url):
            flood_of(start_flood(base, flooder, connections=2, seconds=_BACKLOG_SECONDS, keys="backlog"))
            runs.append(_expired(ledger, base, other, url))
            ledger.verify("expiry_rate", url)
    target = Target(Figure.VALUE, 10_000)
    return [Row(GROUP, "expiry_rate", "holds/s", "the slowest call beside it, ms", tuple(runs), target)]


def _expired(ledger: LedgerBench, base: str, other: str, url: str) -> Run:
    ledger.server.execute("update reservations set expires_at = now() - interval '1 second' where state = 'held'", url)
    began = time.monotonic()
    due = int(ledger.server.value(_DUE, url))

    async def beside() -> Answers:
        answers = Answers()
        while await asyncio.to_thread(ledger.server.value, _DUE, url):
            if time.monotonic() > began + _PATIENCE_SECONDS:
                raise Failure(f"{due} holds did not expire within {_PATIENCE_SECONDS} s")
            more = await call_quietly(base, other, 0.2, f"{time.monotonic()}-")
            answers.seconds += more.seconds
        return answers

    answers = asyncio.run(beside())
    seconds = time.monotonic() - began
    slowest = percentile_ms(answers.seconds, 1)
    ledger.plan.say(f"expiry_rate: {due:,} holds in {seconds:.1f} s; the slowest call beside it {slowest:.0f} ms")
    return Run(due / seconds, slowest)


def rss_under_attack(ledger: LedgerBench) -> list[Row]:
    """Measure the peak resident memory under floods of large bodies, endless headers and made-up keys."""
    runs = tuple(_attacked(ledger) for _ in range(ledger.plan.repetitions))
    target = Target(Figure.VALUE, 300, at_most=True)
    return [Row(GROUP, "rss_under_attack", "MB", "the same process before, MB", runs, target)]


def _attacked(ledger: LedgerBench) -> Run:
    with ledger.service_of(shapes.ONE_ACCOUNT) as (base, [key], pid, url):
        before = most_memory_bytes(pid) / _MEGABYTE
        for name, what, connections, rounds in (
            ("large bodies with a made-up key", attacks.deep_list(new_key(TenantId(1), "live")[0]), _CONNECTIONS, 1),
            ("large bodies with a valid key", attacks.deep_list(key), _CONNECTIONS, 1),
            ("endless headers", attacks.endless_header(), 5, 1),
            ("made-up keys", attacks.made_up_key(), 50, _MADE_UP_KEYS // 50),
            ("made-up keys of 16 kB", attacks.long_made_up_key(), 50, _MADE_UP_KEYS // 50),
        ):
            statuses = asyncio.run(attacks.attack(base, what, connections=connections, rounds=rounds))
            after = most_memory_bytes(pid) / _MEGABYTE
            answered = ", ".join(f"{statuses.count(status):,} times {status or 'closed'}" for status in set(statuses))
            ledger.plan.say(f"rss_under_attack: {name}: {after:,.0f} MB, before {before:,.0f} MB; {answered}")
        ledger.verify("rss_under_attack", url)
        return Run(after, before)
