"""Decides a batch: expires what is due, then every command in order, each idempotent under its key (design D9, D10)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any

from token_ledger.core import admission, holds, limits, runs, setup, tenancy
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
    ReplaceBudget,
    SetCalendar,
    SetTrigger,
    SetUsers,
    StopTenant,
)  # fmt: skip
from token_ledger.core.audit import AuditEntry
from token_ledger.core.books import Books
from token_ledger.core.commands import (
    Command,
    EndRun,
    ExpireDue,
    Extend,
    OpenLease,
    OpenRun,
    Preflight,
    Quarantine,
    Rebalance,
    Record,
    Release,
    Reserve,
    Settle,
    TakeStep,
    TendAccounts,
)  # fmt: skip
from token_ledger.core.event import UsageEvent
from token_ledger.core.loaded import StoredKey
from token_ledger.core.outcomes import (
    BudgetAnswer,
    Changed,
    Code,
    Denied,
    Extended,
    GrantAnswer,
    Granted,
    IncreaseAnswer,
    Outcome,
    Quarantined,
    Recorded,
    Refused,
    Released,
    RunAnswer,
    Settled,
    StepTaken,
    StopAnswer,
    TriggerAnswer,
)  # fmt: skip
from token_ledger.core.reservation import Reservation
from token_ledger.core.run import Run

_DECISIONS: dict[type[Command], Callable[[Books, Any], Outcome]] = {
    Reserve: admission.reserve,
    OpenLease: admission.reserve,
    Preflight: admission.preflight,
    Settle: holds.settle,
    Extend: holds.extend,
    Release: holds.release,
    ForceRelease: holds.force_release,
    Record: holds.record,
    Quarantine: holds.quarantine,
    ExpireDue: holds.sweep,
    OpenRun: runs.open_run,
    EndRun: runs.end_run,
    TakeStep: runs.take_step,
    Rebalance: runs.rebalance,
    ChangeRun: runs.change_run,
    CreateBudget: setup.create_budget,
    ChangeBudget: setup.change_budget,
    ReplaceBudget: setup.replace_budget,
    ArchiveBudget: setup.archive_budget,
    SetTrigger: setup.set_trigger,
    GiveGrant: limits.give_grant,
    AskIncrease: limits.ask_increase,
    DecideIncrease: limits.decide_increase,
    TendAccounts: limits.tend_accounts,
    SetUsers: tenancy.set_users,
    EraseUser: tenancy.erase_user,
    SetCalendar: tenancy.set_calendar,
    StopTenant: tenancy.stop_tenant,
}


def decide(books: Books, commands: Sequence[Command]) -> list[Outcome]:
    """Return one outcome per command, in order; what they change is in `books.writes`."""
    holds.expire_due(books)
    limits.bring_up_to_date(books)
    outcomes = []
    stored_keys = books.loaded.keys
    for command in commands:
        stored = stored_keys.get((command.source, command.key)) if command.key else None
        if stored is None:
            outcomes.append(_DECISIONS[type(command)](books, command))
        elif stored.fingerprint == command.fingerprint:
            outcomes.append(_replay(books, command, stored))
        else:
            outcomes.append(_conflict(books, command, stored))
    return outcomes


def _replay(books: Books, command: Command, stored: StoredKey) -> Outcome:
    loaded, target_id = books.loaded, stored.target_id
    match stored.answer:
        case "reservation":
            return _replayed_hold(books, command, loaded.reservations[target_id])
        case "denial":
            return Denied(loaded.denials[target_id], replayed=True)
        case "event":
            return _replayed_event(books, command, loaded.events[target_id])
        case "kept":
            kept = loaded.kept[target_id]
            return Quarantined(kept.quarantine_id, kept.code, kept.detail, replayed=True)
        case "run":
            return RunAnswer(replace(loaded.runs[target_id]), replayed=True)
        case "step":
            step = loaded.steps[target_id]
            return StepTaken(step, replace(loaded.runs[step.run_id]), replayed=True)
        case "budget":
            return _replayed_budget(books, target_id)
        case "trigger":
            return _replayed_trigger(books, target_id)
        case "grant":
            grant = loaded.grants[target_id]
            return GrantAnswer(replace(grant), books.account(grant.account_id), replayed=True)
        case "increase":
            return IncreaseAnswer(replace(loaded.increases[target_id]), replayed=True)
        case "audit":
            return _replayed_change(books, command, loaded.audit[target_id])
    raise AssertionError(f"a key with the answer {stored.answer!r} has no row to answer with")


def _replayed_hold(books: Books, command: Command, reservation: Reservation) -> Outcome:
    # A copy: the next batch may end the hold before this answer is out, and without being committed.
    reservation = replace(reservation)
    if isinstance(command, Extend):
        return Extended(reservation, holds.why_stop(books, reservation), replayed=True)
    if isinstance(command, Release | ForceRelease):
        return Released(reservation, replayed=True)
    price = None
    if reservation.lease:
        price = books.prices.find_entry(reservation.facts.provider, reservation.facts.model, reservation.price_id)
    return Granted(reservation, price, replayed=True)


def _replayed_event(books: Books, command: Command, event: UsageEvent) -> Outcome:
    if isinstance(command, Record):
        return Recorded(event, replayed=True)
    reservation = books.loaded.reservations.get(event.reservation_id or 0)
    stop = None if reservation is None else holds.why_stop(books, reservation)
    return Settled(event, None if reservation is None else replace(reservation), stop, replayed=True)


def _replayed_budget(books: Books, budget_id: int) -> Outcome:
    for budget in books.config.budgets:
        if budget.budget_id == budget_id:
            return BudgetAnswer(budget, replayed=True)
    return BudgetAnswer(books.loaded.archived_budgets[budget_id], archived=True, replayed=True)


def _replayed_trigger(books: Books, trigger_id: int) -> Outcome:
    for trigger in books.config.triggers:
        if trigger.trigger_id == trigger_id:
            return TriggerAnswer(trigger, replayed=True)
    return Refused(
        Code.IDEMPOTENCY_CONFLICT,
        "the trigger that this key set was replaced since; use a new key to set it again",
        "idempotency_key",
    )


def _replayed_change(books: Books, command: Command, entry: AuditEntry) -> Outcome:
    if isinstance(command, StopTenant):
        return StopAnswer(entry, books.config.stopped, replayed=True)
    return Changed(entry, replayed=True)


def _conflict(books: Books, command: Command, stored: StoredKey) -> Refused:
    field = _differing_field(books, command, stored)
    at = f"the request differs in {field}" if field else "the request differs"
    return Refused(
        Code.IDEMPOTENCY_CONFLICT,
        f"the idempotency key {command.key!r} was used before and {at}; use a new key for a new request",
        field or "idempotency_key",
    )


def _differing_field(books: Books, command: Command, stored: StoredKey) -> str | None:
    """Return the first request field whose stored value differs, among those that the stored row still shows."""
    loaded = books.loaded
    rows: dict[str, Mapping[int, Any]] = {
        "reservation": loaded.reservations,
        "denial": loaded.denials,
        "event": loaded.events,
        "run": loaded.runs,
        "step": loaded.steps,
        "grant": loaded.grants,
        "increase": loaded.increases,
        "budget": {budget.budget_id: budget for budget in books.config.budgets},
        "trigger": {trigger.trigger_id: trigger for trigger in books.config.triggers},
    }
    target = rows.get(stored.answer, {}).get(stored.target_id)
    if target is None:
        return None
    asked, known = _flat(command), _flat(target)
    if "requested_model" in known:
        # What was asked for, not what a downgrade made of it; the provider may have changed with the model.
        known["model"] = known.pop("requested_model")
        if known["directive"] is not None:
            known.pop("provider")
    if isinstance(target, UsageEvent):
        # What was cut to what can be is not what was sent: a settle's time, and parts larger than their whole.
        cut = {"occurred_at"} if target.reservation_id is not None else set()
        cut.update(name for name in known if name.startswith("usage.") and target.clamped)
        known = {name: value for name, value in known.items() if name not in cut}
    if isinstance(target, Run):
        known["iterations"] = known.pop("limit_iterations")  # a run shows how many it has made, too
        known["parent_run_id"] = target.ancestors[-1] if target.ancestors else None
    for name, value in asked.items():
        if name in ("source", "key", "fingerprint", "actor", "asked_by"):
            continue  # not of the body, or what differs only as a whole; rows of this batch carry them too
        if name in known and value is not None and known[name] != value:
            return _NAMES_ON_THE_WIRE.get(name, name)
    return None


_NAMES_ON_THE_WIRE = {
    "limits.nanos": "limits.cost", "nanos": "cost", "per_call_nanos": "per_call_cost", "failed": "outcome",
}  # fmt: skip


def _flat(value: Any) -> dict[str, Any]:
    assert is_dataclass(value)
    assert not isinstance(value, type)
    flat: dict[str, Any] = {}
    for name, inner in asdict(value).items():
        if name == "facts":
            flat.update(inner._asdict())
        elif isinstance(inner, dict) and name == "usage":
            flat.update({f"usage.{kind}": count for kind, count in inner.items()})
        elif isinstance(inner, dict) and name == "limits":
            flat.update({f"limits.{unit}": amount for unit, amount in inner.items()})
        elif isinstance(inner, dict) and name == "amounts":
            flat.update(inner)
        else:
            flat[name] = inner
    return flat
