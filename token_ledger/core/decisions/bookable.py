"""Decides whether the database has room for an event and for the sums that it is a part of."""

from collections.abc import Sequence
from datetime import datetime

from token_ledger.core.batch import outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.model.event import NEWEST, UsageEvent
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.run import Run
from token_ledger.core.model.usage import LARGEST_USE


def why_maybe_booked(books: Books, occurred_at: datetime) -> str | None:
    """Return why nobody can tell whether an imported call is booked already, None where it surely is not.

    Of months beyond retention there are sums and no keys. A call of a day in these sums may be one of them.
    """
    loaded = books.loaded
    if not loaded.summed_days or loaded.kept_since is None or occurred_at >= loaded.kept_since:
        return None
    if books.period(occurred_at)[1] not in loaded.summed_days:
        return None
    return (
        f"calls of the day of {occurred_at.isoformat()} are kept as sums only, without their keys, so this one may be"
        " booked already; the event is kept in quarantine for review"
    )


def why_not_spooled(books: Books, occurred_at: datetime, run: Run | None) -> str | None:
    """Return why a call of that age can't be booked from a spool, None where it can be.

    Nobody has spooled it before its tenant was made, or its run.
    """
    if occurred_at < books.config.created_at - NEWEST:
        why = "lies before the tenant was made"
    elif run is not None and occurred_at < run.created_at - NEWEST:
        why = "lies before its run was opened"
    else:
        return why_keys_are_gone(books, occurred_at)
    return f"occurred_at {occurred_at.isoformat()} {why}; the event is kept in quarantine for review"


def why_keys_are_gone(books: Books, occurred_at: datetime | None) -> str | None:
    """Return why a call of that instant may be booked under a key that is gone, None where its key would be known.

    Also on a day of which there are no sums: a call with a hold is booked at the instant of the hold.
    """
    kept_since = books.loaded.kept_since
    if kept_since is None or occurred_at is None or occurred_at >= kept_since:
        return None
    return (
        f"occurred_at {occurred_at.isoformat()} lies before the events that are kept, so the call may be booked already"
        " under a key that is gone; the usage is kept in quarantine for review"
    )


def why_unbookable(
    books: Books, event: UsageEvent, drawn_nanos: int = 0, beside: Sequence[UsageEvent] = ()
) -> tuple[outcomes.Code, str] | None:
    """Return why an event can't be booked, as a code and in words: sums would outgrow the database. None if it can be.

    Those `beside` it are booked only together with it.

    All events of the tenant add up to the largest amount at most. What has the sum of some of them, an account, a
    roll-up, a line of a report, has no more: corrections and parts of calls, which are negative, stand where the events
    stand that they take back, or lower. So do what bills took off, unless bills of more than all that was booked did.
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
    if abs(booked.booked_nanos + nanos) > LARGEST_AMOUNT or booked.booked_tokens + tokens > LARGEST_AMOUNT:
        where = "all calls of the tenant"
    elif drawn_nanos + nanos > LARGEST_AMOUNT:
        where = "all calls of the hold"
    else:
        return None
    return outcomes.Code.NOT_BOOKABLE, (
        f"{where} would add up to more than the largest amount, {format_money(LARGEST_AMOUNT)} dollars or"
        f" {LARGEST_AMOUNT} tokens; the usage is kept in quarantine for review"
    )
