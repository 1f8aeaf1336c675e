"""Reading one JSON object of an answer, field by field, with errors that name the field.

Unknown fields are ignored, so that an older client understands a newer service.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

from .errors import InvalidAnswer


class Fields:
    """A JSON object and its path in the answer."""

    __slots__ = ("_path", "_values")

    def __init__(self, value: object, path: str = "answer") -> None:
        if not isinstance(value, Mapping):
            raise InvalidAnswer(f"{path} is {type(value).__name__}, not an object")
        self._values: Mapping[str, object] = value
        self._path = path

    @property
    def raw(self) -> Mapping[str, object]:
        """The object as it came."""
        return self._values

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    def _wrong(self, name: str, expected: str) -> InvalidAnswer:
        found = self._values.get(name)
        return InvalidAnswer(f"{self._path}.{name} is {type(found).__name__}, not {expected}")

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def integer(self, name: str) -> int:
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer")
        return value

    def optional_integer(self, name: str) -> int | None:
        return self.integer(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        """A boolean; absent means false."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "a boolean")
        return value

    def money(self, name: str) -> Decimal:
        """US dollars, sent as a decimal string."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a decimal string")
        try:
            return Decimal(value)
        except InvalidOperation:
            raise self._wrong(name, "a decimal string") from None

    def optional_money(self, name: str) -> Decimal | None:
        return self.money(name) if self.has(name) else None

    def quantity(self, name: str) -> int | Decimal | None:
        """An amount in the unit a neighbor field names: tokens and calls are integers, money is a string."""
        if not self.has(name):
            return None
        return self.money(name) if isinstance(self._values[name], str) else self.integer(name)

    def time(self, name: str) -> datetime:
        """A time with its zone, sent as RFC 3339."""
        try:
            value = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise self._wrong(name, "a time") from None
        if value.tzinfo is None:
            raise self._wrong(name, "a time with a zone")
        return value

    def optional_time(self, name: str) -> datetime | None:
        return self.time(name) if self.has(name) else None

    def child(self, name: str) -> Fields:
        return Fields(self._values.get(name), f"{self._path}.{name}")

    def optional_child(self, name: str) -> Fields | None:
        return self.child(name) if self.has(name) else None

    def children(self, name: str) -> tuple[Fields, ...]:
        """The objects of a list; absent means none."""
        if not self.has(name):
            return ()
        values = self._values[name]
        if not isinstance(values, list):
            raise self._wrong(name, "a list")
        return tuple(Fields(value, f"{self._path}.{name}[{index}]") for index, value in enumerate(values))

    def integers(self, name: str) -> tuple[int, ...]:
        """The integers of a list; absent means none."""
        values = self._values.get(name) or []
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise self._wrong(name, "a list of integers")
        return tuple(values)

    def texts(self, name: str) -> dict[str, str]:
        """An object whose values are strings; absent means empty."""
        child = self.optional_child(name)
        return {} if child is None else {key: child.text(key) for key in child.raw}
