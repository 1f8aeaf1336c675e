"""Owns what reports say of the kinds that few calls have: how many of each, what they cost, how many had no price.

No roll-up has these kinds: they are read from the usage events that have any, by an index of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.reports.calls import Key, Selection
from token_ledger.storage.json_columns import UNPRICED_UNITS
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class KindUse:
    """How many of a kind were used; those without a price cost what was assumed for them, or nothing."""

    kind: str
    count: int
    nanos: int
    unpriced: int


async def kinds_of(connection: AsyncConnection, selection: Selection) -> dict[Key, tuple[KindUse, ...]]:
    """Return what selected calls used of other kinds, by what they are grouped by, dearest first."""
    texts, width = selection.texts(), len(selection.group_by)
    statement = (
        f"select {''.join(f'{each}, ' for each in texts)} o.key, sum((o.value ->> 0)::bigint)::bigint,"
        " coalesce(sum((o.value ->> 1)::bigint), 0)::bigint as nanos,"
        f" sum({UNPRICED_UNITS.format('o.value')})::bigint"
        " from usage_events cross join lateral jsonb_each(others) as o"
        f" {selection.where('others is not null and posted_at >= :since and posted_at < :until')}"
        f" group by {', '.join((*(str(place + 1) for place in range(width)), 'o.key'))}"
        " having sum((o.value ->> 0)::bigint) <> 0 or sum((o.value ->> 1)::bigint) <> 0 order by nanos desc, o.key"
    )
    found: dict[Key, tuple[KindUse, ...]] = {}
    for row in await fetch_rows(connection, statement, **selection.values):
        key = selection.key(row[:width])
        found[key] = (*found.get(key, ()), KindUse(*row[width:]))
    return found


def add_kinds(uses: Iterable[KindUse]) -> tuple[KindUse, ...]:
    """Return how many of each kind there are in all, dearest first."""
    sums: dict[str, KindUse] = {}
    for use in uses:
        had = sums.get(use.kind, KindUse(use.kind, 0, 0, 0))
        sums[use.kind] = KindUse(use.kind, had.count + use.count, had.nanos + use.nanos, had.unpriced + use.unpriced)
    return tuple(sorted(sums.values(), key=lambda use: (-use.nanos, use.kind)))
