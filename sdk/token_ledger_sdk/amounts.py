"""Amounts in the three units of the ledger: tokens, US dollars, calls."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .fields import Fields
from .wire import money_text


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use at most; None means no limit in that unit. `cost` is in US dollars."""

    tokens: int | None = None
    cost: Decimal | None = None
    calls: int | None = None

    def to_json(self) -> dict[str, object]:
        cost = None if self.cost is None else money_text(self.cost)
        values = {"tokens": self.tokens, "cost": cost, "calls": self.calls}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a run's tokens that one agent type gets: by weight, and never below a minimum."""

    weight: int
    minimum_tokens: int | None = None

    def to_json(self) -> dict[str, object]:
        if self.minimum_tokens is None:
            return {"weight": self.weight}
        return {"weight": self.weight, "minimum_tokens": self.minimum_tokens}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts in each unit; None where there is no limit in that unit. `cost` is in US dollars."""

    tokens: int | None = None
    cost: Decimal | None = None
    calls: int | None = None

    @classmethod
    def parse(cls, fields: Fields | None) -> Amounts:
        if fields is None:
            return cls()
        return cls(
            tokens=fields.optional_integer("tokens"),
            cost=fields.optional_money("cost"),
            calls=fields.optional_integer("calls"),
        )


@dataclass(frozen=True, slots=True)
class Balance:
    """Where an account stands: available = limit - held - settled."""

    limit: Amounts
    settled: Amounts
    held: Amounts
    available: Amounts

    @classmethod
    def parse(cls, fields: Fields) -> Balance:
        return cls(
            limit=Amounts.parse(fields.optional_child("limit")),
            settled=Amounts.parse(fields.optional_child("settled")),
            held=Amounts.parse(fields.optional_child("held")),
            available=Amounts.parse(fields.optional_child("available")),
        )
