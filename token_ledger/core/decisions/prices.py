"""Decides on what a tenant adds to the price book, and says what can be done about a model without a price.

A batch has one price book from its start to its end: what is decided here counts from the next batch on.
"""

import shlex
from dataclasses import replace

from token_ledger.core.batch.administration import SetAlias, SetDiscount, SetModel, SetPrice
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.outcomes import Changed, Code, Refused
from token_ledger.core.model.discount import Discount
from token_ledger.core.model.model_facts import OwnFacts, facts_data
from token_ledger.core.model.plain_data import alias_data, discount_data, own_price_data
from token_ledger.core.model.price_terms import Alias, OwnPrice, book_with, listed_name

MOST_OWN = 10_000
"""How many entries or aliases a tenant may have: every process keeps them all."""


def set_price(books: Books, command: SetPrice) -> Changed | Refused:
    """Let a model have a price of the tenant's own; nothing changes where it has the same one already."""
    terms = books.config.price_terms
    valid_from = command.valid_from or books.now
    name = books.prices.provider_named(command.provider), command.model
    before = terms.own_price_at(*name, valid_from)
    rates_before = None if before is None else before.rates
    entry = before
    if rates_before != command.rates:
        if len(terms.prices) >= MOST_OWN:
            return _too_many("prices")
        price_id = -books.new_id()  # those of the global book are above 0
        price = None if command.price is None else replace(command.price, price_id=price_id, valid_from=valid_from)
        entry = OwnPrice(price_id, *name, valid_from, command.rates, price)
        books.config = replace(books.config, price_terms=replace(terms, prices=(*terms.prices, entry)))
        books.writes.own_prices.append(entry)
    states = [None if each is None or each.rates is None else own_price_data(each) for each in (before, entry)]
    noted = books.audit(command, "price.set", "/".join(name), *states)
    books.note_key(command, "audit", noted.audit_id)
    return Changed(noted)


def set_alias(books: Books, command: SetAlias) -> Changed | Refused:
    """Let a name stand for a model that has a price."""
    terms = books.config.price_terms
    name = books.prices.provider_named(command.provider), command.model
    stands_for = command.stands_for
    if stands_for is not None:
        others = replace(terms, aliases=())  # an alias stands for no other alias
        if book_with(books.prices.base, others).find(*stands_for) is None:
            aliased = books.prices.find(*stands_for)
            detail = why_unknown(books, *stands_for)
            if aliased is not None and aliased.at(books.now) is not None:
                own, model = "/".join(stands_for), f"{aliased.provider}/{aliased.model}"
                detail = f"{own} is an alias itself, of {model}, and an alias stands for no other alias: name {model}"
            return Refused(Code.UNKNOWN_MODEL, detail, "stands_for")
    found = terms.alias_of(*name)
    before = None if found is None else found.stands_for
    if before != stands_for:
        if len(terms.aliases) >= MOST_OWN:
            return _too_many("aliases")
        alias = Alias(books.new_id(), *name, stands_for)
        books.config = replace(books.config, price_terms=replace(terms, aliases=(*terms.aliases, alias)))
        books.writes.aliases.append(alias)
    noted = books.audit(command, "alias.set", "/".join(name), alias_data(before), alias_data(stands_for))
    books.note_key(command, "audit", noted.audit_id)
    return Changed(noted)


def set_discount(books: Books, command: SetDiscount) -> Changed | Refused:
    """Let the tenant pay a factor of published prices; nothing changes where it does already."""
    terms = books.config.price_terms
    valid_from = command.valid_from or books.now
    if command.valid_until is not None and command.valid_until <= valid_from:
        return Refused(Code.INVALID_REQUEST, "a discount ends after it begins; give a later instant", "valid_until")
    name = books.prices.provider_named(command.provider), command.model
    discount = before = terms.discount_at(*name, valid_from)
    terms_before = (None, None) if before is None else (before.factor, before.valid_until)
    if terms_before != (command.factor, command.valid_until):
        if len(terms.discounts) >= MOST_OWN:
            return _too_many("discounts")
        discount = Discount(books.new_id(), *name, command.factor, valid_from, command.valid_until)
        books.config = replace(books.config, price_terms=replace(terms, discounts=(*terms.discounts, discount)))
        books.writes.discounts.append(discount)
    noted = books.audit(command, "discount.set", "/".join(name), discount_data(before), discount_data(discount))
    books.note_key(command, "audit", noted.audit_id)
    return Changed(noted)


def set_model(books: Books, command: SetModel) -> Changed | Refused:
    """Say what is known of a model that has a price; nothing changes where the same was said already."""
    terms = books.config.price_terms
    name = listed_name(books.prices, terms, command.provider, command.model)
    if name is None:
        return Refused(Code.UNKNOWN_MODEL, why_unknown(books, command.provider, command.model), "model")
    found = terms.facts_of(*name)
    before = None if found is None else found.facts
    if before != command.facts:
        if len(terms.facts) >= MOST_OWN:
            return _too_many("facts of models")
        said = OwnFacts(books.new_id(), *name, command.facts)
        books.config = replace(books.config, price_terms=replace(terms, facts=(*terms.facts, said)))
        books.writes.model_facts.append(said)
    noted = books.audit(command, "model.set", "/".join(name), facts_data(before), facts_data(command.facts))
    books.note_key(command, "audit", noted.audit_id)
    return Changed(noted)


def why_unknown(books: Books, provider: str, model: str) -> str:
    """Return that a model has no price, which known names are like its name, and what would give it one."""
    name = f"{provider}/{model}"
    prices = books.prices.find(provider, model)
    if prices is not None and (price := prices.at(books.now)) is not None:
        kinds = ", ".join(sorted(price.others))
        return (
            f"model {model!r} of provider {provider!r} is priced by {kinds} and not by the token: a hold for"
            " it announces the most of these as max_usage, and no tokens; or report its calls with POST /v1/events"
            " when they are made"
        )
    begins = None if prices is None else prices.begins_after(books.now)
    if begins is not None:
        return (
            f"model {model!r} of provider {provider!r} has no price before {begins:%Y-%m-%d %H:%M} UTC; to price it"
            f" until then: {_pricing(books, name)} --from DATE"
        )
    alike = books.prices.nearest(provider, model)
    words = f"no price is known for model {model!r} of provider {provider!r}"
    tenant = books.config.name or "TENANT"
    if alike:
        same = shlex.join(["token-ledger", "prices", "alias", tenant, name, alike[0]])
        words += f"; the nearest known names are {', '.join(alike)}: call one of these, or say that they are the same:"
        words += f" {same}"
    return f"{words}; to price it: {_pricing(books, name)} (per million tokens), or with --free"


def _pricing(books: Books, name: str) -> str:
    """Return the command that gives a model a price."""
    command = shlex.join(["token-ledger", "prices", "set", books.config.name or "TENANT", name])
    return f"{command} --input DOLLARS --output DOLLARS"


def _too_many(what: str) -> Refused:
    detail = f"a tenant has at most {MOST_OWN:,} {what} of its own; use patterns, such as ollama/*"
    return Refused(Code.INVALID_REQUEST, detail)
