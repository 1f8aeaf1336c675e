"""Turns the bodies of administrators into commands, with who asks."""

from collections.abc import Iterable

from token_ledger.api.translate import fingerprint_of, invalid, limits_of, tags_of
from token_ledger.api.wire import ForceReleaseBody, LimitsBody, RunChangeBody
from token_ledger.api.wire_admin import (
    AmountsBody,
    ApprovalBody,
    BudgetBody,
    BudgetChangeBody,
    CalendarBody,
    GrantBody,
    KeyBody,
    RefusalBody,
    StopBody,
    TriggerBody,
    UserBody,
    UsersBody,
)  # fmt: skip
from token_ledger.core.administration import (
    ArchiveBudget,
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    CreateBudget,
    DecideIncrease,
    EraseUser,
    ForceRelease,
    GiveGrant,
    SetCalendar,
    SetTrigger,
    SetUsers,
    StopTenant,
)  # fmt: skip
from token_ledger.core.budget import Counts, Enforcement, Limits
from token_ledger.core.commands import fingerprint
from token_ledger.core.money import parse_money
from token_ledger.core.tenant import User, check_cost_centers
from token_ledger.core.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.window import CalendarRule, Window
from token_ledger.storage.tenants import check_zone


def create_budget_command(body: BudgetBody, actor: str) -> CreateBudget:
    """Return the command for a budget."""
    limits = limits_of(body.limits)
    if limits == Limits():
        raise invalid("limits", "a budget limits tokens, cost or calls")
    return CreateBudget(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        name=body.name,
        selector=tags_of(body.selector),
        limits=limits,
        window=Window(body.window),
        enforcement=Enforcement(body.enforcement),
        counts=Counts(body.counts),
        thresholds=body.thresholds,
        rollover=_rollover(body.rollover),
        actor=actor,
    )


def change_budget_command(body: BudgetChangeBody, budget_id: int, actor: str) -> ChangeBudget:
    """Return the command that changes a budget."""
    return ChangeBudget(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body) + budget_id.to_bytes(8, "big"),
        budget_id=budget_id,
        limits=None if body.limits is None else limits_of(body.limits),
        enforcement=None if body.enforcement is None else Enforcement(body.enforcement),
        thresholds=body.thresholds,
        rollover=_rollover(body.rollover),
        actor=actor,
    )


def archive_budget_command(budget_id: int, actor: str) -> ArchiveBudget:
    """Return the command that takes a budget out of use."""
    return ArchiveBudget(f"archive:{budget_id}", fingerprint(str(budget_id).encode()), budget_id, actor)


def grant_command(body: GrantBody, account_id: int, actor: str) -> GiveGrant:
    """Return the command that gives a grant."""
    return GiveGrant(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body) + account_id.to_bytes(8, "big"),
        account_id=account_id,
        amounts=_amounts(body),
        reason=body.reason,
        actor=actor,
        expires_at=body.expires_at,
    )


def ask_increase_command(body: AmountsBody, account_id: int, asked_by: str) -> AskIncrease:
    """Return the command that asks for more."""
    print_ = fingerprint_of(body) + account_id.to_bytes(8, "big")
    return AskIncrease(body.idempotency_key, print_, account_id, _amounts(body), body.reason, asked_by)


def decide_increase_command(body: ApprovalBody | RefusalBody, increase_id: int, actor: str) -> DecideIncrease:
    """Return the command that approves or refuses an increase."""
    approve = isinstance(body, ApprovalBody)
    return DecideIncrease(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body) + increase_id.to_bytes(8, "big") + bytes([approve]),
        increase_id=increase_id,
        approve=approve,
        actor=actor,
        note=body.note,
        expires_at=body.expires_at if isinstance(body, ApprovalBody) else None,
    )


def change_run_command(body: RunChangeBody, run_id: int, actor: str) -> ChangeRun:
    """Return the command that sets a run's limits anew."""
    print_ = fingerprint_of(body) + run_id.to_bytes(8, "big")
    limits = limits_of(body.limits)
    if limits == Limits() and body.iterations is None:
        raise invalid("limits", "give limits or iterations")
    return ChangeRun(body.idempotency_key, print_, run_id, limits, body.iterations, body.reason, actor)


def force_release_command(body: ForceReleaseBody, reservation_id: int, actor: str) -> ForceRelease:
    """Return the command that ends a hold."""
    print_ = fingerprint_of(body) + reservation_id.to_bytes(8, "big")
    return ForceRelease(body.idempotency_key, print_, reservation_id, body.reason, actor)


def set_users_command(body: UsersBody, actor: str) -> SetUsers:
    """Return the command that makes users known."""
    names = [user.user for user in body.users]
    if len(set(names)) != len(names):
        raise invalid("users", "each user is named once")
    users = tuple(_user(user, position) for position, user in enumerate(body.users))
    return SetUsers(body.idempotency_key, fingerprint_of(body), users, actor)


def _user(body: UserBody, position: int) -> User:
    dated = tuple((each.since, each.cost_center) for each in body.cost_centers)
    try:
        check_cost_centers(dated)
    except ValueError as error:
        raise invalid(f"users.{position}.cost_centers", str(error)) from None
    return User(body.user, dated)


def erase_user_command(body: KeyBody, user: str, actor: str) -> EraseUser:
    """Return the command that erases a user."""
    return EraseUser(body.idempotency_key, fingerprint(user.encode()), user, actor)


def set_calendar_command(body: CalendarBody, actor: str) -> SetCalendar:
    """Return the command that changes the calendar."""
    try:
        zone = check_zone(body.time_zone)
    except ValueError as error:
        raise invalid("time_zone", str(error)) from None
    rule = CalendarRule(zone, body.week_start, body.fiscal_month)
    return SetCalendar(body.idempotency_key, fingerprint_of(body), rule, actor, body.effective_from)


def stop_command(body: StopBody | KeyBody, actor: str) -> StopTenant:
    """Return the command that stops all calls, or lets them go on."""
    reason = body.reason if isinstance(body, StopBody) else None
    return StopTenant(body.idempotency_key, fingerprint_of(body) + bytes([reason is None]), reason, actor)


def _rollover(body: LimitsBody | None) -> Limits | None:
    return None if body is None or limits_of(body) == Limits() else limits_of(body)


def _amounts(body: AmountsBody) -> Limits:
    amounts = limits_of(body)
    if not any(amounts.amounts) or 0 in amounts.amounts:
        raise invalid("tokens", "give tokens, cost or calls, each more than nothing")
    return amounts


def set_trigger_command(body: TriggerBody, actor: str) -> SetTrigger:
    """Return the command for a trigger."""
    return SetTrigger(
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        kind=TriggerKind(body.kind),
        at_percent=body.at_percent,
        mode=Mode(body.mode),
        per_call_tokens=body.per_call_tokens,
        per_call_nanos=None if body.per_call_cost is None else parse_money(body.per_call_cost),
        downgrades=tuple(_downgrades(body)),
        actor=actor,
    )


def _downgrades(body: TriggerBody) -> Iterable[Downgrade]:
    for step in body.downgrades:
        yield Downgrade(
            step.provider, step.model, step.to_provider, step.to_model, step.capabilities, step.context_tokens
        )
