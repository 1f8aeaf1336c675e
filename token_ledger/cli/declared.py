"""Owns the file of `token-ledger apply`: what tenants, users, budgets and policies there are to be.

The bodies are those of the API, so that a file and a request say the same in the same words. Whatever a file alone
can have wrong is found here, before anything is looked up or changed.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, StrictInt, ValidationError

from token_ledger.api.problems import ProblemError
from token_ledger.api.translate_admin import create_budget_command
from token_ledger.api.wire import Body, Name
from token_ledger.api.wire_admin import BudgetBody, BudgetTerms, TriggerTerms, UserBody
from token_ledger.cli.complaints import first_complaint
from token_ledger.core.tenant import check_cost_centers
from token_ledger.storage.tenants import check_zone


def _is_zone(name: str) -> str:
    check_zone(name)
    return name


class DeclaredTenant(Body):
    """One tenant; what a list leaves out is left alone, unless it is to be pruned."""

    name: Name
    time_zone: Annotated[Name, AfterValidator(_is_zone)] = "UTC"
    week_start: Annotated[StrictInt, Field(ge=0, le=6)] = 0
    fiscal_month: Annotated[StrictInt, Field(ge=1, le=12)] = 1
    users: tuple[UserBody, ...] = ()
    budgets: tuple[BudgetTerms, ...] = ()
    policies: tuple[TriggerTerms, ...] = ()


class Declared(Body):
    """The whole file."""

    tenants: Annotated[tuple[DeclaredTenant, ...], Field(min_length=1)]


class _Loader(yaml.SafeLoader):
    """YAML without its own idea of dates (an instant is text, as in a request), and without a key that stands twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_declared(path: Path) -> Declared:
    """Read a file; ValueError says in one sentence where it is wrong."""
    try:
        with path.open("rb") as file:
            value: Any = yaml.load(file, _Loader)  # noqa: S506 - a SafeLoader with less in it
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if value is None:
        raise ValueError(f"{path} says nothing: it begins with `tenants:`, and a list of them follows")
    try:
        declared = Declared.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_complaint(error)}") from None
    twice = _first_twice([tenant.name for tenant in declared.tenants])
    if twice is not None:
        raise ValueError(f"{path} has two entries for the tenant {twice!r}")
    for position, tenant in enumerate(declared.tenants):
        _check_names(path, tenant)
        _check_terms(f"{path}: tenants.{position}", tenant)
    return declared


def _check_names(path: Path, tenant: DeclaredTenant) -> None:
    for what, names in (
        ("budget", [budget.name for budget in tenant.budgets]),
        ("user", [user.user for user in tenant.users]),
        ("policy", [str(policy.kind) for policy in tenant.policies]),
    ):
        twice = _first_twice(names)
        if twice is not None:
            raise ValueError(f"{path}: tenant {tenant.name!r} has two entries for the {what} {twice!r}")


def _first_twice(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _check_terms(where: str, tenant: DeclaredTenant) -> None:
    """Raise ValueError for parts that are right, each for itself, and do not go together."""
    for position, user in enumerate(tenant.users):
        try:
            check_cost_centers([(each.since, each.cost_center) for each in user.cost_centers])
        except ValueError as error:
            raise ValueError(f"{where}.users.{position}.cost_centers: {error}") from None
    for position, terms in enumerate(tenant.budgets):
        try:
            create_budget_command(BudgetBody(idempotency_key="-", **terms.model_dump()), "")
        except ProblemError as error:
            raise ValueError(f"{where}.budgets.{position}.{error.detail}") from None
