"""Owns subjects: the values that one account stands for, such as user ada, where its selector allows any."""

import json
from collections.abc import Iterable, Mapping


class Subject:
    """Dimensions and their values, sorted by dimension.

    `text` is the canonical JSON: part of the key of an account, in memory as in the database. Reading it back would
    take a third of the time that loading an account takes, so that is done only when someone asks for the values.
    """

    __slots__ = ("_pairs", "text")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self._pairs: tuple[tuple[str, str], ...] | None = tuple(sorted(values.items()))

    @classmethod
    def from_text(cls, text: str) -> "Subject":
        """Return the subject with a canonical text."""
        subject = cls.__new__(cls)
        subject.text = text
        subject._pairs = None
        return subject

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Dimensions and values in the order of the dimensions."""
        if self._pairs is None:
            self._pairs = tuple(json.loads(self.text).items())
        return self._pairs

    def get(self, dimension: str) -> str | None:
        """Return the value of a dimension, or None where the subject has none."""
        return dict(self.pairs).get(dimension)

    def with_model(self, provider: str, model: str) -> "Subject":
        """Return the subject with another model in place of its own, and the provider of that if it has one."""
        named = {"provider": provider, "model": model}
        return Subject({dimension: named.get(dimension, value) for dimension, value in self.pairs})

    def only(self, dimensions: Iterable[str]) -> "Subject":
        """Return the subject with no other dimensions than these."""
        wanted = set(dimensions)
        kept = {dimension: value for dimension, value in self.pairs if dimension in wanted}
        return self if len(kept) == len(self.pairs) else Subject(kept)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subject) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Subject({dict(self.pairs)})"


EVERYTHING = Subject({})
"""The subject of an account whose selector leaves nothing open."""
