"""Owns the stored price book: seeds it from genai-prices, loads it, and makes prices of its rows.

The stored entries are the authority. The package is asked only which entry an alias means, so a model that somebody
added to the table is found by its exact name even if the package does not know it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.marginal_tiers import INPUT_RATES
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.name_patterns import Names
from token_ledger.core.model.other_kinds import RATE_KINDS
from token_ledger.core.model.price import ModelName, ModelPrices, Price, PriceBook, Rates
from token_ledger.storage.database import plain_dsn
from token_ledger.storage.json_columns import parsed
from token_ledger.storage.published_prices import (
    PROVIDER_ALIASES,
    PUBLISHED,
    PUBLISHED_OTHERS,
    provider_named,
    published_entries,
    resolve_alias,
    source_name,
)  # fmt: skip

INSERT_PRICES = """
insert into prices (provider, model, ordinal, rates, valid_from, daily_from, daily_until, context_tokens, source)
select provider, model, ordinal, rates::jsonb, valid_from, daily_from, daily_until, context_tokens, source
from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::timestamptz[], $6::time[], $7::time[],
            $8::bigint[], $9::text[])
     as v (provider, model, ordinal, rates, valid_from, daily_from, daily_until, context_tokens, source)
on conflict do nothing
"""

LOAD_PRICES = """
select price_id, provider, model, rates::text as rates, valid_from, daily_from, daily_until from prices
order by provider, model, price_id
"""
"""Rows are read by position, because a process reads thousands when it starts, and so does each `verify`."""


LOAD_GLOBAL_ALIASES = "select provider, model, to_provider, to_model from price_aliases order by alias_id"

VERSION = "select (select count(*) from prices) || '/' || (select count(*) from price_aliases)"
"""Changes with the global price book, because nothing is ever taken away from it."""


async def seed_prices(url: str) -> int:
    """Fill an empty price book with the entries of the installed genai-prices; return how many were added.

    What a later release publishes is taken over where somebody accepts it (see `price_refresh`).
    """
    source = source_name()
    connection = await asyncpg.connect(plain_dsn(url), timeout=10)
    try:
        if await connection.fetchval("select exists (select from prices)"):
            return 0
        rows = published_entries(source)
        await connection.execute(INSERT_PRICES, *zip(*rows, strict=True))
        return len(rows)
    finally:
        await connection.close()


async def load_price_book(connection: AsyncConnection) -> PriceBook:
    """Load every entry. Entries of a later seed come later and therefore take precedence. LookupError if empty."""
    version = (await connection.execute(text(VERSION))).scalar_one()
    prices = (await connection.execute(text(LOAD_PRICES))).all()
    aliases = (await connection.execute(text(LOAD_GLOBAL_ALIASES))).mappings().all()
    return book_from(version, prices, aliases)


async def current_price_book(connection: AsyncConnection, book: PriceBook) -> PriceBook:
    """Return the price book as it is now, which is the given one if nothing was added."""
    version = (await connection.execute(text(VERSION))).scalar_one()
    return book if book.version in (None, version) else await load_price_book(connection)


async def load_newer_book(connection: Any, book: PriceBook) -> PriceBook:
    """Return the price book as it is now, on a connection of a batch; one that was not loaded stays as it is."""
    if book.version is None or book.version == (version := await connection.fetchval(VERSION)):
        return book
    return book_from(version, await connection.fetch(LOAD_PRICES), await connection.fetch(LOAD_GLOBAL_ALIASES))


def book_from(version: str, prices: Iterable[Any], aliases: Sequence[Any]) -> PriceBook:
    """Make the price book of rows in the order of `LOAD_PRICES`' columns; LookupError if there are none."""
    entries: dict[tuple[str, str], list[Price]] = {}
    for price_id, provider, model, *terms in prices:
        entries.setdefault((provider, model), []).append(_published(price_id, *terms))
    if not entries:  # between creating the schema and seeding it, a service must not start without prices
        raise LookupError("the price book is empty: run token-ledger migrate")
    models = {name: ModelPrices(*name, tuple(prices)) for name, prices in entries.items()}
    return PriceBook(models, _resolver(aliases, models.keys()), PROVIDER_ALIASES, version)


Resolve = Callable[[str, str], tuple[str, str] | None]


def _resolver(aliases: Sequence[Any], models: Collection[tuple[str, str]]) -> Resolve:
    """Return what finds the entry that a name means: the operator's aliases go before the publisher's."""
    if not aliases:
        return resolve_alias
    names: Names[ModelName | None] = Names()
    for row in aliases:
        stands_for = None if row["to_model"] is None else ModelName(row["to_provider"], row["to_model"])
        names.put(provider_named(row["provider"]), row["model"], stands_for)

    def resolve(provider: str, model: str) -> tuple[str, str] | None:
        name = names.find(provider_named(provider), model.strip().casefold())
        if name is None:
            return resolve_alias(provider, model)
        return name if name in models else resolve_alias(*name)

    return resolve


def check_rates(rates: Any) -> Price:
    """Return the price with these rates, as they are stored; ValueError says what is wrong with them."""
    for schedule in (rates, *(each for entries in rates.get("service_tiers", {}).values() for each in entries)):
        _check_schedule(schedule)
    row = {"price_id": 0, "rates": rates, "valid_from": None, "daily_from": None, "daily_until": None}
    return price_from(row, published=False)


MARGINAL = "marginal"
"""The `tier_mode` of tiers that are for the input beyond their thresholds only; without one they are cliffs."""


def _check_schedule(schedule: Mapping[str, Any]) -> None:
    if schedule.get("tier_mode") == MARGINAL:
        _check_marginal(schedule)
        tiers = [{**tier, "rates": _whole_rates(schedule["base"], tier["rates"])} for tier in schedule["tiers"]]
        schedule = {**schedule, "tiers": tiers}
    for part in (schedule["base"], *(tier["rates"] for tier in schedule.get("tiers", ()))):
        if unknown := sorted(set(part) - {*PUBLISHED, *RATE_KINDS}):
            kinds = ", ".join((*PUBLISHED, *RATE_KINDS))
            raise ValueError(f"{unknown[0]!r} is no kind that has a rate; the kinds are {kinds}")
        # What is priced by the page, the second or the request needs no rate of tokens.
        missing = [kind for kind in ("input", "output") if kind not in part]
        if missing and (not part or not part.keys().isdisjoint(PUBLISHED)):
            raise ValueError(f"there is no rate of {missing[0]}; write 0 if it is free")
        if unlike := sorted(RATE_KINDS.keys() & set(part) ^ RATE_KINDS.keys() & set(schedule["base"])):
            raise ValueError(f"{unlike[0]!r} has a rate in `base` or in a tier only; give both one")
    starts = [tier["above"] for tier in schedule.get("tiers", ())]
    if starts != sorted(set(starts)):
        raise ValueError("tiers ascend by `above`, and no two have the same")


def _check_marginal(schedule: Mapping[str, Any]) -> None:
    if "input" not in schedule["base"]:
        raise ValueError("marginal tiers divide input tokens, and `base` has no rate of input; give it one")
    for tier in schedule["tiers"]:
        if missing := sorted((INPUT_RATES & schedule["base"].keys()) - tier["rates"].keys()):
            raise ValueError(f"{missing[0]!r} has a rate in `base`; give every marginal tier one too")
        if beside := sorted({*PUBLISHED, *RATE_KINDS} & tier["rates"].keys() - INPUT_RATES):
            raise ValueError(f"{beside[0]!r} is no kind of input, so a marginal tier has no rate of it; leave it out")


def _whole_rates(base: Mapping[str, str], tier: Mapping[str, str]) -> dict[str, str]:
    """Return the rates of a marginal tier with those of the base for all that is no input."""
    return {**{kind: rate for kind, rate in base.items() if kind not in INPUT_RATES}, **tier}


async def load_prices(connection: AsyncConnection) -> list[Price]:
    """Load every entry, to look prices up by id."""
    rows = await connection.execute(text(LOAD_PRICES))
    return [_published(price_id, *terms) for price_id, _, _, *terms in rows]


@lru_cache(maxsize=16_384)
def _published(
    price_id: int, rates: str, valid_from: datetime | None, daily_from: time | None, daily_until: time | None
) -> Price:
    """Make an entry of the global book, unless it was made already."""
    names = ("price_id", "rates", "valid_from", "daily_from", "daily_until")
    return price_from(dict(zip(names, (price_id, rates, valid_from, daily_from, daily_until), strict=True)))


def price_from(row: Any, *, published: bool = True) -> Price:
    """Make an entry from a row.

    In a published one, other tokens without a rate of their own have that of their whole; in any other they have none.
    """
    value = parsed(row["rates"])
    served = value.get("service_tiers", {})
    return _price(
        value, row["price_id"], row["valid_from"], row["daily_from"], row["daily_until"], published,
        {
            tier: tuple(_price_served(each, row["price_id"], published) for each in entries)
            for tier, entries in served.items()
        },
    )  # fmt: skip


def _price_served(value: Mapping[str, Any], price_id: int, published: bool) -> Price:
    starts = value.get("valid_from")
    valid_from = None if starts is None else datetime.fromisoformat(starts)
    return _price(value, price_id, valid_from, None, None, published, {})


def _price(
    value: Mapping[str, Any], price_id: int, valid_from: datetime | None, daily_from: time | None,
    daily_until: time | None, published: bool, service_tiers: Mapping[str, tuple[Price, ...]],
) -> Price:  # fmt: skip
    base, is_marginal = value["base"], value.get("tier_mode") == MARGINAL
    tiers = [
        (tier["above"], _whole_rates(base, tier["rates"]) if is_marginal else tier["rates"])
        for tier in value.get("tiers", ())
    ]
    return Price(
        price_id, _rates_from(base), tuple((above, _rates_from(rates)) for above, rates in tiers),
        valid_from, daily_from, daily_until,
        others=_other_rates_from(base, published),
        other_tiers=tuple((above, _other_rates_from(rates, published)) for above, rates in tiers),
        service_tiers=service_tiers,
        has_token_rates=not base.keys().isdisjoint(PUBLISHED),
        tiers_are_marginal=is_marginal,
    )  # fmt: skip


def _rates_from(value: Mapping[str, str]) -> Rates:
    attos = {kind: rate_attos(Decimal(rate)) for kind, rate in value.items() if kind in PUBLISHED}
    for kind, (_, otherwise) in PUBLISHED.items():
        attos.setdefault(kind, attos.get(otherwise or "", 0))
    return Rates(**{kind: attos[kind] for kind in PUBLISHED})


def _other_rates_from(value: Mapping[str, str], published: bool) -> dict[str, int]:
    """Return rates of other kinds by their names."""
    wholes = {name: whole for name, (_, whole) in (PUBLISHED | PUBLISHED_OTHERS).items()} if published else {}
    rates = {}
    for kind, other in RATE_KINDS.items():
        name: str | None = kind
        while name is not None and name not in value:
            name = wholes.get(name)
        if name is not None:
            rates[other.name] = rate_attos(Decimal(value[name]))
    return rates
