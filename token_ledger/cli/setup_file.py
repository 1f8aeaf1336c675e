"""Reads the file of `token-ledger apply`: which tenants, users, budgets, triggers and prices there should be.

Its parts are bodies of the API, so a file and a request use the same words. Whatever is wrong with the file itself
is found here, before anything is looked up or changed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictInt, ValidationError, model_validator

from token_ledger.core.batch.administration import SetAlias, SetDiscount, SetModel, SetPrice
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.tenant import check_cost_centers
from token_ledger.imports.yaml_file import read_yaml
from token_ledger.storage.tenants import check_zone
from token_ledger.wire.bodies.budgets import BudgetBody, BudgetTerms
from token_ledger.wire.bodies.model_names import ModelNameBody
from token_ledger.wire.bodies.prices import (
    AliasBody,
    DiscountBody,
    ModelBody,
    NamedAliasTerms,
    NamedDiscountTerms,
    NamedModelTerms,
    NamedPriceTerms,
    PriceBody,
)
from token_ledger.wire.bodies.triggers import TriggerTerms
from token_ledger.wire.bodies.users import UserBody
from token_ledger.wire.commands.budgets import create_budget_command
from token_ledger.wire.commands.prices import (
    set_alias_command,
    set_discount_command,
    set_model_command,
    set_price_command,
)
from token_ledger.wire.fields import Body, Name, Words
from token_ledger.wire.problems import ProblemError
from token_ledger.wire.validation_errors import first_error


def _is_zone(name: str) -> str:
    check_zone(name)
    return name


class TenantTerms(Body):
    """One tenant; what is set up and not in a list stays as it is, except that --prune archives budgets."""

    name: Name
    time_zone: Annotated[Words, AfterValidator(_is_zone)] = "UTC"
    week_start: Annotated[StrictInt, Field(ge=0, le=6)] = 0
    fiscal_month: Annotated[StrictInt, Field(ge=1, le=12)] = 1
    users: tuple[UserBody, ...] = ()
    budgets: tuple[BudgetTerms, ...] = ()
    triggers: tuple[TriggerTerms, ...] = ()
    prices: tuple[NamedPriceTerms, ...] = ()
    aliases: tuple[NamedAliasTerms, ...] = ()
    discounts: tuple[NamedDiscountTerms, ...] = ()
    models: tuple[NamedModelTerms, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _know_the_new_word(cls, value: Any) -> Any:
        if isinstance(value, dict) and "policies" in value:
            raise ValueError("`policies` is now called `triggers`; rename it, its entries are the same")
        return value


class SetupFile(Body):
    """The whole file."""

    tenants: Annotated[tuple[TenantTerms, ...], Field(min_length=1)]


def read_setup_file(path: Path) -> SetupFile:
    """Return what a file says; ValueError says in one sentence where it is wrong."""
    value = read_yaml(path)
    if value is None:
        raise ValueError(f"{path} is empty: it must have `tenants:` and a list of them")
    try:
        setup = SetupFile.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_error(error)}") from None
    twice = _first_twice([tenant.name for tenant in setup.tenants])
    if twice is not None:
        raise ValueError(f"{path} has two entries for the tenant {twice!r}")
    for position, tenant in enumerate(setup.tenants):
        _check_names(path, tenant)
        _check_terms(f"{path}: tenants.{position}", tenant)
    return setup


def _check_names(path: Path, tenant: TenantTerms) -> None:
    for what, names in (
        ("budget", [budget.name for budget in tenant.budgets]),
        ("user", [user.user for user in tenant.users]),
        ("trigger", [str(trigger.kind) for trigger in tenant.triggers]),
        ("price", [f"{_text(price)} from {price.valid_from or 'now'} on" for price in tenant.prices]),
        ("discount", [f"{_text(each)} from {each.valid_from or 'now'} on" for each in tenant.discounts]),
        ("alias", [_text(alias) for alias in tenant.aliases]),
        ("model", [_text(model) for model in tenant.models]),
    ):
        twice = _first_twice(names)
        if twice is not None:
            raise ValueError(f"{path}: tenant {tenant.name!r} has two entries for the {what} {twice!r}")


def _text(named: ModelNameBody) -> str:
    return f"{named.provider}/{named.model}"


def price_command(terms: NamedPriceTerms, key: str, actor: str) -> SetPrice:
    """Return the command that sets a price of a file."""
    body = PriceBody.model_validate({**_without_name(terms), "idempotency_key": key})
    return set_price_command(ModelName(terms.provider, terms.model), body, actor)


def alias_command(terms: NamedAliasTerms, key: str, actor: str) -> SetAlias:
    """Return the command that sets an alias of a file."""
    body = AliasBody.model_validate({**_without_name(terms), "idempotency_key": key})
    return set_alias_command(ModelName(terms.provider, terms.model), body, actor)


def discount_command(terms: NamedDiscountTerms, key: str, actor: str) -> SetDiscount:
    """Return the command that sets a discount of a file."""
    body = DiscountBody.model_validate({**_without_name(terms), "idempotency_key": key})
    return set_discount_command(ModelName(terms.provider, terms.model), body, actor)


def model_command(terms: NamedModelTerms, key: str, actor: str) -> SetModel:
    """Return the command that says what a file knows of a model."""
    body = ModelBody.model_validate({**_without_name(terms), "idempotency_key": key})
    return set_model_command(ModelName(terms.provider, terms.model), body, actor)


def _without_name(terms: Body) -> dict[str, Any]:
    return terms.model_dump(mode="json", exclude={"provider", "model"})


def _first_twice(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _check_terms(where: str, tenant: TenantTerms) -> None:
    """Raise ValueError for parts that are valid by themselves but not together."""
    for position, user in enumerate(tenant.users):
        try:
            check_cost_centers([(each.since, each.cost_center) for each in user.cost_centers])
        except ValueError as error:
            raise ValueError(f"{where}.users.{position}.cost_centers: {error}") from None
    for position, terms in enumerate(tenant.budgets):
        with _at(f"{where}.budgets.{position}"):
            create_budget_command(BudgetBody(idempotency_key="-", **terms.model_dump()), "")
    for position, price in enumerate(tenant.prices):
        with _at(f"{where}.prices.{position}"):
            price_command(price, "-", "")
    for position, alias in enumerate(tenant.aliases):
        with _at(f"{where}.aliases.{position}"):
            alias_command(alias, "-", "")
    for position, model in enumerate(tenant.models):
        with _at(f"{where}.models.{position}"):
            model_command(model, "-", "")
    for position, discount in enumerate(tenant.discounts):
        with _at(f"{where}.discounts.{position}"):
            discount_command(discount, "-", "")


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say where in the file the problem of a part is."""
    try:
        yield
    except ProblemError as error:
        raise ValueError(f"{place}.{error.detail}") from None
