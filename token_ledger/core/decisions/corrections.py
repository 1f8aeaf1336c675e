"""Decides on corrections: takes back what was booked, with an event of the opposite amounts for each.

A correction has the facts, the price, the instant and the accounts of what it corrects, wherever what was on these has
gone since, also when their windows have ended. So it gives room back and arms thresholds again; a rollover that was
fixed before stays as it is.
"""

from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.model.derived_event import derived_event
from token_ledger.core.model.details import opposite
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.money import format_money
from token_ledger.core.model.reservation import HoldState
from token_ledger.core.model.usage import Usage

MOST_EVENTS = 10_000
"""How many events one reversal takes back: a batch has ids for some 65,000."""


_KEY = "booked_key"
"""What refusals call the key that something was booked under."""


def reverse(books: Books, command: administration.Reverse) -> outcomes.Reversed | outcomes.Refused:
    """Take back every event that was booked under a key and not taken back before."""
    refused = _refusal(books, command)
    if refused is not None:
        return refused
    events = [event for event in _events(books, command) if event.event_id not in books.loaded.corrected]
    if not events:
        detail = "everything that was booked under this key was reversed before, under other keys"
        return outcomes.Refused(outcomes.Code.BOOKING_REVERSED, detail, _KEY)
    corrections = [correction for event in events for correction in take_back(books, event)]
    after = {
        "source": command.event_source,
        "reason": command.reason,
        "corrections": {str(each.event_id): str(each.corrects) for each in corrections},
        "calls": sum(each.calls for each in corrections),
        "tokens": sum(each.usage.total_tokens for each in corrections),
        "cost": format_money(sum(each.cost_nanos for each in corrections)),
    }
    entry = books.audit(command, "calls.reverse", command.key, None, after)
    books.note_key(command, "audit", entry.audit_id)
    return outcomes.Reversed(entry)


def _refusal(books: Books, command: administration.Reverse) -> outcomes.Refused | None:
    hold = books.loaded.reservations.get(command.reservation_id or 0)
    if hold is not None and hold.state is HoldState.HELD:
        detail = "the hold is open, so more may be booked on it; settle or release it, or force its release, before"
        return outcomes.Refused(outcomes.Code.RESERVATION_OPEN, detail, _KEY)
    if not command.events:
        detail = (
            "no call is booked under this key; check the key, and the source of a recorded event. Keys and calls of"
            " months beyond retention are no longer kept"
        )
        return outcomes.Refused(outcomes.Code.BOOKING_NOT_FOUND, detail, _KEY)
    if len(command.events) > MOST_EVENTS:
        detail = f"{len(command.events)} calls are booked under this key, and at most {MOST_EVENTS} can be reversed at"
        return outcomes.Refused(
            outcomes.Code.INVALID_REQUEST, f"{detail} once; reverse them by the keys of their settlements", _KEY
        )
    if not command.is_complete or len(_events(books, command)) < len(command.events):
        detail = (
            "some of what was booked under this key lies in months beyond retention and is no longer kept; reverse the"
            " rest by the keys of its settlements"
        )
        return outcomes.Refused(outcomes.Code.BOOKING_NOT_FOUND, detail, _KEY)
    return None


def _events(books: Books, command: administration.Reverse) -> list[UsageEvent]:
    events = books.loaded.events
    return [events[event_id] for event_id, _ in command.events if event_id in events]


def take_back(books: Books, event: UsageEvent) -> list[UsageEvent]:
    """Book the opposites of an event and of what was re-costed of it, and return them."""
    return [_take_back(books, each) for each in (event, *books.loaded.recostings_of(event.event_id))]


def _take_back(books: Books, event: UsageEvent) -> UsageEvent:
    correction = derived_event(
        event,
        books.new_id(),
        books.located(event.path, event.event_id),
        usage=Usage(*(-count for count in event.usage.counts)),
        cost_nanos=-event.cost_nanos,
        list_cost_nanos=None if event.list_cost_nanos is None else -event.list_cost_nanos,
        calls=-event.calls,
        corrects=event.event_id,
        others=tuple(use.opposite for use in event.others),
        details=opposite(event.details),
    )
    books.correct(correction, event.event_id)
    return correction
