"""Answers commands whose key was used before: from the row it led to, or with a conflict that names what differs."""

from collections.abc import Mapping
from copy import copy
from dataclasses import fields, replace
from typing import Any

from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import RowMissing, StoredKey
from token_ledger.core.batch.outcomes import Denial
from token_ledger.core.decisions.holds import why_stop
from token_ledger.core.decisions.quarantine import content, keep
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.event import UsageEvent, representable
from token_ledger.core.model.hold_cost import most_rates
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run


def stored_answer(books: Books, command: commands.Command, stored: StoredKey) -> outcomes.Outcome:
    """Return the answer to a command that was done before, with the current state of what it is about.

    Raises RowMissing if what it led to is not there.
    """
    try:
        return _answer(books, command, stored)
    except KeyError as error:
        raise RowMissing(f"the row that this key led to is not there: {stored.answer} {stored.target_id}") from error


def _answer(books: Books, command: commands.Command, stored: StoredKey) -> outcomes.Outcome:
    loaded, target_id = books.loaded, stored.target_id
    match stored.answer:
        case "reservation":
            return _hold(books, command, loaded.reservations[target_id])
        case "denial":
            return outcomes.Denied(loaded.denials[target_id], replayed=True)
        case "event":
            return _event(books, command, loaded.events[target_id])
        case "kept":
            kept = loaded.kept[target_id]
            return outcomes.Quarantined(kept.quarantine_id, kept.code, kept.detail, replayed=True)
        case "run":
            return outcomes.RunAnswer(replace(loaded.runs[target_id]), replayed=True)
        case "step":
            step = loaded.steps[target_id]
            return outcomes.StepTaken(step, replace(loaded.runs[step.run_id]), replayed=True)
        case "budget":
            return _budget(books, target_id)
        case "trigger":
            return _trigger(books, target_id)
        case "grant":
            grant = loaded.grants[target_id]
            return outcomes.GrantAnswer(replace(grant), copy(books.account(grant.account_id)), replayed=True)
        case "increase":
            return outcomes.IncreaseAnswer(replace(loaded.increases[target_id]), replayed=True)
        case "audit":
            return _change(books, command, loaded.audit[target_id])
    raise AssertionError(f"a key with the answer {stored.answer!r} has no row to answer with")


def _hold(books: Books, command: commands.Command, reservation: Reservation) -> outcomes.Outcome:
    # A copy: the next batch may end the hold before this answer is sent, and that batch may never be committed.
    reservation = replace(reservation)
    if isinstance(command, commands.Extend):
        return outcomes.Extended(reservation, why_stop(books, reservation), replayed=True)
    if isinstance(command, commands.Release | administration.ForceRelease):
        return outcomes.Released(reservation, replayed=True)
    if not reservation.lease:
        return outcomes.Granted(reservation, replayed=True)
    price, said = books.prices.entry(reservation.price_id, reservation.discount_id), reservation.announced
    if said is None:
        return outcomes.Granted(reservation, price, replayed=True)
    price, stand_in = (
        entry and (entry.served_as(said.service_tier, reservation.created_at) or entry)
        for entry in (price, books.prices.entry(said.assumed_by))
    )
    return outcomes.Granted(
        reservation, price, replayed=True, assumed_rates=most_rates(stand_in, said.max_usage)
    )  # fmt: skip


def _event(books: Books, command: commands.Command, event: UsageEvent) -> outcomes.Outcome:
    if isinstance(command, commands.Record):
        return outcomes.Recorded(event, replayed=True)
    reservation = books.loaded.reservations.get(event.reservation_id or 0)
    stop = None if reservation is None else why_stop(books, reservation)
    number = len(command.other_models) if isinstance(command, commands.Settle) else 0
    keys = commands.other_model_keys(event.event_id, number)
    others = tuple(books.loaded.events[books.loaded.keys[key].target_id] for key in keys)
    hold = None if reservation is None else replace(reservation)
    return outcomes.Settled(event, hold, stop, replayed=True, others=others)


def _budget(books: Books, budget_id: int) -> outcomes.Outcome:
    budget = books.config.budgets_by_id.get(budget_id)
    if budget is not None:
        return outcomes.BudgetAnswer(budget, replayed=True)
    return outcomes.BudgetAnswer(books.loaded.archived_budgets[budget_id], archived=True, replayed=True)


def _trigger(books: Books, trigger_id: int) -> outcomes.Outcome:
    for trigger in books.config.triggers:
        if trigger.trigger_id == trigger_id:
            return outcomes.TriggerAnswer(trigger, replayed=True)
    return outcomes.Refused(
        outcomes.Code.IDEMPOTENCY_CONFLICT,
        "the trigger that this key set was replaced since; use a new key to set it again",
        "key",
    )


def _change(books: Books, command: commands.Command, entry: AuditEntry) -> outcomes.Outcome:
    if isinstance(command, administration.StopTenant):
        return outcomes.StopAnswer(entry, books.config.stopped, replayed=True)
    if isinstance(command, administration.Reverse):
        return outcomes.Reversed(entry, replayed=True)
    if isinstance(command, administration.Recost):
        return outcomes.Recosted(entry, replayed=True)
    under_way = any(erasure.pseudonym == entry.target for erasure in books.config.erasures)
    return outcomes.Changed(entry, replayed=True, under_way=under_way)


def conflict(books: Books, command: commands.Command, stored: StoredKey) -> outcomes.Refused:
    """Return the refusal of a request under a key that was used for another request."""
    if isinstance(command, administration.Reverse):
        detail = "what was booked under this key was reversed before, for another reason; it is done, so send nothing"
        return outcomes.Refused(outcomes.Code.IDEMPOTENCY_CONFLICT, detail, "reason")
    return outcomes.Refused(
        outcomes.Code.IDEMPOTENCY_CONFLICT,
        f"the idempotency key {command.key!r} was used before for another request; use a new key for a new request",
        _differing_field(books, command, stored) or "key",
    )


def kept_conflict(books: Books, report: commands.Report, stored: StoredKey) -> outcomes.Quarantined:
    """Keep a report of spend whose key was used for another request, once for every request; it was not booked."""
    refused = conflict(books, report, stored)
    apart = commands.kept_apart(report)
    known = books.loaded.keys.get((apart.source, apart.key))
    if known is None:
        detail = f"{refused.detail}; this one is kept in quarantine for review"
        return replace(keep(books, apart, refused.code, detail, content(report)), field=refused.field)
    kept = books.loaded.kept[known.target_id]
    return outcomes.Quarantined(kept.quarantine_id, kept.code, kept.detail, replayed=True, field=refused.field)


_NOT_COMPARED = {"key", "fingerprint", "actor", "asked_by"}
"""Fields that say who asks, or under which key. Rows of the same batch carry some of them too."""


def _differing_field(books: Books, command: commands.Command, stored: StoredKey) -> str | None:
    """Return the first field of a command whose stored value differs, of those that the stored row still shows."""
    target = _stored_row(books, stored)
    if target is None:
        return None
    asked, known = _flat(command), _flat(target)
    if isinstance(target, Reservation):
        known.update(target.requested._asdict())  # not what a downgrade made of it, nor the name in the books
    if isinstance(target, Denial):
        asked.update(books.model_name(asked["provider"], asked["model"])._asdict())
    if isinstance(target, UsageEvent):
        named = target.requested if isinstance(command, commands.Record) else target.served
        if named is not None:
            known.update(named._asdict())
        if asked.get("occurred_at") is not None:  # one that could not be read has none
            asked["occurred_at"] = representable(asked["occurred_at"])
        if target.details is not None and target.details.saved is not None:
            known.update((f"usage.{kind}", count) for kind, count in target.details.saved.usage.by_kind.items())
            known["details"] = replace(target.details, saved=None)
        earlier = books.loaded.responses.get(target.response_id or "", {}).get(target.earlier_event_id or 0)
        if target.is_duplicate and earlier is not None and not earlier.clamped:
            known.update((name, value) for name, value in _flat(earlier).items() if name.startswith("usage."))
        elif target.clamped or target.is_duplicate:  # the counts that are stored are not those that were sent
            known = {name: value for name, value in known.items() if not name.startswith("usage.")}
    if isinstance(target, Run):
        known["iterations"] = target.limit_iterations  # not how many it has made
        known["parent_run_id"] = target.ancestors[-1] if target.ancestors else None
    for name, value in asked.items():
        if name not in _NOT_COMPARED and name in known and value is not None and known[name] != value:
            return name
    return None


def _stored_row(books: Books, stored: StoredKey) -> Any:
    loaded = books.loaded
    rows: dict[str, Mapping[int, Any]] = {
        "reservation": loaded.reservations,
        "denial": loaded.denials,
        "event": loaded.events,
        "run": loaded.runs,
        "step": loaded.steps,
        "grant": loaded.grants,
        "increase": loaded.increases,
        "budget": books.config.budgets_by_id,
        "trigger": {trigger.trigger_id: trigger for trigger in books.config.triggers},
    }
    return rows.get(stored.answer, {}).get(stored.target_id)


def _flat(value: Any) -> dict[str, Any]:
    """Return the fields of a value by name; facts, usage, limits and amounts are taken apart."""
    flat: dict[str, Any] = {}
    for field in fields(value):
        name, inner = field.name, getattr(value, field.name)
        if name == "facts":
            flat.update(inner._asdict())
        elif name in ("usage", "limits", "amounts") and inner is not None:
            flat.update((f"{name}.{part.name}", getattr(inner, part.name)) for part in fields(inner))
        else:
            flat[name] = inner
    return flat
