"""Decides what becomes of a call that is imported again with another usage, because it was unfinished before.

Logs are read while they are written, so a reading may have met a call before its last line. A later one that has more
takes its place: what the earlier one booked is taken back, as every correction does it, and the call is booked as if
only this reading had been imported. One that has less says nothing new. Each reading has a key of its own, so the same
one again is known. Anything else under the key is a contradiction.
"""

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Record, Report, later_readings
from token_ledger.core.batch.loaded import StoredKey
from token_ledger.core.batch.outcomes import Outcome, Recorded
from token_ledger.core.decisions.holds import record
from token_ledger.core.decisions.repeated_keys import stored_answer
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.usage import Usage, clamp


def read_again(books: Books, report: Report, stored: StoredKey) -> Outcome | None:
    """Return what another reading of an imported call comes to; None if the report is none, so contradicts its key."""
    if not isinstance(report, Record) or not report.may_grow:
        return None
    later = later_readings(report)
    known = [stored, *(found for each in later if (found := books.loaded.keys.get((each.source, each.key))))]
    same = next((each for each in known if each.fingerprint == report.fingerprint), None)
    if same is not None:
        return stored_answer(books, report, same)
    newest = next((each for each in reversed(known) if each.answer == "event"), None)
    event = None if newest is None else books.loaded.events.get(newest.target_id)
    if event is None or not _is_of(books, report, event):
        return None
    read = event
    if event.is_duplicate:
        read = books.loaded.responses.get(event.response_id or "", {}).get(event.earlier_event_id or 0, event)
    if _progress(clamp(report.usage)[0], report.estimated) <= _progress(read.usage, read.estimated):
        return Recorded(event, replayed=True)
    if len(known) > len(later):
        return None
    return record(books, later[len(known) - 1], event)


def _is_of(books: Books, report: Record, event: UsageEvent) -> bool:
    """Tell whether a report can take the place of an event: that was imported for the same user, and stands."""
    stands = event.event_id not in books.loaded.corrected
    return stands and event.counts_since is not None and event.facts.user == report.user


def _progress(usage: Usage, estimated: bool) -> tuple[int, bool, int]:
    """Return how far a call had come when it was read: output grows, at the end it is known that it is all."""
    return usage.output_tokens, not estimated, usage.total_tokens
