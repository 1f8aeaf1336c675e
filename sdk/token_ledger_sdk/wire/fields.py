"""Reads JSON objects of the service's answers into values, with errors that name the field.

Unknown fields are ignored, so that an older client understands a newer service.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cache, reduce
from operator import or_
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from ..errors import InvalidAnswer

Value = TypeVar("Value")


class Fields:
    """A JSON object and its path in the answer; every reader raises InvalidAnswer for a value of another type."""

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

    def read(self, kind: type[Value]) -> Value:
        """Build a dataclass from the fields of the same names, each read according to its annotation.

        A field that is absent or null becomes the dataclass's default, or None if that is allowed. An absent bool
        without a default is False, an absent tuple or dict is empty. Raises InvalidAnswer for any other field that is
        missing.
        """
        return kind(**{name: reader(self, name) for name, reader in _readers(cast(Any, kind))})

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def integer(self, name: str) -> int:
        """Return an integer."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; False if absent."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "a boolean")
        return value

    def money(self, name: str) -> Decimal:
        """Return US dollars, which are sent as a decimal string."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a decimal string")
        try:
            return Decimal(value)
        except InvalidOperation:
            raise self._wrong(name, "a decimal string") from None

    def quantity(self, name: str) -> int | Decimal:
        """Return an amount in the unit that another field names: tokens and calls are integers, cost is a string."""
        return self.money(name) if isinstance(self._values.get(name), str) else self.integer(name)

    def time(self, name: str) -> datetime:
        """Return a time with its zone, which is sent as RFC 3339."""
        try:
            value = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise self._wrong(name, "a time") from None
        if value.tzinfo is None:
            raise self._wrong(name, "a time with a zone")
        return value

    def child(self, name: str) -> Fields:
        """Return an object."""
        return Fields(self._values.get(name), f"{self._path}.{name}")

    def children(self, name: str) -> tuple[Fields, ...]:
        """Return the objects of a list; none if absent."""
        values = self._list(name)
        return tuple(Fields(value, f"{self._path}.{name}[{index}]") for index, value in enumerate(values))

    def integers(self, name: str) -> tuple[int, ...]:
        """Return the integers of a list; none if absent."""
        values = self._list(name)
        if not all(type(value) is int for value in values):
            raise self._wrong(name, "a list of integers")
        return tuple(values)

    def names(self, name: str) -> tuple[str, ...]:
        """Return the strings of a list; none if absent."""
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name, "a list of strings")
        return tuple(values)

    def texts(self, name: str) -> dict[str, str]:
        """Return an object whose values are strings; empty if absent."""
        if not self.has(name):
            return {}
        child = self.child(name)
        return {key: child.text(key) for key in child.raw}

    def _list(self, name: str) -> list[Any]:
        values = self._values[name] if self.has(name) else []
        if not isinstance(values, list):
            raise self._wrong(name, "a list")
        return values

    def _wrong(self, name: str, expected: str) -> InvalidAnswer:
        found = self._values.get(name)
        return InvalidAnswer(f"{self._path}.{name} is {type(found).__name__}, not {expected}")


Reader = Callable[[Fields, str], Any]

_BY_TYPE: Mapping[object, Reader] = {
    str: Fields.text,
    int: Fields.integer,
    bool: Fields.flag,
    Decimal: Fields.money,
    int | Decimal: Fields.quantity,
    datetime: Fields.time,
    dict[str, str]: Fields.texts,
    tuple[int, ...]: Fields.integers,
    tuple[str, ...]: Fields.names,
}


@cache
def _readers(kind: Any) -> tuple[tuple[str, Reader], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, _reader(field, hints[field.name])) for field in dataclasses.fields(kind))


def _reader(field: dataclasses.Field[Any], hint: Any) -> Reader:
    is_optional = NoneType in get_args(hint)
    kind = reduce(or_, (each for each in get_args(hint) if each is not NoneType)) if is_optional else hint
    read = _required(kind)
    if field.default is dataclasses.MISSING and (kind is bool or not is_optional):
        return read
    default = None if field.default is dataclasses.MISSING else field.default
    return lambda fields, name: read(fields, name) if fields.has(name) else default


def _required(kind: Any) -> Reader:
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return lambda fields, name: tuple(child.read(item) for child in fields.children(name))
    return lambda fields, name: fields.child(name).read(kind)
