"""The command for discounts: `prices discount`."""

import argparse
import asyncio
import re
from decimal import Decimal

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key, open_database, tenant_named
from token_ledger.cli.price_texts import discount_change_words, discount_words
from token_ledger.cli.prices import instant_text, read_model
from token_ledger.cli.submission import submit
from token_ledger.config import Settings
from token_ledger.core.model.name_patterns import ANYTHING, Names
from token_ledger.core.model.price import ModelName
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads.prices import find_discounts
from token_ledger.storage.upkeep.periods import database_now
from token_ledger.wire.bodies.prices import DiscountBody
from token_ledger.wire.commands.prices import set_discount_command


def set_discount(settings: Settings, options: argparse.Namespace) -> int:
    """Say what a tenant pays of published prices, or list its discounts."""
    if options.model is None:
        given = [option for option in ("off", "remove", "from", "until") if getattr(options, option)]
        if given:
            raise ValueError(f"--{given[0]}: name the models too, such as openai/gpt-5*, or openai/* for a provider")
        with named_database(settings) as url:
            asyncio.run(_list(url, options.tenant))
        return 0
    if (options.off is None) != options.remove:
        raise ValueError("say how many percent are off, such as --off 15, or take the discount away: --remove")
    body = DiscountBody(
        idempotency_key=new_idempotency_key(),
        factor=None if options.off is None else _factor(options.off),
        valid_from=instant_text("--from", getattr(options, "from")),
        valid_until=instant_text("--until", options.until),
    )
    name = read_model("model", options.model)
    command = set_discount_command(name, body, actor())
    with named_database(settings) as url:
        for entry in asyncio.run(submit(url, options.tenant, command)):
            print(f"{options.tenant}: {discount_change_words(entry)}")
        if body.factor is not None and (note := asyncio.run(_note(url, name))):
            print(note)
    return 0


async def _note(url: str, name: ModelName) -> str:
    """Return that a discount of this name is off no price, if so: it is off published ones only, by their own names."""
    if name.provider == ANYTHING:
        return ""
    async with open_database(url) as database, database.reading() as connection:
        book = await load_price_book(connection)
    wanted: Names[bool] = Names()
    wanted.put(book.provider_named(name.provider), name.model, True)
    if any(wanted.find(provider, model.casefold()) for provider, model in book.names):
        return ""
    found, asked = book.find(*name), "/".join(name)
    if found is not None:
        return f"{asked} is {found.provider}/{found.model} in the price book: give the discount that name"
    return f"no published price has the name {asked} now, so nothing is off: token-ledger prices list shows the names"


def _factor(percent: str) -> str:
    """Return what is paid where so many percent are off."""
    number = percent.removesuffix("%").strip()
    if not re.fullmatch(r"-?[0-9]{1,3}(\.[0-9]{1,7})?", number):
        raise ValueError(f"--off {percent!r}: write percent, such as 15 or 12.5; for a surcharge a number below 0")
    factor = 1 - Decimal(number) / 100
    if factor < 0:
        raise ValueError(f"--off {percent!r}: more than 100 percent can't be off")
    return format(factor, "f")


async def _list(url: str, tenant_name: str) -> None:
    async with open_database(url) as database:
        tenant = await tenant_named(database, tenant_name)
        async with database.reading(tenant) as connection:
            found = await find_discounts(connection, tenant, await database_now(connection))
    for discount, in_force in found:
        print(discount_words(discount) + ("  in force" if in_force else ""))
    if not found:
        print("no discounts are set")
