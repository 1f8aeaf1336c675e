"""Owns the file of `token-ledger apply`: what tenants, users, budgets and policies there are to be.

The bodies are those of the API, so that a file and a request say the same in the same words.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, StrictInt, ValidationError

from token_ledger.api.wire import Body, Name
from token_ledger.api.wire_admin import BudgetTerms, TriggerTerms, UserBody


class DeclaredTenant(Body):
    """One tenant; what a list leaves out is left alone, unless it is to be pruned."""

    name: Name
    time_zone: Name = "UTC"
    week_start: Annotated[StrictInt, Field(ge=0, le=6)] = 0
    fiscal_month: Annotated[StrictInt, Field(ge=1, le=12)] = 1
    users: tuple[UserBody, ...] = ()
    budgets: tuple[BudgetTerms, ...] = ()
    policies: tuple[TriggerTerms, ...] = ()


class Declared(Body):
    """The whole file."""

    tenants: Annotated[tuple[DeclaredTenant, ...], Field(min_length=1)]


class _Loader(yaml.SafeLoader):
    """YAML without its own idea of dates: an instant is text, as in a request."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_declared(path: Path) -> Declared:
    """Read a file; ValueError says in one sentence where it is wrong."""
    try:
        value: Any = yaml.load(path.read_text(), _Loader)  # noqa: S506 - a SafeLoader with less in it
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        declared = Declared.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{path}: {where}: {first['msg']}") from None
    for tenant in declared.tenants:
        _check_names(path, tenant)
    return declared


def _check_names(path: Path, tenant: DeclaredTenant) -> None:
    for what, names in (
        ("budget", [budget.name for budget in tenant.budgets]),
        ("user", [user.user for user in tenant.users]),
        ("policy", [str(policy.kind) for policy in tenant.policies]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{path}: tenant {tenant.name!r} has two entries for the {what} {twice!r}")
