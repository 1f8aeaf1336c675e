"""Writes roll-ups: what the events of a batch add to the sums of their hours, days, tags and runs."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import add
from typing import Any

from sqlalchemy import Table

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.usage import Figures
from token_ledger.storage.schema import rollup_tables
from token_ledger.storage.schema.batch_rows import BatchRow, array_text
from token_ledger.storage.schema.columns import quoted
from token_ledger.storage.schema.compiled import compile_function, tuple_of
from token_ledger.storage.write.statements import Decided, Rows, Write, makes

SEGMENT_BITS = 8
"""How many batches of a tenant add to the same rows of its roll-ups, as a power of two (see `rollup_tables`)."""

Sums = Mapping[Any, list[int]]


def segment_of(row_id: int) -> int:
    """Return the segment, from 1, of the batch that an id is of: ids begin with the sequence number of their batch."""
    return (row_id >> ORDINAL_BITS + SEGMENT_BITS) + 1


class Rollup:
    """One roll-up: its rows have some of what the events of a batch are added up by."""

    def __init__(self, table: Table, sums: Callable[[Writes], Sums]) -> None:
        self.key = rollup_tables.key_of(table)
        self.row = BatchRow(f"{table.name}_row", tuple(table.c[name] for name in (*self.key, *Figures._fields)))
        self._of = sums
        self._shorten = compile_function("lock, key", tuple_of(("lock", *(f"key.{name}" for name in self.key))))
        key, figures = ", ".join(quoted(self.key)), ", ".join(Figures._fields)
        self._adds = (
            f"insert into {table.name} as t (tenant_id, {key}, {figures}, segment)"
            f" select (select $1::text::bigint[])[v.lock], {key}, {figures}, (select $2::text::bigint[])[v.lock]"
            f" from unnest({{rows}}::{self.row.name}[]) as v"
            f" on conflict (tenant_id, {key}, segment) do update"
            f" set {', '.join(f'{name} = t.{name} + excluded.{name}' for name in Figures._fields)} returning 1"
        )

    def adds(self, place: int) -> str:
        """Return the insert that adds the rows in a place of the arguments of `statement_of`."""
        return self._adds.format(rows=f"${place}")

    def rows(self, decided: Sequence[Decided]) -> Rows:
        """Return the rows with what the batches add."""
        sums: dict[tuple[Any, ...], list[int]] = {}
        for lock, (_, _, writes) in enumerate(decided, start=1):
            for key, figures in self._of(writes).items():
                _add(sums, self._shorten(lock, key), figures)
        return [(*key, *figures) for key, figures in sums.items()]


HOURLY = Rollup(rollup_tables.hourly_usage, lambda writes: writes.rollups)
DAILY = Rollup(rollup_tables.daily_usage, lambda writes: writes.rollups)
TAGS = Rollup(rollup_tables.daily_tag_usage, lambda writes: writes.tag_rollups)
RUNS = Rollup(rollup_tables.run_usage, lambda writes: writes.run_rollups)
ROLLUPS = (HOURLY, DAILY, TAGS, RUNS)


def plan_rollups(decided: Sequence[Decided]) -> list[Write]:
    """Return the one statement for all roll-ups that the batches add to, nothing where they add nothing."""
    added = [(rollup, rows) for rollup in ROLLUPS if (rows := rollup.rows(decided))]
    if not added:
        return []
    tenants = array_text([tenant for tenant, _, _ in decided])
    segments = array_text([segment_of_batch(writes) for _, _, writes in decided])
    statement = statement_of(tuple(rollup for rollup, _ in added))
    return [(statement, (tenants, segments, *(rows for _, rows in added)))]


@cache
def statement_of(rollups: tuple[Rollup, ...]) -> str:
    """Return the statement that adds rows `$3` and so on to roll-ups; `$1` are the tenants, `$2` their segments."""
    # One statement, because between two of them PostgreSQL waits for this process, which has other work.
    return makes(*(rollup.adds(place) for place, rollup in enumerate(rollups, start=3)))


def segment_of_batch(writes: Writes) -> int:
    """Return the segment of a batch; 0 for one that booked nothing, which adds to no roll-up."""
    events = writes.events or writes.parts or writes.corrections or writes.recostings
    return segment_of(events[0].event_id) if events else 0


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], figures: list[int]) -> None:
    found = sums.get(key)
    sums[key] = figures if found is None else [*map(add, found, figures)]
