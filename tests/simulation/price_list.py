"""The prices that the simulations run on, as plain data: the core, the database and the model each read it their way.

Some rates are no whole nano-dollars a token, so that costs are rounded.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.price_terms import OwnPrice, PriceTerms, book_with

KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
INPUT_KINDS = ("cache_read", "cache_write_1h", "cache_write_5m", "input")
"""What a prompt consists of, in the order of its places."""
OTHER_KINDS = {"audio_output_tokens": None, "web_searches": 1_000, "images": 1_000}
"""Kinds that few calls have, and for how many of each a rate is; None for tokens, which are a part of the output."""
COUNTED = ("web_searches", "images")
"""The kinds that calls use: what is counted, per thousand."""
STAND_IN = {"web_searches": "12.5003", "images": "0.7777"}
"""What stands in for unknown prices from the anchor on: for kinds only, so that unknown models are still refused."""
SERVICE_TIERS = ("flex", "priority", "batch")
PROVIDER = "acme"


@dataclass(frozen=True)
class Entry:
    """Dollars per million tokens in the order of KINDS, from `days` after the anchor on, with tiers.

    `others` are the rates of other kinds, in every tier; `served` is what is paid instead in a service tier.
    """

    model: str
    base: tuple[str, ...]
    days: int | None = None
    tiers: tuple[tuple[int, tuple[str, ...]], ...] = ()
    marginal: bool = False
    others: tuple[tuple[str, str], ...] = ()
    served: tuple[tuple[str, tuple[str, ...]], ...] = ()


ENTRIES = (
    Entry(
        "large",
        ("2.5", "10", "0.25", "3.125", "5", "12"),
        others=(("audio_output_tokens", "20.0003"), ("web_searches", "10")),
        served=(
            ("flex", ("1.25", "5", "0.125", "1.5625", "2.5", "6")),
            ("priority", ("5", "20", "0.5", "6", "9", "24")),
        ),
    ),
    Entry(
        "small",
        ("0.0375", "0.0005", "0.00375", "0.0375", "0.075", "0.0005"),
        others=(("web_searches", "0.0025"), ("images", "0.3333")),
    ),
    Entry(
        "tiered",
        ("1", "4", "0.1", "1.25", "2", "4"),
        tiers=((1_000, ("2", "8", "0.2", "2.5", "4", "9")),),
        others=(("audio_output_tokens", "8.5"),),
        served=(("batch", ("0.5", "2", "0.05", "0.6", "1", "2")),),
    ),
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
        price = replace(
            _core_price(number, entry), valid_from=starts_at(entry, anchor), tiers_are_marginal=entry.marginal,
            service_tiers={
                tier: (_core_price(number, Entry(entry.model, base, others=entry.others)),)
                for tier, base in entry.served
            },
        )  # fmt: skip
        prices.setdefault((PROVIDER, entry.model), []).append(price)
    models = {name: ModelPrices(*name, tuple(found)) for name, found in prices.items()}
    rates = {kind: rate_attos(Decimal(rate)) for kind, rate in STAND_IN.items()}
    stand_in = Price(-1, Rates(0, 0, 0, 0, 0, 0), others=rates, has_token_rates=False)
    own = OwnPrice(-1, "*", "*", anchor, {"base": STAND_IN}, stand_in)
    return book_with(PriceBook(models, lambda *_: None), PriceTerms((own,)))


def _core_price(number: int, entry: Entry) -> Price:
    tiers = tuple((above, _rates(rates)) for above, rates in entry.tiers)
    return Price(
        number, _rates(entry.base), tiers, others=_other_rates(entry, entry.base),
        other_tiers=tuple((above, _other_rates(entry, rates)) for above, rates in entry.tiers),
    )  # fmt: skip


def _other_rates(entry: Entry, rates: tuple[str, ...]) -> dict[str, int]:
    """Return the rates of other kinds: tokens without one have that of their whole."""
    said = {"audio_output_tokens": rates[KINDS.index("output")], **dict(entry.others)}
    return {kind: rate_attos(Decimal(rate)) for kind, rate in said.items()}


async def insert_prices(connection: "asyncpg.Connection[asyncpg.Record]", anchor: datetime) -> None:
    """Add the entries to the price book of a database."""
    for ordinal, entry in enumerate(ENTRIES):
        kinds = INPUT_KINDS if entry.marginal else KINDS
        others = {} if entry.marginal else _named(entry)
        rates: dict[str, Any] = {
            "base": dict(zip(KINDS, entry.base, strict=True)) | _named(entry),
            "tiers": [
                {"above": above, "rates": {kind: tier[KINDS.index(kind)] for kind in kinds} | others}
                for above, tier in entry.tiers
            ],
            "service_tiers": {
                tier: [{"base": dict(zip(KINDS, base, strict=True)) | _named(entry)}] for tier, base in entry.served
            },
        }
        if entry.marginal:
            rates["tier_mode"] = "marginal"
        await connection.execute(
            "insert into prices (provider, model, ordinal, rates, valid_from, source)"
            " values ($1, $2, $3, $4, $5, 'test')",
            PROVIDER, entry.model, ordinal, json.dumps(rates), starts_at(entry, anchor),
        )  # fmt: skip


def _named(entry: Entry) -> dict[str, str]:
    """Return the rates of other kinds by the names that rates have."""
    return {kind.removesuffix("_tokens"): rate for kind, rate in entry.others}


def _rates(values: tuple[str, ...]) -> Rates:
    return Rates(*(rate_attos(Decimal(value)) for value in values))
