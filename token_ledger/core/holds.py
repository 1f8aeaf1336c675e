"""Decides on holds: settle, release, expire, and calls without a hold (design D1, D2, D5).

Every function checks first and changes the books only after its last check, so a refusal changes nothing.
"""

import json
from dataclasses import asdict
from datetime import datetime

from token_ledger.core.books import Books, KeptEvent
from token_ledger.core.commands import ExpireDue, Quarantine, Record, Release, Settle
from token_ledger.core.event import UsageEvent, in_time
from token_ledger.core.outcomes import (
    Code,
    Outcome,
    Quarantined,
    Recorded,
    Refused,
    Released,
    Settled,
    Swept,
)  # fmt: skip
from token_ledger.core.price import usage_cost_nanos
from token_ledger.core.reservation import CallFacts, HoldEvent, HoldState, Reservation
from token_ledger.core.usage import Usage, clamp

NO_PRICE = 0
"""The price id of an event whose model nobody knew the price of."""


def settle(books: Books, command: Settle) -> Outcome:
    """End a hold with what the call really used: more than held is an overrun, after expiry it is late."""
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return _no_reservation(command.reservation_id)
    if reservation.after(HoldEvent.SETTLE) is None:
        detail = f"the reservation is {reservation.state} already; what this settle reports is kept for review"
        body = json.dumps({"reservation_id": str(command.reservation_id), "usage": asdict(command.usage)})
        return keep(books, command, Code.RESERVATION_NOT_OPEN, detail, body)
    event = _settling_event(books, command, reservation)
    if reservation.state is HoldState.HELD:
        _end(books, reservation, HoldEvent.SETTLE, event.event_id)
    else:
        reservation.state = HoldState.SETTLED
    reservation.event_id = event.event_id
    books.book(event)
    if reservation.directive is not None:
        for advice in json.loads(reservation.directive)["advice"]:
            if advice["applied"]:
                books.writes.optimizations.append((advice["technique"], not command.failed))
    return Settled(event)


def release(books: Books, command: Release) -> Outcome:
    """Give a hold back in full, because the provider surely did not run."""
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return _no_reservation(command.reservation_id)
    if reservation.after(HoldEvent.RELEASE) is None:
        return Refused(
            Code.RESERVATION_NOT_OPEN,
            f"the reservation is {reservation.state} and can't be released",
            extra={"state": reservation.state.value},
        )
    _end(books, reservation, HoldEvent.RELEASE, books.new_id())
    books.note_key(command, "reservation", reservation.reservation_id)
    return Released(reservation)


def expire_due(books: Books) -> None:
    """Expire the holds whose time was up when the batch got its lock."""
    for reservation_id in books.loaded.due:
        reservation = books.loaded.reservations[reservation_id]
        if reservation.after(HoldEvent.EXPIRE) is not None and reservation.expires_at <= books.now:
            _end(books, reservation, HoldEvent.EXPIRE, books.new_id())


def sweep(books: Books, command: ExpireDue) -> Outcome:
    """Answer the command that exists only to make a batch, and so an expiry, happen."""
    return Swept()


def record(books: Books, command: Record) -> Outcome:
    """Book a call that had no hold, on every account that it falls on; what can't be booked is kept."""
    run = None
    if command.run_id is not None:
        run = books.loaded.runs.get(command.run_id)
        if run is None:
            return keep(books, command, Code.RUN_NOT_FOUND, f"there is no run {command.run_id}", command.body)
    occurred_at = command.occurred_at or books.now
    if not in_time(occurred_at, books.now):
        detail = f"occurred_at {occurred_at.isoformat()} is more than 35 days ago or 5 minutes ahead"
        return keep(books, command, Code.TIME_OUT_OF_RANGE, detail, command.body)
    facts = CallFacts(
        user=run.user if run else command.user or "",
        cost_center=run.cost_center if run else command.cost_center or UNASSIGNED,
        agent_type=command.agent_type,
        request_type=command.request_type,
        provider=command.provider,
        model=command.model,
        run_id=command.run_id,
        tool=command.tool,
        tags=command.tags,
    )
    usage, clamped = clamp(command.usage)
    event_id = books.new_id()
    price_id, cost = _price(books, facts, usage, occurred_at)
    event = UsageEvent(
        event_id=event_id,
        reservation_id=None,
        facts=facts,
        usage=usage,
        cost_nanos=cost,
        price_id=price_id,
        path=[account.account_id for account in books.accounts_for(facts, run)],
        occurred_at=occurred_at,
        posted_at=occurred_at,
        estimated=command.estimated,
        unpriced=price_id == NO_PRICE,
        clamped=clamped,
        failed=command.failed,
        response_id=command.response_id,
        source=command.source,
        key=command.key,
        fingerprint=command.fingerprint,
    )
    books.book(event)
    return Recorded(event)


def quarantine(books: Books, command: Quarantine) -> Outcome:
    """Keep an event that could not be read."""
    return keep(books, command, command.code, command.detail, command.body)


def keep(books: Books, command: Settle | Record | Quarantine, code: str, detail: str, body: str) -> Quarantined:
    """Put what can't be booked into quarantine, under its key, so that a repetition is kept once."""
    kept = KeptEvent(books.new_id(), command.source, command.key, code, detail, body)
    books.writes.kept.append(kept)
    books.loaded.kept[kept.quarantine_id] = kept
    books.note_key(command, "kept", kept.quarantine_id)
    return Quarantined(kept.quarantine_id, code, detail)


UNASSIGNED = "unassigned"
"""The cost center of calls that name none."""


def _settling_event(books: Books, command: Settle, reservation: Reservation) -> UsageEvent:
    facts = reservation.facts
    if command.model is not None or command.provider is not None:
        facts = facts._replace(provider=command.provider or facts.provider, model=command.model or facts.model)
    usage, clamped = clamp(command.usage)
    occurred_at = command.occurred_at or books.now
    if not reservation.created_at <= occurred_at <= books.now:
        # The clock of a caller may be off, its spend is real: the hold bounds when the call can have been.
        occurred_at = min(max(occurred_at, reservation.created_at), books.now)
    price_id, cost = _price(books, facts, usage, occurred_at)
    return UsageEvent(
        event_id=books.new_id(),
        reservation_id=reservation.reservation_id,
        facts=facts,
        usage=usage,
        cost_nanos=cost,
        price_id=price_id,
        path=reservation.path,
        occurred_at=occurred_at,
        posted_at=occurred_at,
        overrun=(
            cost > reservation.held_nanos
            or usage.total_tokens > reservation.held_tokens
            or usage.uncached_tokens > reservation.held_uncached_tokens
        ),
        late=reservation.state is HoldState.EXPIRED,
        estimated=command.estimated,
        unpriced=price_id == NO_PRICE,
        clamped=clamped,
        failed=command.failed,
        response_id=command.response_id,
        original_input_tokens=command.original_input_tokens,
        source=command.source,
        key=command.key,
        fingerprint=command.fingerprint,
    )


def _price(books: Books, facts: CallFacts, usage: Usage, at: datetime) -> tuple[int, int]:
    prices = books.prices.find(facts.provider, facts.model)
    price = prices.at(at) if prices is not None else None
    if price is None:
        return NO_PRICE, 0
    return price.price_id, usage_cost_nanos(price, usage)


def _end(books: Books, reservation: Reservation, event: HoldEvent, ended_id: int) -> None:
    state = reservation.after(event)
    assert state is not None, "the caller has checked the table"
    reservation.state = state
    reservation.ended_at = books.now
    reservation.ended_id = ended_id
    books.hold(
        [books.account(account_id) for account_id in reservation.path],
        -reservation.held_tokens,
        -reservation.held_uncached_tokens,
        -reservation.held_nanos,
        -1,
    )
    if event is not HoldEvent.SETTLE:
        books.writes.ended_reservations.append((reservation, state))


def _no_reservation(reservation_id: int) -> Refused:
    return Refused(Code.RESERVATION_NOT_FOUND, f"there is no reservation {reservation_id}", "reservation_id")
