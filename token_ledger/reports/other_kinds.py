"""Owns what reports say of the kinds that few calls have: how many of each, what they cost, how many had no price.

No roll-up has these kinds: they are read from the usage events that have any, by an index of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from token_ledger.storage.json_columns import UNPRICED_UNITS


@dataclass(frozen=True, slots=True)
class KindUse:
    """How many of a kind were used; those without a price cost what was assumed for them, or nothing."""

    kind: str
    count: int
    nanos: int
    unpriced: int


def kinds_query(column: str) -> str:
    """Return the query for what events posted from `:since` to `:until` used of other kinds, by one of their columns.

    It has a row for each value of the column and each kind: the value, then the fields of `KindUse`.
    """
    return (
        f"select e.{column} as key, o.key as kind, sum((o.value ->> 0)::bigint)::bigint as count,"
        " coalesce(sum((o.value ->> 1)::bigint), 0)::bigint as nanos,"
        f" sum({UNPRICED_UNITS.format('o.value')})::bigint as unpriced"
        " from usage_events as e cross join lateral jsonb_each(e.others) as o"
        " where e.tenant_id = :tenant and e.others is not null and e.posted_at >= :since and e.posted_at < :until"
        " group by 1, 2 having sum((o.value ->> 0)::bigint) <> 0 or sum((o.value ->> 1)::bigint) <> 0"
    )


KINDS_OF_A_KEY: Final = "jsonb_agg(jsonb_build_array(kind, count, nanos, unpriced) order by nanos desc, kind)"
"""All kinds of one value of the column as a list of their fields, dearest first."""


def kinds_read(listed: Iterable[Iterable[Any]]) -> tuple[KindUse, ...]:
    """Return the kinds in a list of their fields."""
    return tuple(KindUse(*fields) for fields in listed)


def add_kinds(uses: Iterable[KindUse]) -> tuple[KindUse, ...]:
    """Return how many of each kind there are in all, dearest first."""
    sums: dict[str, KindUse] = {}
    for use in uses:
        had = sums.get(use.kind, KindUse(use.kind, 0, 0, 0))
        sums[use.kind] = KindUse(use.kind, had.count + use.count, had.nanos + use.nanos, had.unpriced + use.unpriced)
    return tuple(sorted(sums.values(), key=lambda use: (-use.nanos, use.kind)))
