"""Finds the changes that lead from what a tenant has set up to what a file says, and describes each."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import new_idempotency_key
from token_ledger.cli.price_texts import alias_words, discount_words, facts_words, rates_text
from token_ledger.cli.setup_file import TenantTerms, alias_command, discount_command, model_command, price_command
from token_ledger.cli.users import set_users_commands
from token_ledger.core.batch.administration import ChangeBudget, CreateBudget, ReplaceBudget, SetCalendar
from token_ledger.core.batch.commands import Command
from token_ledger.core.model.budget import NO_LIMITS, Budget, Limits, Unit, overrides_in_books
from token_ledger.core.model.discount import Discount
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.price_terms import listed_name
from token_ledger.core.model.tenant import TenantConfig, TenantId, User, with_cost_centers
from token_ledger.core.model.trigger import Trigger
from token_ledger.core.model.window import CalendarRule
from token_ledger.wire.bodies.budgets import BudgetBody, BudgetTerms
from token_ledger.wire.bodies.prices import NamedDiscountTerms
from token_ledger.wire.bodies.triggers import TriggerBody, TriggerTerms
from token_ledger.wire.bodies.users import UserBody
from token_ledger.wire.commands.budgets import archive_budget_command, create_budget_command
from token_ledger.wire.commands.triggers import set_trigger_command

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One change: its description, and the command that makes it."""

    text: str
    command: Command


@dataclass(frozen=True, slots=True)
class TenantState:
    """What a tenant has set up now; `number` is None for a tenant that does not exist yet."""

    number: TenantId | None
    config: TenantConfig
    now: datetime
    users: dict[str, User]
    name_of: Callable[[str, str], ModelName]
    """What a model of a provider is called in the books."""
    prices: PriceBook
    """The price book as the tenant sees it."""

    @property
    def rule(self) -> CalendarRule:
        """The calendar rule that is in force."""
        calendar = self.config.calendar
        begun = [rule for since, rule in calendar.changes if since <= self.now]
        return begun[-1] if begun else calendar.first

    @property
    def planned(self) -> list[tuple[datetime, CalendarRule]]:
        """The calendar rules that follow, and from when on."""
        return [change for change in self.config.calendar.changes if change[0] > self.now]


def find_changes(tenant: TenantTerms, state: TenantState, *, prune: bool) -> list[Change]:
    """Return the changes that lead from a state to what a file says, in the order in which to make them."""
    changes = _calendar_changes(tenant, state) + _user_changes(tenant, state) + _price_changes(tenant, state)
    budgets = {budget.name: budget for budget in state.config.budgets}
    for terms in tenant.budgets:
        changes += _budget_changes(terms, budgets.get(terms.name), state)
    if prune:
        left = budgets.keys() - {terms.name for terms in tenant.budgets}
        changes += [_archive(budgets[name]) for name in sorted(left)]
    triggers = {trigger.kind.value: trigger for trigger in state.config.triggers}
    for declared in tenant.triggers:
        changes += _trigger_changes(declared, triggers.get(declared.kind))
    return changes


def planned_calendar(tenant: TenantTerms, state: TenantState) -> str | None:
    """Return what is planned for the calendar if that leads to what the file says, else None."""
    if state.planned and state.planned[-1][1] == declared_rule(tenant):
        return f"planned for the calendar: {_planned_text(state)}"
    return None


def declared_rule(tenant: TenantTerms) -> CalendarRule:
    """Return the calendar rule that a file gives a tenant."""
    return CalendarRule(ZoneInfo(tenant.time_zone), tenant.week_start, tenant.fiscal_month)


def _calendar_changes(tenant: TenantTerms, state: TenantState) -> list[Change]:
    """Return the change that leads to the declared calendar, unless it is in force or planned."""
    wanted = declared_rule(tenant)
    if wanted == (state.planned[-1][1] if state.planned else state.rule):
        return []
    text = f"change the calendar from {_rule_text(state.rule)} to {_rule_text(wanted)}, from the next windows on"
    if wanted == state.rule:
        text = f"keep the calendar {_rule_text(state.rule)}"
    if state.planned:
        text += f", in place of {_planned_text(state)}"
    return [Change(text, SetCalendar(new_idempotency_key(), b"", wanted, actor()))]


def _planned_text(state: TenantState) -> str:
    return ", ".join(f"{_rule_text(rule)} from {since.isoformat()}" for since, rule in state.planned)


def _rule_text(rule: CalendarRule) -> str:
    return f"{rule.zone} (week from day {rule.week_start}, year from month {rule.fiscal_month})"


def _user_changes(tenant: TenantTerms, state: TenantState) -> list[Change]:
    changed = [user for user in tenant.users if not _is_known(user, state.users.get(user.user))]
    changes = []
    for command in set_users_commands(changed):
        names = [user.user for user in command.users]
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
        changes.append(Change(f"set {len(names)} users ({shown})", command))
    return changes


def _price_changes(tenant: TenantTerms, state: TenantState) -> list[Change]:
    """Return the changes of prices, then those of aliases, which may stand for models that the file prices."""
    changes = []
    for price in tenant.prices:
        command = price_command(price, new_idempotency_key(), actor())
        name = ModelName(state.prices.provider_named(price.provider), price.model)
        own = state.config.price_terms.own_price_at(*name, price.valid_from or state.now)
        if command.rates != (None if own is None else own.rates):
            since = "" if price.valid_from is None else f" from {price.valid_from.isoformat()} on"
            changes.append(Change(f"set the price of {'/'.join(name)}{since}: {rates_text(command.rates)}", command))
    for alias in tenant.aliases:
        naming = alias_command(alias, new_idempotency_key(), actor())
        name = ModelName(state.prices.provider_named(alias.provider), alias.model)
        before = state.config.price_terms.alias_of(*name)
        if naming.stands_for != (None if before is None else before.stands_for):
            changes.append(Change(alias_words(name, naming.stands_for), naming))
    for model in tenant.models:
        saying = model_command(model, new_idempotency_key(), actor())
        terms = state.config.price_terms
        listed = listed_name(state.prices, terms, model.provider, model.model)
        known = None if listed is None else terms.facts_of(*listed)
        if saying.facts != (None if known is None else known.facts):
            changes.append(Change(f"{model.provider}/{model.model}: {facts_words(saying.facts)}", saying))
    for discount in tenant.discounts:
        changes += _discount_changes(discount, state)
    return changes


def _discount_changes(terms: NamedDiscountTerms, state: TenantState) -> list[Change]:
    command = discount_command(terms, new_idempotency_key(), actor())
    name = ModelName(state.prices.provider_named(terms.provider), terms.model)
    valid_from = terms.valid_from or state.now
    before = state.config.price_terms.discount_at(*name, valid_from)
    terms_before = (None, None) if before is None else (before.factor, before.valid_until)
    if (command.factor, command.valid_until) == terms_before:
        return []
    shown = discount_words(Discount(0, *name, command.factor, valid_from, command.valid_until))
    return [Change(f"set the discount {shown}", command)]


def _is_known(terms: UserBody, known: User | None) -> bool:
    given = User(terms.user, tuple((each.since, each.cost_center) for each in terms.cost_centers))
    return known is not None and with_cost_centers(known, given) == known


def _budget_changes(terms: BudgetTerms, before: Budget | None, state: TenantState) -> list[Change]:
    body = BudgetBody(idempotency_key=new_idempotency_key(), **terms.model_dump())
    command = create_budget_command(body, actor())
    if before is None:
        return [Change(f"create the budget {terms.name!r}", command)]
    # A model may have another name in the books; what was given is compared with what is given, as far as it is kept.
    before = replace(before, selector=before.given_selector, named=())
    overrides = overrides_in_books(command.selector, command.overrides, state.name_of)
    after = Budget(
        before.budget_id, command.name, command.selector, command.limits, command.window, command.enforcement,
        command.counts, command.thresholds, command.rollover, before.created_at, overrides, command.unassigned,
    )  # fmt: skip
    if after == before:
        return []
    if _must_be_replaced(before, after):
        text = f"replace the budget {terms.name!r} by another, on which nothing is spent: {_difference(before, after)}"
        return [Change(text, _replacement(before, command))]
    return [Change(f"change the budget {terms.name!r}: {_difference(before, after)}", _change_to(before, after))]


def _change_to(before: Budget, after: Budget) -> ChangeBudget:
    """Return the command that gives a budget exactly the terms of a file; its accounts keep what is spent."""
    return ChangeBudget(
        key=new_idempotency_key(),
        fingerprint=b"",
        budget_id=before.budget_id,
        limits=after.limits,
        enforcement=after.enforcement,
        thresholds=after.thresholds,
        rollover=after.rollover,
        actor=actor(),
        removed_limits=_lost(before.limits, after.limits),
        removed_rollover=_lost(before.rollover or NO_LIMITS, after.rollover or NO_LIMITS),
        overrides=after.overrides,
        unassigned=after.unassigned,
    )


def _lost(before: Limits, after: Limits) -> tuple[Unit, ...]:
    units = zip(Unit, before.amounts, after.amounts, strict=True)
    return tuple(unit for unit, old, new in units if old is not None and new is None)


def _must_be_replaced(before: Budget, after: Budget) -> bool:
    """Return whether a change would alter what the budget's accounts are or count, which is not allowed."""
    return (before.selector, before.window, before.counts) != (after.selector, after.window, after.counts)


def _difference(before: Budget, after: Budget) -> str:
    """Return which fields differ, and which limits go."""
    names = (
        "selector",
        "window",
        "counts",
        "limits",
        "enforcement",
        "thresholds",
        "rollover",
        "overrides",
        "unassigned",
    )
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    lost = {
        "limits": _lost(before.limits, after.limits),
        "rollover": _lost(before.rollover or NO_LIMITS, after.rollover or NO_LIMITS),
    }
    without = {name: f"{name} (no more {', '.join(units)})" for name, units in lost.items() if units}
    return ", ".join(without.get(name, name) for name in changed)


def _replacement(before: Budget, command: CreateBudget) -> ReplaceBudget:
    values = {field.name: getattr(command, field.name) for field in fields(command)}
    return ReplaceBudget(**values, replaced_id=before.budget_id)


def _archive(budget: Budget) -> Change:
    command = archive_budget_command(budget.budget_id, actor())
    return Change(f"archive the budget {budget.name!r}", command)


def _trigger_changes(terms: TriggerTerms, before: Trigger | None) -> list[Change]:
    body = TriggerBody(idempotency_key=new_idempotency_key(), **terms.model_dump())
    command = set_trigger_command(body, actor())
    after = Trigger(
        0, command.kind, command.at_percent, command.mode, command.per_call_tokens, command.per_call_nanos,
        command.downgrades,
    )  # fmt: skip
    if before is not None and replace(before, trigger_id=0) == after:
        return []
    return [Change(f"set the trigger {terms.kind!r}", command)]
