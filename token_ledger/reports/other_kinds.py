"""Owns what reports say of the kinds that few calls have: how many of each, what they cost, how many had no price.

No roll-up has these kinds: they are read from the usage events that have any, by an index of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.reports.calls import Key, Selection
from token_ledger.reports.page import Page, on_page
from token_ledger.storage.json_columns import UNPRICED_UNITS
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class KindUse:
    """How many of a kind were used; those without a price cost what was assumed for them, or nothing."""

    kind: str
    count: int
    nanos: int
    unpriced: int


@dataclass(frozen=True, slots=True)
class PageKinds:
    """The use of other kinds: of all calls, and of those under the values of the rows that are shown, dearest first."""

    total: tuple[KindUse, ...]
    rows: Mapping[Key, tuple[KindUse, ...]]


async def kinds_of(connection: AsyncConnection, selection: Selection) -> dict[Key, tuple[KindUse, ...]]:
    """Return what selected calls used of other kinds, by what they are grouped by, dearest first."""
    statement = f"{_used(selection)} order by nanos desc, kind"
    return _by_key(selection, await fetch_rows(connection, statement, **selection.values))


async def page_kinds(connection: AsyncConnection, selection: Selection, page: Page) -> PageKinds:
    """Return what selected calls used of other kinds."""
    statement = (
        f"with used as materialized ({_used(selection)})"
        f" select true as is_total, {''.join('null, ' for _ in selection.keys)} kind, {_COUNTS} from used group by kind"
        f" union all select false, used.* from used where {on_page(selection)} order by nanos desc, kind"
    )
    found = await fetch_rows(connection, statement, **selection.values, page=[*page])
    width = 1 + len(selection.keys)
    total = tuple(KindUse(*row[width:]) for row in found if row.is_total)
    return PageKinds(total, _by_key(selection, [row[1:] for row in found if not row.is_total]))


_COUNTS: Final = "sum(count)::bigint as count, sum(nanos)::bigint as nanos, sum(unpriced)::bigint as unpriced"


def _used(selection: Selection) -> str:
    """Return the query for the values of the dimensions, and how many of each kind calls with these used."""
    keys = "".join(f"{text} as {key}, " for key, text in zip(selection.keys, selection.texts(), strict=True))
    places = ", ".join(str(place + 1) for place in range(len(selection.keys) + 1))
    return (
        f"select {keys} o.key as kind, sum((o.value ->> 0)::bigint)::bigint as count,"
        " coalesce(sum((o.value ->> 1)::bigint), 0)::bigint as nanos,"
        f" sum({UNPRICED_UNITS.format('o.value')})::bigint as unpriced"
        " from usage_events cross join lateral jsonb_each(others) as o"
        f" {selection.where('others is not null and posted_at >= :since and posted_at < :until')}"
        f" group by {places} having sum((o.value ->> 0)::bigint) <> 0 or sum((o.value ->> 1)::bigint) <> 0"
    )


def _by_key(selection: Selection, rows: Iterable[Sequence[Any]]) -> dict[Key, tuple[KindUse, ...]]:
    width = len(selection.keys)
    found: dict[Key, list[KindUse]] = {}
    for row in rows:
        found.setdefault(selection.key(row[:width]), []).append(KindUse(*row[width:]))
    return {key: tuple(uses) for key, uses in found.items()}
