"""Owns how the rows of a table and values of the core become each other.

A format lists, in the order of the parameters that make a value, which columns each of them is stored in. The columns
to select, the value that a row is read into, and what is written of a value follow from that one list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Table

from token_ledger.storage.schema.columns import quoted
from token_ledger.storage.schema.compiled import compile_function, tuple_of

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter of a value and the columns that store it.

    `read` makes it of the columns' values. `write` makes the value of its one column, or the values of all of them.
    Without these it is stored as it is.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[..., Any] | None = None
    write: Callable[[Any], Any] | None = None


class RowFormat(Generic[Value]):
    """How one kind of value is stored. A row begins with its tenant."""

    def __init__(self, table: Table, make: Callable[..., Value], *fields: str | Field) -> None:
        self.table = table
        self.make = make
        self.fields = tuple(Field(each, (each,)) if isinstance(each, str) else each for each in fields)
        self.columns: tuple[Column[Any], ...] = tuple(table.c[name] for field in self.fields for name in field.columns)
        self.read: Callable[[Sequence[Any]], Value] = self._reader()

    @property
    def names(self) -> list[str]:
        """The columns without the tenant, as they stand in a statement."""
        return quoted(column.name for column in self.columns)

    def select(self, alias: str = "") -> str:
        """Return the columns to select for `read`."""
        prefix = f"{alias}." if alias else ""
        return ", ".join(f"{prefix}{name}" for name in ("tenant_id", *self.names))

    def only(self, *names: str) -> "RowFormat[Value]":
        """Return the format of some of the fields, to write them."""
        fields = {field.name: field for field in self.fields}
        return RowFormat(self.table, self.make, *(fields[name] for name in names))

    def without(self, *names: str) -> "RowFormat[Value]":
        """Return the format of all other fields, to write them."""
        return RowFormat(self.table, self.make, *(field for field in self.fields if field.name not in names))

    def writer(
        self, parameters: str, first: Sequence[str] = (), last: Sequence[str] = (), **instead: str
    ) -> Callable[..., Any]:
        """Return a function that makes the row of `value`, one of its parameters.

        `first` and `last` are expressions for what comes before and after the columns of this format, `instead` are
        expressions for fields that are not written as they are.
        """
        written = []
        for number, field in enumerate(self.fields):
            one = len(field.columns) == 1
            called = f"value.{field.name}" if field.write is None else f"write_{number}(value.{field.name})"
            written.append(instead.get(field.name) or (called if one else f"*{called}"))
        names = {f"write_{number}": field.write for number, field in enumerate(self.fields)}
        return compile_function(parameters, tuple_of((*first, *written, *last)), names)

    def _reader(self) -> Callable[[Sequence[Any]], Value]:
        place, read = 1, []
        for number, field in enumerate(self.fields):
            values = ", ".join(f"row[{place + n}]" for n in range(len(field.columns)))
            place += len(field.columns)
            read.append(values if field.read is None else f"read_{number}({values})")
        names = {f"read_{number}": field.read for number, field in enumerate(self.fields)}
        return compile_function("row", f"make({', '.join(read)})", {"make": self.make, **names})
