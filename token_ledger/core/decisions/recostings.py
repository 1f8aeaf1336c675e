"""Decides on re-costing: books what a call costs more or less by a price that was set after it.

Nothing that was booked is changed: a re-costing is an event of its own, without calls and tokens. As a correction does,
it has the facts, the instant and the accounts of the call, wherever what was on these has gone since, also when their
windows have ended; and as the call it may go above every limit. A rollover that was fixed before stays as it is.
"""

from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.decisions.derived_events import derived_event
from token_ledger.core.model.account import Account
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.plain_data import totals_data
from token_ledger.core.model.recosting import RecostableCall, Recosting, recosting_of, totals_of
from token_ledger.core.model.usage import Usage


def recost(books: Books, command: administration.Recost) -> outcomes.Recosted | outcomes.Refused:
    """Book what the calls cost more or less; those that were taken back or re-costed meanwhile are left as they are."""
    found = [each for call in command.calls if (each := _find(books, call)) is not None]
    more = sum(each.difference.nanos for _, each in found)
    if books.loaded.booked_nanos + more > LARGEST_AMOUNT:
        detail = (
            "all calls of the tenant would add up to more than the largest amount,"
            f" {format_money(LARGEST_AMOUNT)} dollars; set a lower price"
        )
        return outcomes.Refused(outcomes.Code.NOT_BOOKABLE, detail)
    touched: dict[int, Account] = {}
    booked = [_book(books, call, each, touched) for call, each in found]
    for account in touched.values():
        books.watch(account)
    after = {
        "models": [totals_data(each) for each in totals_of(each for _, each in found)],
        "recostings": {str(each.event_id): str(each.recosts) for each in booked},
        "next": command.following,
    }
    entry = books.audit(command, "calls.recost", command.target, None, after)
    books.note_key(command, "audit", entry.audit_id)
    return outcomes.Recosted(entry)


def _find(books: Books, command: administration.RecostedCall) -> tuple[RecostableCall, Recosting] | None:
    loaded = books.loaded
    ids = [event_id for event_id, _ in command.events]
    if any(event_id not in loaded.events or event_id in loaded.corrected for event_id in ids):
        return None
    events = tuple(loaded.events[event_id] for event_id in ids)
    call = RecostableCall(events, command.called, loaded.recostings.get(ids[-1], ()), command.whole_at)
    found = recosting_of(books.prices, call)
    return None if found is None else (call, found)


def _book(books: Books, call: RecostableCall, found: Recosting, touched: dict[int, Account]) -> UsageEvent:
    last, price, difference = call.last, found.price, found.difference
    is_listed = difference.is_listed and found.listed is not None and found.listed.price_id != price.price_id
    recosting = derived_event(
        books,
        last,
        usage=Usage(),
        cost_nanos=difference.nanos,
        price_id=price.price_id,
        discount_id=price.discount_id,
        list_price_id=found.listed.price_id if is_listed and found.listed is not None else None,
        list_cost_nanos=difference.list_nanos,
        calls=0,
        unpriced=False,
        recosts=last.event_id,
        others=difference.lines,
        details=None,
    )
    touched.update((account.account_id, account) for account in books.recost(recosting, last.event_id))
    return recosting
