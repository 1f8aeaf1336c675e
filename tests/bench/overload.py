"""The group `overload`: what the service does when somebody sends more than it can take.

Every measurement runs a new process on a new copy of a migrated database, on loopback, with clients in this process.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from tests.bench import attacks
from tests.bench.ledger import LedgerBench
from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Figure, Row, Run, Target
from tests.bench.servers import bench_server, most_memory_bytes
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import new_key

GROUP: Final = "overload"
_MEGABYTE: Final = 1_000_000
_CONNECTIONS: Final = 150
_MADE_UP_KEYS: Final = 10_500


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Start the database server that all measurements share, and yield the measurements."""
    with bench_server() as server:
        ledger = LedgerBench(plan, server)
        yield {"rss_under_attack": partial(rss_under_attack, ledger)}


def rss_under_attack(ledger: LedgerBench) -> list[Row]:
    """Measure the peak resident memory under floods of large bodies, endless headers and made-up keys."""
    runs = tuple(_attacked(ledger) for _ in range(ledger.plan.repetitions))
    target = Target(Figure.VALUE, 300, at_most=True)
    return [Row(GROUP, "rss_under_attack", "MB", "the same process before, MB", runs, target)]


def _attacked(ledger: LedgerBench) -> Run:
    with ledger.service() as (base, key, pid):
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
        return Run(after, before)
