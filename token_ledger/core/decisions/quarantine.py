"""Decides on what can't be booked: it is kept in quarantine, once per key, until somebody has looked at it."""

from typing import Any

from token_ledger.core.batch import commands, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import KeptEvent
from token_ledger.core.model.details import details_data


def keep_unbooked(books: Books, command: commands.KeepUnbooked) -> outcomes.Quarantined:
    """Keep a report that was refused for a reason that is not in it."""
    detail = "this can't be booked, for a reason that is not in it; it is kept in quarantine for review"
    return keep(books, command, outcomes.Code.NOT_BOOKABLE, detail, content(command.report))


def quarantine(books: Books, command: commands.Quarantine) -> outcomes.Quarantined:
    """Keep an event that could not be read."""
    return keep(books, command, command.code, command.detail, command.body)


def keep(
    books: Books, command: commands.Report | commands.KeepUnbooked, code: str, detail: str, body: Any
) -> outcomes.Quarantined:
    """Put what can't be booked into quarantine under its key, so that a repetition is not kept again."""
    kept = KeptEvent(books.new_id(), command.source, command.key, code, detail, body)
    books.writes.kept.append(kept)
    books.loaded.kept[kept.quarantine_id] = kept
    books.note_key(command, "kept", kept.quarantine_id)
    return outcomes.Quarantined(kept.quarantine_id, code, detail)


_SETTLED_WITH = (
    "provider", "model", "failed", "estimated", "response_id", "original_input_tokens", "part", "tool", "service_tier",
)  # fmt: skip


def content(report: commands.Report) -> Any:
    """Return what a report says as plain data, so that it can be booked later."""
    if not isinstance(report, commands.Settle):
        return report.body
    said: dict[str, Any] = {"reservation_id": str(report.reservation_id), "usage": report.usage.by_kind}
    if report.occurred_at is not None:
        said["occurred_at"] = report.occurred_at.isoformat()
    if report.other_models:
        said["other_models"] = [
            {"provider": each.provider, "model": each.model, "usage": each.usage.by_kind,
             "service_tier": each.service_tier}
            for each in report.other_models
        ]  # fmt: skip
    if report.details is not None:
        said["measured"] = details_data(report.details)
    return said | {name: value for name in _SETTLED_WITH if (value := getattr(report, name))}
