"""The prices that the simulations run on, as plain data: the core, the database and the model each read it their way.

Some rates are no whole nano-dollars a token, so that costs are rounded.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates

KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
INPUT_KINDS = ("cache_read", "cache_write_1h", "cache_write_5m", "input")
"""What a prompt consists of, in the order of its places."""
PROVIDER = "acme"


@dataclass(frozen=True)
class Entry:
    """Dollars per million tokens in the order of KINDS, from `days` after the anchor on, with tiers."""

    model: str
    base: tuple[str, ...]
    days: int | None = None
    tiers: tuple[tuple[int, tuple[str, ...]], ...] = ()
    marginal: bool = False


ENTRIES = (
    Entry("large", ("2.5", "10", "0.25", "3.125", "5", "12")),
    Entry("small", ("0.0375", "0.0005", "0.00375", "0.0375", "0.075", "0.0005")),
    Entry("tiered", ("1", "4", "0.1", "1.25", "2", "4"), tiers=((1_000, ("2", "8", "0.2", "2.5", "4", "9")),)),
    Entry(
        "graduated",
        ("1.0007", "4", "0.1", "1.25", "2", "4.5"),
        tiers=((500, ("2", "4", "0.2", "2.5003", "4", "4.5")), (1_000, ("0.5", "4", "0.05", "1", "1", "4.5"))),
        marginal=True,
    ),
    Entry("changed", ("1", "2", "0.5", "1", "1", "2")),
    Entry("changed", ("3", "7", "0.3333", "3", "3", "7"), days=-5),
    Entry("future", ("1", "1", "1", "1", "1", "1"), days=3650),
    Entry("free", ("0", "0", "0", "0", "0", "0")),
)
MODELS = ("large", "small", "tiered", "graduated", "changed", "free")
UNPRICED = ("future", "nobody-knows", "renamed")


def starts_at(entry: Entry, anchor: datetime) -> datetime | None:
    """Return when an entry becomes valid, None where it always was."""
    return None if entry.days is None else anchor + timedelta(days=entry.days)


def core_price_book(anchor: datetime) -> PriceBook:
    """Return the price book of the core."""
    prices: dict[tuple[str, str], list[Price]] = {}
    for number, entry in enumerate(ENTRIES, start=1):
        tiers = tuple((above, _rates(rates)) for above, rates in entry.tiers)
        price = Price(
            number, _rates(entry.base), tiers, starts_at(entry, anchor), tiers_are_marginal=entry.marginal
        )  # fmt: skip
        prices.setdefault((PROVIDER, entry.model), []).append(price)
    return PriceBook({name: ModelPrices(*name, tuple(found)) for name, found in prices.items()}, lambda *_: None)


async def insert_prices(connection: "asyncpg.Connection[asyncpg.Record]", anchor: datetime) -> None:
    """Add the entries to the price book of a database."""
    for ordinal, entry in enumerate(ENTRIES):
        kinds = INPUT_KINDS if entry.marginal else KINDS
        rates: dict[str, Any] = {
            "base": dict(zip(KINDS, entry.base, strict=True)),
            "tiers": [
                {"above": above, "rates": {kind: tier[KINDS.index(kind)] for kind in kinds}}
                for above, tier in entry.tiers
            ],
        }
        if entry.marginal:
            rates["tier_mode"] = "marginal"
        await connection.execute(
            "insert into prices (provider, model, ordinal, rates, valid_from, source)"
            " values ($1, $2, $3, $4, $5, 'test')",
            PROVIDER, entry.model, ordinal, json.dumps(rates), starts_at(entry, anchor),
        )  # fmt: skip


def _rates(values: tuple[str, ...]) -> Rates:
    return Rates(*(rate_attos(Decimal(value)) for value in values))
