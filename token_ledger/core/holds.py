"""Decides on holds: settle, draw, extend, release, expire, and calls without a hold (design D1, D2, D5, D8).

Every function checks first and changes the books only after its last check, so a refusal changes nothing.
"""

import json
from dataclasses import asdict, replace
from datetime import datetime

from token_ledger.core.administration import ForceRelease
from token_ledger.core.audit import limits_state
from token_ledger.core.books import Books
from token_ledger.core.budget import Limits
from token_ledger.core.commands import ExpireDue, Extend, Quarantine, Record, Release, Settle
from token_ledger.core.event import UsageEvent, in_time
from token_ledger.core.facts import call_facts
from token_ledger.core.loaded import KeptEvent
from token_ledger.core.outcomes import (
    Code,
    Extended,
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
from token_ledger.core.run import RunState
from token_ledger.core.usage import Usage, clamp

NO_PRICE = 0
"""The price id of an event whose model nobody knew the price of."""


def settle(books: Books, command: Settle) -> Outcome:
    """Book what a call really used: more than held is an overrun, after expiry it is late.

    A part leaves the hold as it is, less what was used; anything else ends it.
    """
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return _no_reservation(command.reservation_id)
    if reservation.after(HoldEvent.DRAW if command.part else HoldEvent.SETTLE) is None:
        detail = f"the reservation is {reservation.state} already; what this settle reports is kept for review"
        body = json.dumps({"reservation_id": str(command.reservation_id), "usage": asdict(command.usage)})
        return keep(books, command, Code.RESERVATION_NOT_OPEN, detail, body)
    event = _settling_event(books, command, reservation)
    if command.part:
        _draw(books, reservation, event)
    else:
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
    return Settled(event, replace(reservation) if command.part else reservation, why_stop(books, reservation))


def why_stop(books: Books, reservation: Reservation) -> str | None:
    """Return why the holder of a hold should make no further call, or None."""
    if books.config.stopped is not None:
        return "tenant_stopped"
    run_id = reservation.facts.run_id
    run = None if run_id is None else books.loaded.runs.get(run_id)
    if run is not None:
        for each in (*run.ancestors, run.run_id):
            known = books.loaded.runs.get(each)
            if known is not None and known.state is not RunState.OPEN:
                return f"run_{known.state}"
    if reservation.lease and reservation.state is HoldState.EXPIRED:
        return "lease_expired"
    return None


def extend(books: Books, command: Extend) -> Outcome:
    """Let a hold expire later; a lease no later than its first hard window ends."""
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return _no_reservation(command.reservation_id)
    if reservation.after(HoldEvent.EXTEND) is None:
        return _not_open(reservation, "extended")
    until = books.expiry(command.ttl_seconds)
    if reservation.lease:
        until = books.lease_end(map(books.account, reservation.path), until)
    if until > reservation.expires_at:
        reservation.expires_at = until
        reservation.changes += 1
        books.writes.changed_reservations[reservation.reservation_id] = reservation
    books.note_key(command, "reservation", reservation.reservation_id)
    return Extended(replace(reservation), why_stop(books, reservation))


def force_release(books: Books, command: ForceRelease) -> Outcome:
    """End a hold as its expiry would, because its client is believed dead."""
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return _no_reservation(command.reservation_id)
    if reservation.after(HoldEvent.FORCE) is None:
        return _not_open(reservation, "released")
    tokens, _, nanos, calls = reservation.remaining
    _end(books, reservation, HoldEvent.FORCE, books.new_id())
    target = str(reservation.reservation_id)
    after = {"state": reservation.state.value, "reason": command.reason}
    before = {"state": "held", "held": limits_state(Limits(tokens, nanos, calls))}
    books.audit(command, "reservation.force_release", target, before, after)
    books.note_key(command, "reservation", reservation.reservation_id)
    return Released(replace(reservation))


def release(books: Books, command: Release) -> Outcome:
    """Give a hold back in full, because the provider surely did not run."""
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return _no_reservation(command.reservation_id)
    if reservation.after(HoldEvent.RELEASE) is None:
        return _not_open(reservation, "released")
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
    facts = call_facts(command, run, books.loaded.users, books.now)
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


def _settling_event(books: Books, command: Settle, reservation: Reservation) -> UsageEvent:
    facts = reservation.facts
    if command.model is not None or command.provider is not None:
        facts = facts._replace(provider=command.provider or facts.provider, model=command.model or facts.model)
    if command.tool is not None:
        facts = facts._replace(tool=command.tool)
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
            reservation.drawn_nanos + cost > reservation.held_nanos
            or reservation.drawn_tokens + usage.total_tokens > reservation.held_tokens
            or reservation.drawn_uncached_tokens + usage.uncached_tokens > reservation.held_uncached_tokens
            or reservation.drawn_calls >= reservation.held_calls
        ),
        late=reservation.state is HoldState.EXPIRED,
        estimated=command.estimated,
        unpriced=price_id == NO_PRICE,
        clamped=clamped,
        failed=command.failed,
        response_id=command.response_id,
        original_input_tokens=command.original_input_tokens,
        calls=0 if command.part and not reservation.lease else 1,
        part=command.part,
        source=command.source,
        key=command.key,
        fingerprint=command.fingerprint,
    )


def _draw(books: Books, reservation: Reservation, event: UsageEvent) -> None:
    before = reservation.remaining
    reservation.drawn_tokens += event.usage.total_tokens
    reservation.drawn_uncached_tokens += event.usage.uncached_tokens
    reservation.drawn_nanos += event.cost_nanos
    reservation.drawn_calls += event.calls
    reservation.changes += 1
    books.writes.changed_reservations[reservation.reservation_id] = reservation
    if reservation.state is HoldState.HELD:
        accounts = [books.account(account_id) for account_id in reservation.path]
        tokens, uncached, nanos, calls = (left - held for held, left in zip(before, reservation.remaining, strict=True))
        books.hold(accounts, tokens, uncached, nanos, calls)


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
    tokens, uncached, nanos, calls = reservation.remaining
    accounts = [books.account(account_id) for account_id in reservation.path]
    books.hold(accounts, -tokens, -uncached, -nanos, -calls)
    if reservation.lease:
        books.count_lease(reservation, -1)
    if event is not HoldEvent.SETTLE:
        books.writes.ended_reservations.append((reservation, state))


def _no_reservation(reservation_id: int) -> Refused:
    return Refused(Code.RESERVATION_NOT_FOUND, f"there is no reservation {reservation_id}", "reservation_id")


def _not_open(reservation: Reservation, done: str) -> Refused:
    return Refused(
        Code.RESERVATION_NOT_OPEN,
        f"the reservation is {reservation.state} and can't be {done}",
        extra={"state": reservation.state.value},
    )
