"""Owns the form of the statements that write rows from arrays, one for every column.

Every insert has `returning` or `on conflict`: without, a database that is distributed by tenant would not check
row-level security where it stores the rows. As part of a `with`, `returning 1` sends no rows back.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column

from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.schema.batch_rows import array_text, is_array
from token_ledger.storage.schema.columns import quoted, sql_type
from token_ledger.storage.schema.row_format import RowFormat

Decided = tuple[TenantId, datetime, Writes]
"""A tenant, the instant of its batch and what the batch changes."""

Rows = list[tuple[Any, ...]]

Write = tuple[str, tuple[Any, ...]]
"""A statement and its arguments."""


@dataclass(frozen=True, slots=True)
class ArrayStatement:
    """A statement that takes an array of the values of every column.

    `row` makes the row of a value of a tenant that changed at an instant; where it is None, whoever plans makes it.
    """

    text: str
    columns: tuple[Column[Any], ...]
    row: Callable[[TenantId, Any, datetime], tuple[Any, ...]] | None = None

    def plan(self, rows: Rows) -> list[Write]:
        """Return the statement with its arguments, nothing where there are no rows."""
        if not rows:
            return []
        arrays: list[Any] = [*zip(*rows, strict=True)]
        for place, column in enumerate(self.columns):
            if is_array(column):
                arrays[place] = [array_text(values) for values in arrays[place]]
        return [(self.text, tuple(arrays))]

    def plan_values(self, decided: Sequence[Decided], changed: Callable[[Writes], Iterable[Any]]) -> list[Write]:
        """Return the statement with the rows of what each tenant's batch changed."""
        assert self.row is not None, "this statement has no row of its own"
        row = self.row
        return self.plan([row(tenant, value, now) for tenant, now, writes in decided for value in changed(writes)])


_changes_of: dict[str, tuple[str, ...]] = {}
"""What statements are made of that can be part of another one."""
_PARAMETER = re.compile(r"\$(\d+)")


def makes(*changes: str, text: str | None = None) -> str:
    """Return the statement that makes some changes, none of a row that another one changes; `text` is one that does."""
    text = text or _with(changes)
    _changes_of[text] = changes
    return text


def together(writes: Sequence[Write]) -> list[Write]:
    """Return writes as one, if each can be part of one: the tenant's lock is not held for the way of each then."""
    if any(text not in _changes_of for text, _ in writes):
        return [*writes]
    statement = _joined(tuple((text, len(given)) for text, given in writes))
    return [(statement, tuple(each for _, given in writes for each in given))]


@cache
def _joined(statements: tuple[tuple[str, int], ...]) -> str:
    changes: list[str] = []
    before = 0
    for text, count in statements:
        changes += (_moved(each, before) for each in _changes_of[text])
        before += count
    return _with(changes)


def _moved(change: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", change)


def _with(changes: Sequence[str]) -> str:
    return f"with {', '.join(f'change_{n} as ({each})' for n, each in enumerate(changes, start=1))} select 1"


def insert(stored: RowFormat[Any], at: str | None = None) -> ArrayStatement:
    """Return the statement that inserts values of a format; the column `at` gets the instant of the batch."""
    columns, row = _tenant_rows(stored, at)
    return ArrayStatement(makes(f"{_insert(columns)} returning 1"), columns, row)


def insert_columns(*columns: Column[Any]) -> ArrayStatement:
    """Return the statement that inserts rows of these columns."""
    return ArrayStatement(makes(f"{_insert(columns)} returning 1"), columns)


def upsert(stored: RowFormat[Any], key: str, change: Sequence[str], at: str | None = None) -> ArrayStatement:
    """Return the statement that inserts values of a format, or changes some columns of the rows that have their key."""
    columns, row = _tenant_rows(stored, at)
    changes = ", ".join(f"{name} = excluded.{name}" for name in quoted(change))
    return ArrayStatement(f"{_insert(columns)} on conflict (tenant_id, {key}) do update set {changes}", columns, row)


def update(stored: RowFormat[Any]) -> ArrayStatement:
    """Return the statement that changes rows of a format, found by the format's first column."""
    columns, row = _tenant_rows(stored, None)
    return ArrayStatement(_update(columns, keys=2), columns, row)


def update_columns(*columns: Column[Any], keys: int = 2) -> ArrayStatement:
    """Return the statement that changes rows, found by the first columns."""
    return ArrayStatement(_update(columns, keys), columns)


def _tenant_rows(stored: RowFormat[Any], at: str | None) -> tuple[tuple[Column[Any], ...], Callable[..., Any]]:
    table = stored.table
    instant = () if at is None else (table.c[at],)
    row = stored.writer("tenant, value, now", first=["tenant"], last=["now"] if instant else [])
    return (table.c.tenant_id, *stored.columns, *instant), row


def _insert(columns: Sequence[Column[Any]]) -> str:
    names = quoted(column.name for column in columns)
    return (
        f"insert into {columns[0].table.name} ({', '.join(names)})"
        f" select {', '.join(map(_stored, columns))} from {_arrays(columns)}"
    )


def _update(columns: Sequence[Column[Any]], keys: int) -> str:
    changes = ", ".join(f"{name} = {_stored(column, 'v.')}" for name, column in _named(columns[keys:]))
    same = " and ".join(f"t.{name} = v.{name}" for name, _ in _named(columns[:keys]))
    return f"update {columns[0].table.name} as t set {changes} from {_arrays(columns)} where {same}"


def _named(columns: Sequence[Column[Any]]) -> Iterable[tuple[str, Column[Any]]]:
    return zip(quoted(column.name for column in columns), columns, strict=True)


def _arrays(columns: Sequence[Column[Any]]) -> str:
    """Return the arrays side by side. Arrays of arrays can't be unpacked so: an array travels as its text."""
    kinds = ["text" if is_array(column) else sql_type(column) for column in columns]
    places = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, start=1))
    return f"unnest({places}) as v ({', '.join(quoted(column.name for column in columns))})"


def _stored(column: Column[Any], prefix: str = "") -> str:
    [name] = quoted([column.name])
    return f"{prefix}{name}::{sql_type(column)}" if is_array(column) else f"{prefix}{name}"
