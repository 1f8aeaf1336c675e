"""Owns what a check of `verify` is: a statement about one tenant's books, and the search for rows that violate it.

Each subject is a module with a tuple `CHECKS`; `verify.CHECKS` lists them all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.discount import Discount, reduced
from token_ledger.core.model.price import Price
from token_ledger.core.model.price_terms import NO_TERMS, PriceTerms

UNITS = ("tokens", "nanos", "calls")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """What checks run on: the books of one tenant, in one snapshot."""

    connection: AsyncConnection
    parameters: Mapping[str, Any]
    """Bound in every query: `:tenant`, `:cut` and `:cut_at` (the tenant's checkpoint: older events are gone and only
    their sums are kept), and the tenant's calendar as `storage.upkeep.periods` states it."""
    prices: Mapping[int, Price]
    discounts: Mapping[int, Discount]
    most_rows: int
    """How many violating rows a check returns at most."""
    terms: PriceTerms = NO_TERMS
    """What the tenant has added to the price book."""
    made: dict[tuple[int, int], Price] = field(default_factory=dict)
    """The entries less a discount that checks have asked for."""

    def price(self, price_id: int, discount_id: int | None, *instants: datetime | None) -> Price | None:
        """Return an entry less a discount; None if there is none, or if the discount was in force at no instant."""
        price = self.prices.get(price_id)
        if price is None or discount_id is None:
            return price
        discount = self.discounts.get(discount_id)
        if discount is None or not any(discount.is_in_force(at) for at in instants if at is not None):
            return None
        return reduced(self.made, price, discount)

    def stood_in(self, price_id: int, *instants: datetime | None) -> bool:
        """Tell whether an entry stood in for unknown prices at one of the instants."""
        return any(self.terms.stood_in(price_id, at) for at in instants if at is not None)


@dataclass(frozen=True, slots=True)
class Check:
    """A statement that holds for correct books, and the function that returns the rows that violate it."""

    statement: str
    find_violations: Callable[[Scope], Awaitable[list[Row]]]


def sql_check(statement: str, query: str) -> Check:
    """Return a check whose query selects the violating rows."""

    async def find_violations(scope: Scope) -> list[Row]:
        found = await scope.connection.execute(text(f"{query} limit {scope.most_rows}"), scope.parameters)
        return [dict(row) for row in found.mappings()]

    return Check(statement, find_violations)


def each_unit(template: str, joint: str = ", ") -> str:
    """Return a piece of SQL repeated for every unit of an account, with `{u}` replaced by the unit's name."""
    return joint.join(template.format(u=unit) for unit in UNITS)
