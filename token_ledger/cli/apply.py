"""The command `apply`: compares a file with what is set up, says what it would change, and changes it.

Everything that is changed goes through the ledger like any administrator's request, so that it is in the audit log.
What the ledger would refuse is found before the first change, of any tenant, is made. Applied twice, the second time
there is nothing to do.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from token_ledger.api.translate import limits_of
from token_ledger.api.translate_admin import (
    archive_budget_command,
    create_budget_command,
    set_trigger_command,
    set_users_command,
)  # fmt: skip
from token_ledger.api.wire_admin import BudgetBody, BudgetTerms, TriggerBody, TriggerTerms, UsersBody
from token_ledger.cli.actor import actor
from token_ledger.cli.declared import Declared, DeclaredTenant
from token_ledger.cli.setup import add_noted_tenant
from token_ledger.core.administration import ChangeBudget, CreateBudget, ReplaceBudget, SetCalendar
from token_ledger.core.audit import trigger_state, user_state
from token_ledger.core.books import Books
from token_ledger.core.budget import Budget, Limits
from token_ledger.core.commands import Command
from token_ledger.core.decide import decide
from token_ledger.core.loaded import Loaded
from token_ledger.core.outcomes import Outcome, Refused
from token_ledger.core.price import PriceBook
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.core.trigger import Trigger
from token_ledger.core.window import Calendar, CalendarRule
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.limit_reads import find_users
from token_ledger.storage.periods import database_now, load_calendar
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads import find_budgets, find_triggers
from token_ledger.storage.tenants import find_tenant

_USERS = 1_000
_NO_BATCH = 1 << 40
"""A sequence number that no batch will ever have, so that what is tried out has no ids of what there is."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to be done: what it reads like, and the command that does it."""

    text: str
    command: Command


@dataclass(frozen=True, slots=True)
class State:
    """What a tenant has set up now; `number` is None of one that is yet to be made."""

    number: TenantId | None
    config: TenantConfig
    now: datetime
    users: dict[str, Any]

    @property
    def rule(self) -> CalendarRule:
        """The rule of the calendar that is in force."""
        calendar = self.config.calendar
        begun = [rule for since, rule in calendar.changes if since <= self.now]
        return begun[-1] if begun else calendar.first

    @property
    def planned(self) -> list[tuple[datetime, CalendarRule]]:
        """The rules that are to follow, and from when on."""
        return [change for change in self.config.calendar.changes if change[0] > self.now]


@asynccontextmanager
async def ledger_of(url: str) -> AsyncIterator[tuple[Database, GroupCommit]]:
    """Open a ledger for the time of a command; it works beside any running service."""
    database = Database(url, writers=1, readers=1)
    try:
        async with database.reading() as connection:
            try:
                prices = await load_price_book(connection)
            except LookupError as error:
                raise ValueError(str(error)) from None
        commits = GroupCommit(database, prices, writers=1)
        yield database, commits
        await commits.drain()
    finally:
        await database.close()


async def apply(url: str, declared: Declared, *, change: bool, prune: bool, tell: Callable[[str], None]) -> int:
    """Tell what differs from what is declared and, with `change`, set it up; return how much differs.

    Raises ValueError where the ledger refuses a change, with what it said; as a rule before anything is changed.
    """
    done = 0
    async with ledger_of(url) as (database, commits):
        plans: list[tuple[DeclaredTenant, State, list[Change]]] = []
        for tenant in declared.tenants:
            state = await _state(database, tenant)
            changes = plan(tenant, state, prune=prune)
            _try_out(tenant, state, changes)
            plans.append((tenant, state, changes))
        for tenant, state, changes in plans:
            number = state.number
            if number is None:
                tell(f"{tenant.name}: create the tenant")
                done += 1
                if change:
                    number = await _make_tenant(database, tenant)
            for text in _awaited(tenant, state):
                tell(f"{tenant.name}: {text}")
            for step in changes:
                tell(f"{tenant.name}: {step.text}")
                done += 1
                if change and number is not None:
                    _accepted(tenant, step, await commits.submit(number, step.command))
    return done


def _try_out(tenant: DeclaredTenant, state: State, changes: Sequence[Change]) -> None:
    """Raise ValueError if the ledger would refuse a change, decided as it would: on books that are thrown away."""
    nothing_priced = PriceBook({}, lambda provider, model: None)
    books = Books(state.config, nothing_priced, _NO_BATCH, state.now, Loaded())
    for step, outcome in zip(changes, decide(books, [step.command for step in changes]), strict=True):
        _accepted(tenant, step, outcome)


def _accepted(tenant: DeclaredTenant, step: Change, outcome: Outcome) -> None:
    if isinstance(outcome, Refused):
        raise ValueError(f"{tenant.name}: {step.text}: {outcome.detail}")


def plan(tenant: DeclaredTenant, state: State, *, prune: bool) -> list[Change]:
    """Return what has to be done to come from a state to what is declared, in order."""
    changes = _calendar(tenant, state)
    changed = [user for user in tenant.users if state.users.get(user.user) != _shown(user)]
    for start in range(0, len(changed), _USERS):
        users = changed[start : start + _USERS]
        body = UsersBody(idempotency_key=_key(), users=tuple(users))
        names = ", ".join(user.user for user in users[:5]) + (", …" if len(users) > 5 else "")
        changes.append(Change(f"set {len(users)} users ({names})", set_users_command(body, actor())))
    budgets = {budget.name: budget for budget in state.config.budgets}
    for terms in tenant.budgets:
        changes += _budget(terms, budgets.get(terms.name))
    if prune:
        left = budgets.keys() - {terms.name for terms in tenant.budgets}
        changes += [_archive(budgets[name]) for name in sorted(left)]
    triggers = {trigger.kind.value: trigger for trigger in state.config.triggers}
    for policy in tenant.policies:
        changes += _policy(policy, triggers.get(policy.kind))
    return changes


def _calendar(tenant: DeclaredTenant, state: State) -> list[Change]:
    """Return the change that leads to the calendar declared, unless what is planned leads there already."""
    wanted = _declared_rule(tenant)
    if wanted == (state.planned[-1][1] if state.planned else state.rule):
        return []
    text = f"change the calendar from {_rule_text(state.rule)} to {_rule_text(wanted)}, from the next windows on"
    if wanted == state.rule:
        text = f"keep the calendar {_rule_text(state.rule)}"
    if state.planned:
        text += f", in place of {_plan_text(state)}"
    return [Change(text, SetCalendar(_key(), b"", wanted, actor()))]


def _awaited(tenant: DeclaredTenant, state: State) -> list[str]:
    """Return what to tell of a calendar that is as declared only once what is planned has come."""
    if state.planned and state.planned[-1][1] == _declared_rule(tenant):
        return [f"planned for the calendar: {_plan_text(state)}"]
    return []


def _plan_text(state: State) -> str:
    return ", ".join(f"{_rule_text(rule)} from {since.isoformat()}" for since, rule in state.planned)


def _declared_rule(tenant: DeclaredTenant) -> CalendarRule:
    return CalendarRule(ZoneInfo(tenant.time_zone), tenant.week_start, tenant.fiscal_month)


def _budget(terms: BudgetTerms, before: Budget | None) -> list[Change]:
    command = create_budget_command(BudgetBody(idempotency_key=_key(), **terms.model_dump()), actor())
    if before is None:
        return [Change(f"create the budget {terms.name!r}", command)]
    after = Budget(
        before.budget_id, command.name, command.selector, command.limits, command.window, command.enforcement,
        command.counts, command.thresholds, command.rollover, before.created_at,
    )  # fmt: skip
    if after == before:
        return []
    if _is_another(before, after):
        text = f"replace the budget {terms.name!r} by another, on which nothing is spent: {_difference(before, after)}"
        return [Change(text, _replace(before, command))]
    limits = limits_of(terms.limits)
    change = ChangeBudget(
        _key(), b"", before.budget_id, limits, after.enforcement, after.thresholds, after.rollover, actor()
    )
    return [Change(f"change the budget {terms.name!r}: {_difference(before, after)}", change)]


def _is_another(before: Budget, after: Budget) -> bool:
    """Tell whether a budget can't become another: what its accounts are or count would change under them."""
    lost = any(old is not None and new is None for old, new in _pairs(before.limits, after.limits))
    return (
        (before.selector, before.window, before.counts) != (after.selector, after.window, after.counts)
        or lost
        or (before.rollover is not None and after.rollover is None)
    )


def _pairs(before: Limits, after: Limits) -> Sequence[tuple[int | None, int | None]]:
    return list(zip(before.amounts, after.amounts, strict=True))


def _difference(before: Budget, after: Budget) -> str:
    names = ("selector", "window", "counts", "limits", "enforcement", "thresholds", "rollover")
    return ", ".join(name for name in names if getattr(before, name) != getattr(after, name))


def _replace(before: Budget, command: CreateBudget) -> ReplaceBudget:
    values = {field.name: getattr(command, field.name) for field in fields(command)}
    return ReplaceBudget(**values, replaced_id=before.budget_id)


def _archive(budget: Budget) -> Change:
    return Change(f"archive the budget {budget.name!r}", archive_budget_command(budget.budget_id, actor()))


def _policy(terms: TriggerTerms, before: Trigger | None) -> list[Change]:
    command = set_trigger_command(TriggerBody(idempotency_key=_key(), **terms.model_dump()), actor())
    after = Trigger(
        0, command.kind, command.at_percent, command.mode, command.per_call_tokens, command.per_call_nanos,
        command.downgrades,
    )  # fmt: skip
    if before is not None and trigger_state(before) == trigger_state(after) and before.downgrades == after.downgrades:
        return []
    return [Change(f"set the policy {terms.kind!r}", command)]


async def _make_tenant(database: Database, tenant: DeclaredTenant) -> TenantId:
    async with database.reading() as connection:
        made = await add_noted_tenant(
            connection, tenant.name, tenant.time_zone,
            week_start=tenant.week_start, fiscal_month=tenant.fiscal_month,
        )  # fmt: skip
    if made is None:
        raise ValueError(f"{tenant.name}: somebody else has made the tenant just now; apply the file again")
    return made


async def _state(database: Database, tenant: DeclaredTenant) -> State:
    async with database.reading() as connection:
        number = await find_tenant(connection, tenant.name)
        now = await database_now(connection)
    if number is None:
        return State(None, TenantConfig(TenantId(0), 1, Calendar(_declared_rule(tenant))), now, {})
    async with database.reading(number) as connection:
        calendar, _ = await load_calendar(connection, number)
        users: dict[str, Any] = {}
        after = ""
        while page := await find_users(connection, number, after=after, limit=_USERS):
            users.update((user.user, user_state(user)) for user in page)
            after = page[-1].user
        budgets = tuple(budget for budget, archived in await find_budgets(connection, number) if not archived)
        triggers = tuple(await find_triggers(connection, number))
    return State(number, TenantConfig(number, 1, calendar, budgets, triggers), now, users)


def _shown(user: Any) -> list[dict[str, Any]]:
    return [
        {"from": each.since.isoformat() if each.since else None, "cost_center": each.cost_center}
        for each in user.cost_centers
    ]


def _rule_text(rule: CalendarRule) -> str:
    return f"{rule.zone} (week from day {rule.week_start}, year from month {rule.fiscal_month})"


def _key() -> str:
    """Return a key of its own: the same change may be needed again after another in between."""
    return f"apply:{uuid4().hex}"
