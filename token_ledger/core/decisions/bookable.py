"""Decides whether the database has room for an event and for the sums that it is a part of."""

from collections.abc import Sequence

from token_ledger.core.batch import outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.usage import LARGEST_USE


def why_unbookable(
    books: Books, event: UsageEvent, drawn_nanos: int = 0, beside: Sequence[UsageEvent] = ()
) -> tuple[outcomes.Code, str] | None:
    """Return why an event can't be booked, as a code and in words: sums would outgrow the database. None if it can be.

    Those `beside` it are booked only together with it.

    All events of the tenant add up to the largest amount at most. What has the sum of some of them, an account, a
    roll-up, a line of a report, has no more: only corrections and parts of calls are negative, and stand where the
    events stand that they take back, or lower.
    """
    tokens, nanos = event.usage.total_tokens, event.cost_nanos
    largest = max(event.usage.counts)
    if event.others:
        largest = max(largest, *(use.count for use in event.others))
    for other in beside:
        tokens, nanos = tokens + other.usage.total_tokens, nanos + other.cost_nanos
        largest = max(largest, *other.usage.counts, *(use.count for use in other.others))
    if largest > LARGEST_USE:
        detail = f"no call uses more than {LARGEST_USE} of a kind; the usage is kept in quarantine for review"
        return outcomes.Code.INVALID_REQUEST, detail
    booked = books.loaded
    if booked.booked_nanos + nanos > LARGEST_AMOUNT or booked.booked_tokens + tokens > LARGEST_AMOUNT:
        where = "all calls of the tenant"
    elif drawn_nanos + nanos > LARGEST_AMOUNT:
        where = "all calls of the hold"
    else:
        return None
    return outcomes.Code.NOT_BOOKABLE, (
        f"{where} would add up to more than the largest amount, {format_money(LARGEST_AMOUNT)} dollars or"
        f" {LARGEST_AMOUNT} tokens; the usage is kept in quarantine for review"
    )
