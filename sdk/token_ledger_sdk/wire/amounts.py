"""Amounts in the three units of the ledger: tokens, US dollars, calls."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal

from .requests import given, money_text


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use at most; None means no limit in that unit. `cost` is in US dollars."""

    tokens: int | None = None
    cost: Decimal | None = None
    calls: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the limits that are set."""
        cost = None if self.cost is None else money_text(self.cost)
        return given({**asdict(self), "cost": cost})


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a run's tokens that one agent type gets: by weight, and never below a minimum."""

    weight: int
    minimum_tokens: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the weight, and the minimum if there is one."""
        return given(asdict(self))


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts in each unit; None where there is no limit in that unit. `cost` is in US dollars."""

    tokens: int | None = None
    cost: Decimal | None = None
    calls: int | None = None


NO_AMOUNTS = Amounts()


@dataclass(frozen=True, slots=True)
class Balance:
    """The state of an account: available = limit - held - settled."""

    limit: Amounts = NO_AMOUNTS
    settled: Amounts = NO_AMOUNTS
    held: Amounts = NO_AMOUNTS
    available: Amounts = NO_AMOUNTS


def to_nanos(dollars: Decimal) -> int:
    """Return an amount in nano-dollars; raises ValueError for one that is none of whole ones."""
    nanos = dollars.scaleb(9) if dollars.is_finite() else dollars
    if not dollars.is_finite() or nanos != nanos.to_integral_value():
        raise ValueError(f"{dollars} is no amount of money here: give a number with at most 9 digits after the point")
    return int(nanos)
