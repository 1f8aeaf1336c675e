"""The command `apply`: compares a file with what is set up, says what it would change, and changes it.

Everything that is changed goes through the ledger like any administrator's request, so that it is in the audit log.
Applied twice, the second time there is nothing to do.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from token_ledger.cli.declared import Declared, DeclaredTenant
from token_ledger.core.administration import ChangeBudget, SetCalendar
from token_ledger.core.audit import trigger_state, user_state
from token_ledger.core.budget import Budget, Limits
from token_ledger.core.commands import Command
from token_ledger.core.outcomes import Refused
from token_ledger.core.tenant import TenantId
from token_ledger.core.trigger import Trigger
from token_ledger.core.window import CalendarRule
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.audit import note_change
from token_ledger.storage.database import Database
from token_ledger.storage.limit_reads import find_users
from token_ledger.storage.periods import database_now, load_calendar
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads import find_budgets, find_triggers
from token_ledger.storage.tenants import add_tenant, check_zone, find_tenant

ACTOR = "cli:apply"
_USERS = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to be done: what it reads like, and the command that does it."""

    text: str
    command: Command


@dataclass(slots=True)
class State:
    """What a tenant has set up now."""

    rule: CalendarRule
    """In force."""
    planned: list[tuple[datetime, CalendarRule]]
    users: dict[str, Any]
    budgets: dict[str, Budget]
    triggers: dict[str, Trigger]


@asynccontextmanager
async def ledger_of(url: str) -> AsyncIterator[tuple[Database, GroupCommit]]:
    """Open a ledger for the time of a command; it works beside any running service."""
    database = Database(url, writers=1, readers=1)
    try:
        async with database.reading() as connection:
            prices = await load_price_book(connection)
        commits = GroupCommit(database, prices, writers=1)
        yield database, commits
        await commits.drain()
    finally:
        await database.close()


async def apply(url: str, declared: Declared, *, change: bool, prune: bool, tell: Callable[[str], None]) -> int:
    """Tell what differs from what is declared and, with `change`, set it up; return how much differs.

    Raises ValueError where the ledger refuses a change, with what it said.
    """
    done = 0
    async with ledger_of(url) as (database, commits):
        for tenant in declared.tenants:
            check_zone(tenant.time_zone)
            number, is_new = await _tenant(database, tenant, change=change, tell=tell)
            done += is_new
            state = _nothing(tenant) if number is None else await _state(database, number)
            for text in _awaited(tenant, state):
                tell(f"{tenant.name}: {text}")
            for step in plan(tenant, state, prune=prune):
                tell(f"{tenant.name}: {step.text}")
                done += 1
                if change and number is not None:
                    outcome = await commits.submit(number, step.command)
                    if isinstance(outcome, Refused):
                        raise ValueError(f"{tenant.name}: {step.text}: {outcome.detail}")
    return done


def plan(tenant: DeclaredTenant, state: State, *, prune: bool) -> list[Change]:
    """Return what has to be done to come from a state to what is declared, in order."""
    changes = _calendar(tenant, state)
    changed = [user for user in tenant.users if state.users.get(user.user) != _shown(user)]
    for start in range(0, len(changed), _USERS):
        users = changed[start : start + _USERS]
        body = UsersBody(idempotency_key=_key(), users=tuple(users))
        names = ", ".join(user.user for user in users[:5]) + (", …" if len(users) > 5 else "")
        changes.append(Change(f"set {len(users)} users ({names})", set_users_command(body, ACTOR)))
    for terms in tenant.budgets:
        changes += _budget(terms, state.budgets.get(terms.name))
    if prune:
        left = state.budgets.keys() - {terms.name for terms in tenant.budgets}
        changes += [_archive(state.budgets[name]) for name in sorted(left)]
    for policy in tenant.policies:
        changes += _policy(policy, state.triggers.get(policy.kind))
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
    return [Change(text, SetCalendar(_key(), b"", wanted, ACTOR))]


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
    command = create_budget_command(BudgetBody(idempotency_key=_key(), **terms.model_dump()), ACTOR)
    if before is None:
        return [Change(f"create the budget {terms.name!r}", command)]
    after = Budget(
        before.budget_id, command.name, command.selector, command.limits, command.window, command.enforcement,
        command.counts, command.thresholds, command.rollover, before.created_at,
    )  # fmt: skip
    if after == before:
        return []
    if _is_another(before, after):
        return [_archive(before), Change(f"create the budget {terms.name!r} anew", command)]
    limits = limits_of(terms.limits)
    change = ChangeBudget(
        _key(), b"", before.budget_id, limits, after.enforcement, after.thresholds, after.rollover, ACTOR
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
    names = ("limits", "enforcement", "thresholds", "rollover")
    return ", ".join(name for name in names if getattr(before, name) != getattr(after, name))


def _archive(budget: Budget) -> Change:
    return Change(f"archive the budget {budget.name!r}", archive_budget_command(budget.budget_id, ACTOR))


def _policy(terms: TriggerTerms, before: Trigger | None) -> list[Change]:
    command = set_trigger_command(TriggerBody(idempotency_key=_key(), **terms.model_dump()), ACTOR)
    after = Trigger(
        0, command.kind, command.at_percent, command.mode, command.per_call_tokens, command.per_call_nanos,
        command.downgrades,
    )  # fmt: skip
    if before is not None and trigger_state(before) == trigger_state(after) and before.downgrades == after.downgrades:
        return []
    return [Change(f"set the policy {terms.kind!r}", command)]


async def _tenant(
    database: Database, tenant: DeclaredTenant, *, change: bool, tell: Callable[[str], None]
) -> tuple[TenantId | None, bool]:
    async with database.reading() as connection:
        number = await find_tenant(connection, tenant.name)
        if number is not None:
            return number, False
        tell(f"{tenant.name}: create the tenant")
        if not change:
            return None, True
        made = await add_tenant(
            connection, tenant.name, tenant.time_zone,
            week_start=tenant.week_start, fiscal_month=tenant.fiscal_month,
        )  # fmt: skip
        assert made is not None, "it was not there a moment ago"
        await note_change(connection, made, ACTOR, "tenant.create", str(made), after={"name": tenant.name})
        return made, True


async def _state(database: Database, tenant: TenantId) -> State:
    async with database.reading(tenant) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        now = await database_now(connection)
        users: dict[str, Any] = {}
        after = ""
        while page := await find_users(connection, tenant, after=after, limit=_USERS):
            users.update((user.user, user_state(user)) for user in page)
            after = page[-1].user
        budgets = {budget.name: budget for budget, archived in await find_budgets(connection, tenant) if not archived}
        triggers = {trigger.kind.value: trigger for trigger in await find_triggers(connection, tenant)}
    planned = [change for change in calendar.changes if change[0] > now]
    begun = calendar.changes[: len(calendar.changes) - len(planned)]
    return State(begun[-1][1] if begun else calendar.first, planned, users, budgets, triggers)


def _nothing(tenant: DeclaredTenant) -> State:
    return State(_declared_rule(tenant), [], {}, {}, {})


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
