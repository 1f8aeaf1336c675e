"""Owns the rows that a batch sends as one array per table, of a composite type that a migration makes.

PostgreSQL unpacks one array of rows in half the time of an array per column. A row begins with `lock`, the position
(from 1) of its tenant in the batch: tenants and their instants travel once, in arrays of their own. So can the instants
of other columns, because many rows share a few. An array of numbers travels as its text: as an array, one number takes
the driver longer than all the rest of a row. A test compares the lists of columns with the types in the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ARRAY, Column

from token_ledger.storage.schema.columns import quoted, sql_type

Sent = TypeVar("Sent")


class Places(dict[Sent | None, int | None], Generic[Sent]):
    """The places (from 1) of values in the array that they travel in, in the order in which they are asked for."""

    def __init__(self) -> None:
        self[None] = None
        self.sent: list[Sent] = []

    def __missing__(self, value: Sent) -> int:
        self.sent.append(value)
        place = self[value] = len(self.sent)
        return place


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A composite type: its name, its columns after `lock`, and those of them that hold the places of instants."""

    name: str
    columns: tuple[Column[Any], ...]
    placed: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The columns after `lock`, as they stand in a statement."""
        return quoted(column.name for column in self.columns)

    def sent_type(self, column: Column[Any]) -> str:
        """Return the type that a column has in the rows."""
        if column.name in self.placed:
            return "integer"
        return "text" if is_array(column) else sql_type(column)

    def unpacked(self) -> str:
        """Return the source of the rows `$1`, with tenants `$2` and their instants `$3` in the place of `lock`.

        If columns have places, `$4` are the instants that they stand for.
        """
        columns = ", ".join(map(self._unpacked, self.columns))
        return (
            f"(select (select $2::text::bigint[])[v.lock] as tenant_id,"
            f" ($3::timestamptz[])[v.lock] as now, {columns}"
            f" from unnest($1::{self.name}[]) as v)"
        )

    def _unpacked(self, column: Column[Any]) -> str:
        [name] = quoted([column.name])
        if column.name in self.placed:
            return f"($4::timestamptz[])[v.{name}] as {name}"
        return f"v.{name}::{sql_type(column)} as {name}" if is_array(column) else f"v.{name}"


def is_array(column: Column[Any]) -> bool:
    """Tell whether a column holds arrays."""
    return isinstance(column.type, ARRAY)


def array_text(numbers: Sequence[int] | None) -> str | None:
    """Return an array as text, in the way that PostgreSQL reads one."""
    # The text of a list takes half the time of joining the texts of its numbers.
    return None if numbers is None else f"{{{str([*numbers])[1:-1]}}}"


def array_text_with_nulls(numbers: Sequence[int | None]) -> str:
    """Return an array of which some may be missing as text, in the way that PostgreSQL reads one."""
    return f"{{{str([*numbers])[1:-1].replace('None', 'null')}}}"
