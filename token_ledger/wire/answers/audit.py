"""Answers from the audit log: one change, or the list of them."""

from typing import Annotated, Any

from typing_extensions import TypedDict

from token_ledger.core.batch import outcomes
from token_ledger.core.model.audit import AuditEntry
from token_ledger.storage.reads.audit import BookedAuditEntry
from token_ledger.wire.fields import InstantText, Replayed, answer, doc, example_of, instant

_BEFORE = {"time_zone": "UTC", "week_start": 0, "fiscal_month": 1}
_AFTER = {**_BEFORE, "time_zone": "Europe/Berlin", "effective_from": "2027-01-01T00:00:00+00:00"}


@answer
class AuditEntryFields(TypedDict):
    """What an entry of the audit log says: who changed what."""

    audit_id: Annotated[str, doc("The entry in the audit log.", "68878336")]
    actor: Annotated[
        str, doc("Who changed it: `key:`, `token:`, `person:` or `operator:` and an id.", "key:1kQ8vR2mZx0a")
    ]
    action: Annotated[str, doc("What was done.", "calendar.set")]
    target: Annotated[str, doc("What it was done to.", "calendar")]
    before: Annotated[Any, doc("What was changed, as it was before; null if it is new.", _BEFORE)]
    after: Annotated[Any, doc("What was changed, as it is now; null if it is gone.", _AFTER)]


def _entry(entry: AuditEntry) -> AuditEntryFields:
    return {
        "audit_id": str(entry.audit_id),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
    }


@answer
class ChangeAnswer(AuditEntryFields):
    """A change of the tenant's set-up, as the audit log has it."""

    replayed: Replayed


def change_answer(outcome: outcomes.Changed) -> ChangeAnswer:
    """Return a change of the set-up."""
    return {**_entry(outcome.entry), "replayed": outcome.replayed}


@answer
class ErasureAnswer(ChangeAnswer):
    """The erasure of a user. `target` is the pseudonym that replaces the name."""

    under_way: Annotated[bool, doc("True while rows are still being renamed.", True)]


def erasure_answer(outcome: outcomes.Changed) -> ErasureAnswer:
    """Return the erasure of a user."""
    return {**change_answer(outcome), "under_way": outcome.under_way}


@answer
class StopAnswer(ChangeAnswer):
    """A stop or the end of one."""

    stopped: Annotated[
        str | None, doc("Why calls are stopped now; null if they are not.", "runaway agent in team core")
    ]


def stop_answer(outcome: outcomes.StopAnswer) -> StopAnswer:
    """Return a stop or the end of one."""
    return {**_entry(outcome.entry), "replayed": outcome.replayed, "stopped": outcome.stopped}


@answer
class AuditEntryAnswer(AuditEntryFields):
    """An entry of the audit log."""

    booked_at: Annotated[InstantText, doc("When it was changed.", "2026-11-21T09:30:00+00:00")]


@answer
class AuditLog(TypedDict):
    """Entries of the audit log."""

    audit: Annotated[
        list[AuditEntryAnswer], doc("Entries, in the order of the changes.", [example_of(AuditEntryAnswer)])
    ]


def audit_entry_answer(booked: BookedAuditEntry) -> AuditEntryAnswer:
    """Return an entry of the audit log."""
    return {**_entry(booked.entry), "booked_at": instant(booked.booked_at)}
