"""Owns the form of the statements that write rows from arrays, one for every column."""

from collections.abc import Sequence

from token_ledger.storage.bookings import Rows, Write


def insert_from_arrays(table: str, columns: str) -> str:
    """Return the statement that inserts rows from an array for every column; `columns` reads "name type, …".

    A type such as `text::bigint[]` travels as the text and is stored as what follows.
    """
    named = [column.split() for column in columns.split(",")]
    names = ", ".join(name for name, _ in named)
    stored = ", ".join(name if "::" not in kind else f"{name}::{kind.split('::')[1]}" for name, kind in named)
    arrays = ", ".join(f"${position}::{kind.split('::')[0]}[]" for position, (_, kind) in enumerate(named, start=1))
    return f"insert into {table} ({names}) select {stored} from unnest({arrays}) as v ({names})"


def update_from_arrays(table: str, keys: str, columns: str) -> str:
    """Return the statement that sets columns of the rows that keys name; both read "name type, …", types as above."""
    key_pairs, pairs = ([column.split() for column in text.split(",")] for text in (keys, columns))
    names = ", ".join(name for name, _ in (*key_pairs, *pairs))
    arrays = ", ".join(
        f"${position}::{kind.split('::')[0]}[]" for position, (_, kind) in enumerate((*key_pairs, *pairs), start=1)
    )
    values = ", ".join(
        f"{name} = v.{name}" + (f"::{kind.split('::')[1]}" if "::" in kind else "") for name, kind in pairs
    )
    where = " and ".join(f"t.{name} = v.{name}" for name, _ in key_pairs)
    return f"update {table} as t set {values} from unnest({arrays}) as v ({names}) where {where}"


def plan_rows(tables: Sequence[tuple[str, Rows]]) -> list[Write]:
    """Return the statements that have rows, with an array for every column."""
    return [(statement, tuple(zip(*rows, strict=True))) for statement, rows in tables if rows]


def array_text(numbers: Sequence[int]) -> str:
    """Return the text of an array: arrays of arrays can't be unpacked side by side."""
    return "{" + ",".join(map(str, numbers)) + "}"
