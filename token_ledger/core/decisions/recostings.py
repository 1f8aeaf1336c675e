"""Decides on re-costing: books what a call costs more or less by a price that was set after it.

Nothing that was booked is changed: a re-costing is an event of its own, without calls and tokens. As a correction does,
it has the facts, the instant and the accounts of the call, wherever what was on these has gone since, also when their
windows have ended; and as the call it may go above every limit. A rollover that was fixed before stays as it is.
"""

from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.plain_data import totals_data
from token_ledger.core.model.recosting import Basis, RecostableCall, Recosting, recosting_of, totals_of


def recost(books: Books, command: administration.Recost) -> outcomes.Recosted | outcomes.Refused:
    """Book what the calls cost more or less; those that were taken back or re-costed meanwhile are left as they are."""
    edition = books.prices.edition
    bases = {each.found.basis for each in command.calls if each.found is not None}
    current = {basis for basis in bases if edition is not None and edition == basis.edition}
    found = [(call, each) for call in command.calls if (each := _find(books, call, current)) is not None]
    more = sum(each.difference.nanos for _, each in found)
    if books.loaded.booked_nanos + more > LARGEST_AMOUNT:
        detail = (
            "all calls of the tenant would add up to more than the largest amount,"
            f" {format_money(LARGEST_AMOUNT)} dollars; set a lower price"
        )
        return outcomes.Refused(outcomes.Code.NOT_BOOKABLE, detail)
    booked = [_recosted(books, call, each) for call, each in found]
    books.recost(booked)
    after = {
        "models": [totals_data(each) for each in totals_of(each for _, each in found)],
        "recostings": {str(each.event_id): str(each.recosted.event_id) for each in booked},
        "next": command.following,
    }
    entry = books.audit(command, "calls.recost", command.target, None, after)
    books.note_key(command, "audit", entry.audit_id)
    return outcomes.Recosted(entry)


def _find(books: Books, command: administration.RecostedCall, current: set[Basis]) -> Recosting | None:
    loaded = books.loaded
    for event_id, _ in command.events:
        if event_id not in loaded.events or event_id in loaded.corrected:
            return None
    before, found = loaded.recostings_of(command.events[-1][0]), command.found
    if found is not None and found.basis in current and found.call.recostings == before:
        return found.recosting
    events = tuple(loaded.events[event_id] for event_id, _ in command.events)
    return recosting_of(books.prices, RecostableCall(events, command.called, before, command.whole_at))


def _recosted(books: Books, call: administration.RecostedCall, found: Recosting) -> RecostedEvent:
    """Return what books a re-costing: on the accounts of the call's last event, wherever what was on them has gone."""
    event_id, booked_at = call.events[-1]
    last, price, listed, difference = books.loaded.events[event_id], found.price, found.listed, found.difference
    is_listed = difference.is_listed and listed is not None and listed.price_id != price.price_id
    return RecostedEvent(
        books.new_id(), last, booked_at, books.located(last.path, event_id), difference.nanos, price.price_id,
        price.discount_id, listed.price_id if is_listed and listed is not None else None, difference.list_nanos,
        difference.lines,
    )  # fmt: skip
