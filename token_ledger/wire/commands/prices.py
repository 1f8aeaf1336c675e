"""Commands of the price book."""

from datetime import date
from typing import Any

from pydantic import BaseModel

from token_ledger.core.batch.administration import SetAlias, SetDiscount, SetModel, SetPrice
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.discount import read_factor
from token_ledger.core.model.model_facts import NOTHING_KNOWN, ModelFacts
from token_ledger.core.model.name_patterns import ANYTHING, check_pattern
from token_ledger.core.model.price import ModelName
from token_ledger.storage.prices import MARGINAL, check_rates
from token_ledger.wire.bodies.prices import AliasBody, DiscountBody, ModelBody, PriceBody, RatesBody, ScheduleBody
from token_ledger.wire.commands.fields import fingerprint_of
from token_ledger.wire.problems import invalid_field


def set_price_command(name: ModelName, body: PriceBody, actor: str) -> SetPrice:
    """Return the command that gives a model, or the models of a pattern, a price of the tenant's own."""
    if name != (ANYTHING, ANYTHING):  # stands in where no price is known
        _check_name(name)
    rates, price = None, None
    if body.rates is not None:
        rates = _stored(body.rates)
        try:
            price = check_rates(rates)
        except ValueError as error:
            raise invalid_field("rates", str(error)) from None
    return SetPrice(
        body.idempotency_key, _fingerprint(name, body), *name, rates, price, actor, body.valid_from
    )  # fmt: skip


def set_alias_command(name: ModelName, body: AliasBody, actor: str) -> SetAlias:
    """Return the command that lets a name stand for a model."""
    _check_name(name)
    stands_for = None if body.stands_for is None else ModelName(body.stands_for.provider, body.stands_for.model)
    if stands_for is not None and ANYTHING in stands_for.model:
        raise invalid_field("stands_for", "a pattern is no model; name the one that it stands for")
    return SetAlias(body.idempotency_key, _fingerprint(name, body), *name, stands_for, actor)


def set_discount_command(name: ModelName, body: DiscountBody, actor: str) -> SetDiscount:
    """Return the command that lets the tenant pay a factor of what is published."""
    if name != (ANYTHING, ANYTHING):  # for all models of all providers
        _check_name(name)
    factor = None
    if body.factor is not None:
        try:
            factor = read_factor(body.factor)
        except ValueError as error:
            raise invalid_field("factor", str(error)) from None
    elif body.valid_until is not None:
        raise invalid_field("valid_until", "a withdrawal has no end; leave it out")
    return SetDiscount(
        body.idempotency_key, _fingerprint(name, body), *name, factor, actor, body.valid_from, body.valid_until
    )  # fmt: skip


def set_model_command(name: ModelName, body: ModelBody, actor: str) -> SetModel:
    """Return the command that says what is known of a model."""
    end = body.end_of_life
    facts = ModelFacts(
        body.context_tokens,
        body.max_output_tokens,
        None if body.capabilities is None else tuple(sorted(set(body.capabilities))),
        body.deprecated,
        None if end is None else date.fromisoformat(end),
    )
    said = None if facts == NOTHING_KNOWN else facts
    return SetModel(body.idempotency_key, _fingerprint(name, body), *name, said, actor)


def _stored(body: RatesBody) -> dict[str, Any]:
    """Return rates as the price book stores them."""
    served = {name: [_schedule(each)] for name, each in body.service_tiers.items()}
    return _schedule(body) | ({"service_tiers": served} if served else {})


def _schedule(body: ScheduleBody) -> dict[str, Any]:
    value = body.model_dump(mode="json", include={"base", "tiers"})
    if not value["tiers"]:
        return {"base": value["base"]}
    return value if body.tier_mode != MARGINAL else {**value, "tier_mode": MARGINAL}


def _fingerprint(name: ModelName, body: BaseModel) -> bytes:
    return fingerprint_of(body) + fingerprint("/".join(name).encode())


def _check_name(name: ModelName) -> None:
    if ANYTHING in name.provider:
        raise invalid_field("provider", "a provider is no pattern; only the name of a model may have `*`")
    try:
        check_pattern(name.model)
    except ValueError as error:
        raise invalid_field("model", str(error)) from None
