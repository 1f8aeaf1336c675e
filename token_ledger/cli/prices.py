"""The commands for prices: `prices list`, `show`, `set` and `alias`."""

import argparse
import asyncio
import json
import re
from datetime import UTC, date, datetime, time
from typing import Any

from pydantic import TypeAdapter, ValidationError

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import (
    named_database,
    new_idempotency_key,
    open_database,
    tenant_named,
)
from token_ledger.cli.keys import NO_TENANT
from token_ledger.cli.model_filter import model_filter
from token_ledger.cli.names import read_name
from token_ledger.cli.price_commands import RATES, TIER_MODE
from token_ledger.cli.price_texts import (
    alias_words,
    change_words,
    cost_words,
    dated_words,
    discount_words,
    facts_words,
    off_words,
    rates_words,
)
from token_ledger.cli.recosting_offer import recosting_offers
from token_ledger.cli.submission import submit
from token_ledger.config import Settings
from token_ledger.core.model.discount import WHOLE, factor_text
from token_ledger.core.model.model_facts import facts_data
from token_ledger.core.model.other_kinds import RATE_KINDS
from token_ledger.core.model.price import SERVICE_TIERS, ModelName, PriceBook
from token_ledger.core.model.principal import OPERATOR_TENANT
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import Connection, Database
from token_ledger.storage.global_prices import add_global_alias, find_global_aliases
from token_ledger.storage.price_terms import load_price_terms, load_tenant_book
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads.model_facts import KnownModels
from token_ledger.storage.reads.prices import StoredPrice, find_aliases, find_prices
from token_ledger.storage.reads.prices import list_prices as list_prices_of
from token_ledger.storage.upkeep.periods import database_now
from token_ledger.wire.answers.prices import price_answer
from token_ledger.wire.bodies.prices import AliasBody, PriceBody
from token_ledger.wire.commands.prices import set_alias_command, set_price_command
from token_ledger.wire.fields import InstantOrDate
from token_ledger.wire.validation_errors import message_of

_DOLLARS = re.compile(r"[0-9]+(\.[0-9]+)?")
_instant_or_date = TypeAdapter(InstantOrDate).validate_python


def list_prices(settings: Settings, options: argparse.Namespace) -> int:
    """List models with what they cost."""
    at = _instant("--at", options.at)
    with named_database(settings) as url:
        found = asyncio.run(_list(url, options, at))
    if options.json:
        print(json.dumps({"prices": [price_answer(each) for each, _ in found]}))
    for each, factor in () if options.json else found:
        off = "" if factor == WHOLE else f"  {off_words(factor)}"
        print(f"{each.provider}/{each.model}  {rates_words(each)}{off}")
    if not found and not options.json:
        print("no model with this name has a price; token-ledger prices list shows all")
    return 0


async def _list(url: str, options: argparse.Namespace, at: datetime | None) -> list[tuple[StoredPrice, int]]:
    async with open_database(url) as database:
        tenant = await _tenant(database, options.tenant)
        async with database.reading(tenant) as connection:
            book = await _book(connection, tenant)
            at = at or await database_now(connection)
            listing = await list_prices_of(connection, tenant, book, at)
    wanted = model_filter(options)
    found = listing.shown(each for each in listing.entries if wanted(each.provider, each.model))
    return [(each, listing.factor_of(each)) for each in found if each.in_force and each.rates]


def show_price(settings: Settings, options: argparse.Namespace) -> int:
    """Show what a model costs, and all its dated entries."""
    at = _instant("--at", options.at)
    with named_database(settings) as url:
        shown = asyncio.run(_show(url, options, at))
    print(json.dumps(shown[1]) if options.json else shown[0])
    return 0


async def _show(url: str, options: argparse.Namespace, at: datetime | None) -> tuple[str, dict[str, Any]]:
    async with open_database(url) as database:
        tenant = await _tenant(database, options.tenant)
        async with database.reading(tenant) as connection:
            book = await _book(connection, tenant)
            at = at or await database_now(connection)
            provider, model = _asked(book, options.model)
            prices = book.find(provider, model)
            price = None if prices is None else prices.at(at)
            found = await find_prices(connection, tenant, book, at, provider=provider, model=model)
            terms = await load_price_terms(connection, tenant)
            if price is not None and all(each.price_id != price.price_id for each in found):  # that of a pattern
                others = await find_prices(connection, tenant, book, at)
                found += [each for each in others if each.price_id == price.price_id]
    if prices is None or price is None:
        raise ValueError(_why_unknown(book, provider, model, at))
    stored = next(each for each in found if each.price_id == price.price_id)
    canonical = f"{prices.provider}/{prices.model}"
    lines = [
        f"{provider}/{model}" + ("" if (provider, model) == (prices.provider, prices.model) else f" is {canonical}")
    ]
    facts = KnownModels(found, terms).of(stored.provider, stored.model)
    lines += [f"  {cost_words(stored)}", f"  by price {dated_words(stored)}"]
    discount = next((each for each in terms.discounts if each.discount_id == price.discount_id), None)
    lines += [] if discount is None else [f"  less the discount {discount_words(discount)}"]
    lines += [f"  {facts_words(facts)}"]
    others = [each for each in found if each.price_id != price.price_id]
    lines += ["other entries:"] if others else []
    lines += [f"  {dated_words(each)}: {rates_words(each)}" for each in others]
    listed = [price_answer(each) for each in found]
    return "\n".join(lines), {
        "provider": prices.provider, "model": prices.model, "prices": listed, "known": facts_data(facts),
        "factor": factor_text(WHOLE if discount is None or discount.factor is None else discount.factor),
    }  # fmt: skip


def _why_unknown(book: PriceBook, provider: str, model: str, at: datetime) -> str:
    """Return that a model has no price at an instant, and what would give it one."""
    name, prices = f"{provider}/{model}", book.find(provider, model)
    sets = f"token-ledger prices set TENANT {name} --input DOLLARS --output DOLLARS"
    begins = None if prices is None else prices.begins_after(at)
    if begins is not None:
        return f"{name} has no price before {begins:%Y-%m-%d %H:%M} UTC; {sets} --from DATE sets one until then"
    like = ", ".join(book.nearest(provider, model))
    words = f"no price is known for {name}" + (f"; the nearest known names are {like}" if like else "")
    return f"{words}; {sets} sets one, or --free if it costs nothing"


def _asked(book: PriceBook, text: str) -> ModelName:
    """Return the provider and model of a text that may leave the provider out."""
    provider, slash, model = text.partition("/")
    if slash and provider and model:
        name = ModelName(read_name("the provider", provider), read_name("the model", model))
        if book.find(*name) is not None:
            return name
    named = book.name_of("", text)
    if named.provider and book.find(*named) is not None:
        return named
    if not slash:
        like = ", ".join(book.nearest("", text))
        raise ValueError(
            f"{text!r}: no model has this name; write the provider too, such as openai/gpt-5.4"
            + (f"; the nearest known names are {like}" if like else "")
        )
    return name


def set_price(settings: Settings, options: argparse.Namespace) -> int:
    """Give a model a price of the tenant's own."""
    name = read_model("model", options.model)
    body = PriceBody(
        idempotency_key=new_idempotency_key(),
        rates=_rates(options),
        valid_from=instant_text("--from", getattr(options, "from")),
    )
    command = set_price_command(name, body, actor())
    with named_database(settings) as url:
        for entry in asyncio.run(submit(url, options.tenant, command)):
            print(f"{options.tenant}: {change_words(entry)}")
        asyncio.run(_offer(url, options, name))
    return 0


async def _offer(url: str, options: argparse.Namespace, name: ModelName) -> None:
    """Print how many calls could be re-costed, if any."""
    async with open_database(url) as database:
        for offer in await recosting_offers(database, options, options.tenant, [name]):
            print(offer)


def _rates(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the rates that are given, None for the withdrawal of a price."""
    names = [rate.name.removeprefix("--").replace("-", "_") for rate in RATES]
    given = {name: value.removeprefix("$") for name in names if (value := getattr(options, name)) is not None}
    others = _other_rates(options.other)
    for option in ("tiers", "service_tiers"):
        if getattr(options, option) and not (given or others):
            name = option.replace("_", "-")
            raise ValueError(f"--{name} are beside a base: say what it costs with --input DOLLARS and --output DOLLARS")
    if options.tier_mode != TIER_MODE.default and not options.tiers:
        raise ValueError("--tier-mode says what tiers are; give them with --tiers")
    if sum((bool(given or others), options.free, options.withdraw)) != 1:
        raise ValueError(
            "say what it costs with --input DOLLARS and --output DOLLARS (per million tokens), or that it costs nothing"
            " with --free, or that the global price book counts again with --withdraw"
        )
    if options.withdraw:
        return None
    if options.free:
        return {"base": {"input": "0", "output": "0"}}
    for name in ("input", "output") if given or not others else ():
        if name not in given:
            raise ValueError(f"--{name} is missing: what do a million tokens of {name} cost? Write 0 if nothing")
    for name, value in given.items():
        if not _DOLLARS.fullmatch(value):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} {value!r}: write dollars per million tokens, such as 2.50")
    return {
        "base": {**given, **others}, "tiers": _tiers(options.tiers), "tier_mode": options.tier_mode,
        "service_tiers": _service_tiers(options.service_tiers),
    }  # fmt: skip


def _service_tiers(text: str | None) -> dict[str, Any]:
    """Return the rates of ways of serving that an option describes, such as batch:input=1.1,output=6.5."""
    served: dict[str, Any] = {}
    for part in text.split(";") if text else ():
        name, _, rates = part.partition(":")
        named = _named_rates(rates)
        if name.strip() not in SERVICE_TIERS[1:] or named is None:
            raise ValueError(
                f"--service-tiers {part!r}: write {', '.join(SERVICE_TIERS[1:-1])} or {SERVICE_TIERS[-1]}, and rates,"
                " such as batch:input=1.1,output=6.5, and `;` before the next one"
            )
        served[name.strip()] = {"base": named}
    return served


def _named_rates(text: str) -> dict[str, str] | None:
    """Return rates such as input=4,output=12 by their names, None where one is no number."""
    pairs = [part.partition("=") for part in text.split(",")]
    named = {name.strip().replace("-", "_"): value.strip().removeprefix("$") for name, _, value in pairs}
    return named if all(map(_DOLLARS.fullmatch, named.values())) else None


def _tiers(text: str | None) -> list[dict[str, Any]]:
    """Return the tiers that an option describes, such as 272000:input=4,output=12;600000:input=5,output=15."""
    tiers = []
    for tier in text.split(";") if text else ():
        above, _, rates = tier.partition(":")
        named = _named_rates(rates)
        if not above.strip().isdecimal() or named is None:
            raise ValueError(
                f"--tiers {tier!r}: write a number of input tokens and rates, such as 272000:input=4,output=12, and"
                " `;` before the next tier"
            )
        tiers.append({"above": int(above), "rates": named})
    return tiers


def _other_rates(text: str | None) -> dict[str, str]:
    """Return the rates of other kinds that an option names."""
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    rates = {name.strip(): value.strip().removeprefix("$") for name, _, value in pairs}
    for name, value in rates.items():
        if name not in RATE_KINDS or not _DOLLARS.fullmatch(value):
            kinds = ", ".join(RATE_KINDS)
            raise ValueError(f"--other {text!r}: write a kind and dollars, such as web_searches=10; kinds are {kinds}")
    return rates


def set_alias(settings: Settings, options: argparse.Namespace) -> int:
    """Say which model a name stands for, or list what names stand for."""
    if options.name is None:
        with named_database(settings) as url:
            asyncio.run(_list_aliases(url, options.tenant))
        return 0
    if (options.stands_for is None) != options.remove:
        raise ValueError("name the model that it stands for, such as openai/gpt-5.4, or take the alias away: --remove")
    name = read_model("name", options.name)
    model = None if options.stands_for is None else read_model("stands_for", options.stands_for)
    with named_database(settings) as url:
        if options.tenant == NO_TENANT:
            asyncio.run(_set_global_alias(url, name, model))
        else:
            body = AliasBody(
                idempotency_key=new_idempotency_key(), stands_for=None if model is None else model._asdict()
            )
            asyncio.run(submit(url, options.tenant, set_alias_command(name, body, actor())))
        print(f"{'all tenants' if options.tenant == NO_TENANT else options.tenant}: {alias_words(name, model)}")
        if options.tenant != NO_TENANT:
            asyncio.run(_offer(url, options, name))
    return 0


async def _set_global_alias(url: str, name: ModelName, model: ModelName | None) -> None:
    async with open_database(url) as database:
        async with database.reading() as connection:
            book = await load_price_book(connection)
        if model is not None and book.find(*model) is None:
            like = ", ".join(book.nearest(*model))
            raise ValueError(
                f"no price is known for {'/'.join(model)}" + (f"; the nearest known names are {like}" if like else "")
            )
        await add_global_alias(database, book, name, model, actor())


async def _list_aliases(url: str, tenant_name: str) -> None:
    async with open_database(url) as database:
        if tenant_name == NO_TENANT:
            async with database.reading() as connection:
                found = await find_global_aliases(connection)
        else:
            tenant = await tenant_named(database, tenant_name)
            async with database.reading(tenant) as connection:
                found = [*await find_aliases(connection, tenant)]
    for each in found:
        print(alias_words(ModelName(each.provider, each.model), each.stands_for))
    if not found:
        print("no aliases are set")


def read_model(what: str, text: str) -> ModelName:
    """Return the provider and model of an argument; ValueError says what is wrong with it."""
    provider, slash, model = text.partition("/")
    if not (slash and provider.strip() and model.strip()):
        raise ValueError(f"{what} {text!r}: write the provider and the model, such as openai/gpt-5.4")
    return ModelName(read_name(f"the provider of {what}", provider), read_name(f"the model of {what}", model))


def instant_text(option: str, text: str | None) -> str | None:
    """Return the instant that an option names, as bodies of the API have it."""
    at = _instant(option, text)
    return None if at is None else at.isoformat()


def _instant(option: str, text: str | None) -> datetime | None:
    """Return the instant that an option names; a date is its start in UTC."""
    if text is None:
        return None
    try:
        value: datetime | date = _instant_or_date(text)
    except ValidationError as error:
        raise ValueError(f"{option} {text!r}: {message_of(error.errors()[0])}") from None
    return value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)


async def _tenant(database: Database, name: str | None) -> TenantId:
    """Return the tenant whose prices count; the operator, who has none, stands for the global price book."""
    return OPERATOR_TENANT if name is None else await tenant_named(database, name)


async def _book(connection: Connection, tenant: TenantId) -> PriceBook:
    try:
        return await load_tenant_book(connection, tenant, await load_price_book(connection))
    except LookupError as error:
        raise ValueError(str(error)) from None
