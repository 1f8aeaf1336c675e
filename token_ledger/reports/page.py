"""Owns what a report says of its rows besides their sums: all of it, and what stands under the values of rows shown.

So an answer never has more rows than were asked for, however many values there are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.usage import Figures
from token_ledger.reports.calls import Key, Selection
from token_ledger.reports.sums import NOTHING, SUMS
from token_ledger.storage.reads.query import fetch_rows

TOTALS: Final = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in Figures._fields)
"""The sums of grouped rows as a select list."""

Page = Sequence[str]
"""The rows that are shown, by what `row_name` says of them."""


@dataclass(frozen=True, slots=True)
class PageSums:
    """The sums of some calls: of all, and of those under the values of the rows that are shown, where there are any."""

    total: Figures
    rows: Mapping[Key, Figures]

    @property
    def rest(self) -> Figures:
        """The sums of those under other values."""
        return less(self.total, self.rows.values())


async def page_sums(connection: AsyncConnection, selection: Selection, calls: str, page: Page) -> PageSums:
    """Return the sums of the calls of a query, by what a selection groups by."""
    statement = (
        f"with grouped as materialized ({grouped(selection, calls)})"
        f" select true, {''.join('null, ' for _ in selection.keys)} {TOTALS} from grouped"
        f" union all select false, grouped.* from grouped where {on_page(selection)}"
    )
    found = await fetch_rows(connection, statement, **selection.values, page=[*page])
    first = 1 + len(selection.keys)
    [total] = [Figures(*row[first:]) for row in found if row[0]]
    rows = {selection.key(row[1:first]): Figures(*row[first:]) for row in found if not row[0]}
    return PageSums(total, {key: sums for key, sums in rows.items() if sums != NOTHING})


def grouped(selection: Selection, calls: str) -> str:
    """Return the query for the sums of the calls of a query, by what a selection groups by."""
    keys, columns = selection.keys, ", ".join((*selection.keys, *Figures._fields))
    by = f"group by {', '.join(keys)}" if keys else "having count(*) > 0"
    return f"select {''.join(f'{key}, ' for key in keys)} {SUMS} from ({calls}) as calls ({columns}) {by}"


def row_name(selection: Selection) -> str:
    """Return one text for the values of a row, as SQL; it tells null from every value."""
    return f"cast(cast(array[{', '.join(selection.keys)}] as text[]) as text)"


def on_page(selection: Selection) -> str:
    """Return the condition that a row is one of those shown, as SQL."""
    return f"{row_name(selection)} in (select unnest(cast(:page as text[])))"


def less(whole: Figures, parts: Iterable[Figures]) -> Figures:
    """Return what is left of sums without their parts."""
    return Figures(*(figure - sum(taken) for figure, *taken in zip(whole, *parts, strict=True)))
