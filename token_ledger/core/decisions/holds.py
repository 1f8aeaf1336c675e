"""Decides on holds: settle, draw, extend, release and expire them, and book calls that had none.

Every function checks first and changes the books only after its last check, so a refusal changes nothing.
"""

from dataclasses import replace
from functools import partial

from token_ledger.core.batch import commands, outcomes
from token_ledger.core.batch.administration import ForceRelease
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.call_facts import call_facts, posting_instant, served_facts
from token_ledger.core.decisions.bookable import (
    why_keys_are_gone,
    why_maybe_booked,
    why_not_spooled,
    why_unbookable,
)
from token_ledger.core.decisions.call_prices import (
    assumed_on_hold,
    price_of_other_model,
    price_on_hold,
    price_without_hold,
)
from token_ledger.core.decisions.corrections import take_back
from token_ledger.core.decisions.duplicates import NOTHING, find_earlier, is_whole
from token_ledger.core.decisions.list_costs import list_cost
from token_ledger.core.decisions.other_models import events_of_other_models
from token_ledger.core.decisions.quarantine import content, keep
from token_ledger.core.decisions.recorded_costs import cost_of
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.charge import NOTHING_ASSUMED, charge
from token_ledger.core.model.details import NO_DETAILS
from token_ledger.core.model.event import NO_PRICE, UsageEvent, in_time, representable
from token_ledger.core.model.parts import DrawnUse, charge_part, drawn_with, earlier_use
from token_ledger.core.model.plain_data import limits_data
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.reservation import HoldEvent, HoldState, Reservation
from token_ledger.core.model.run import RunState
from token_ledger.core.model.usage import Usage, clamp
from token_ledger.core.model.window import FIRST_INSTANT


def settle(
    books: Books, command: commands.Settle
) -> outcomes.Settled | outcomes.Refused | outcomes.Quarantined:  # fmt: skip
    """Book what a call really used: more than held is an overrun, after expiry it is late.

    A part leaves the hold open, less what was used; anything else ends it. A duplicate ends it, too.
    """
    reservation = books.loaded.reservations.get(command.reservation_id)
    if reservation is None:
        return outcomes.missing(outcomes.Code.RESERVATION_NOT_FOUND, "reservation", command.reservation_id)
    if reservation.after(HoldEvent.DRAW if command.part else HoldEvent.SETTLE) is None:
        detail = f"the reservation is {reservation.state} already; the usage is kept in quarantine for review"
        return keep(books, command, outcomes.Code.RESERVATION_NOT_OPEN, detail, content(command))
    if command.part and (gone := why_keys_are_gone(books, command.occurred_at)) is not None:
        # A lease may have outlived the months of its calls, so that it would take such a call a second time.
        return keep(books, command, outcomes.Code.TIME_OUT_OF_RANGE, gone, content(command))
    event = _settling_event(books, command, reservation)
    accounts = books.accounts_on(event.path)
    others: tuple[UsageEvent, ...] = ()
    if command.other_models:
        price_of = partial(price_of_other_model, books, reservation, event.posted_at)
        others = events_of_other_models(books, command, reservation, event, price_of)
    unbookable = why_unbookable(books, event, reservation.drawn_nanos if command.part else 0, others)
    if unbookable is not None:
        return keep(books, command, *unbookable, content(command))
    if command.part:
        _draw(books, reservation, event)
    else:
        if reservation.state is HoldState.HELD:
            _end(books, reservation, HoldEvent.SETTLE, event.event_id)
        else:
            reservation.state = HoldState.SETTLED
        reservation.event_id = event.event_id
    if event.repetition is Repetition.REPLACES:
        take_back(books, books.loaded.responses[event.response_id or ""][event.earlier_event_id or 0])
    books.book(event, accounts)
    for other in others:
        books.book(other, books.accounts_on(other.path))
    for advice in reservation.advice:
        if advice.applied and not event.is_duplicate:
            books.writes.optimizations.append((advice.technique, not command.failed))
    ended = replace(reservation) if command.part else reservation
    return outcomes.Settled(event, ended, _why_stop_now(books, reservation), others=others)


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


def _why_stop_now(books: Books, reservation: Reservation) -> str | None:
    """Return why the holder should make no further call, also because a lease holds more than its limits now bear.

    A repeated answer does not say that, for the accounts are not loaded to give it.
    """
    stop = why_stop(books, reservation)
    if stop is None and reservation.lease and reservation.state is HoldState.HELD:
        accounts = _accounts_of(books, reservation)
        if any(account.is_hard and account.lacking(0, 0, 0) is not None for account in accounts):
            return "lease_outdated"
    return stop


def extend(books: Books, command: commands.Extend) -> outcomes.Extended | outcomes.Refused:
    """Let a hold expire later; a lease at the latest when its first hard window ends."""
    reservation = _find_open(books, command.reservation_id, HoldEvent.EXTEND, "extended")
    if isinstance(reservation, outcomes.Refused):
        return reservation
    until = books.expiry(command.ttl_seconds)
    if reservation.lease:
        until = books.lease_end(_accounts_of(books, reservation), until)
    if until > reservation.expires_at:
        reservation.expires_at = until
        reservation.changes += 1
        books.writes.changed_reservations[reservation.reservation_id] = reservation
    books.note_key(command, "reservation", reservation.reservation_id)
    return outcomes.Extended(replace(reservation), _why_stop_now(books, reservation))


def force_release(books: Books, command: ForceRelease) -> outcomes.Released | outcomes.Refused:
    """End a hold as its expiry would, because its client is believed dead; one that has expired is as it should be."""
    ended = books.loaded.reservations.get(command.reservation_id)
    if ended is not None and ended.state is HoldState.EXPIRED:
        return outcomes.Released(replace(ended), replayed=True)
    reservation = _find_open(books, command.reservation_id, HoldEvent.FORCE, "released")
    if isinstance(reservation, outcomes.Refused):
        return reservation
    tokens, _, nanos, calls = reservation.remaining
    _end(books, reservation, HoldEvent.FORCE, books.new_id(), command.reason)
    target = str(reservation.reservation_id)
    after = {"state": reservation.state.value, "reason": command.reason}
    before = {"state": "held", "held": limits_data(Limits(tokens, nanos, calls))}
    books.audit(command, "reservation.force_release", target, before, after)
    books.note_key(command, "reservation", reservation.reservation_id)
    return outcomes.Released(replace(reservation))


def release(books: Books, command: commands.Release) -> outcomes.Released | outcomes.Refused:
    """Give a hold back in full, because the call was certainly not made; one that was released is as it should be."""
    ended = books.loaded.reservations.get(command.reservation_id)
    if ended is not None and ended.state is HoldState.RELEASED:
        return outcomes.Released(replace(ended), replayed=True)
    reservation = _find_open(books, command.reservation_id, HoldEvent.RELEASE, "released")
    if isinstance(reservation, outcomes.Refused):
        return reservation
    _end(books, reservation, HoldEvent.RELEASE, books.new_id(), command.reason)
    books.note_key(command, "reservation", reservation.reservation_id)
    return outcomes.Released(reservation)


def expire_due(books: Books) -> None:
    """Expire the holds that were due at the batch's instant."""
    for reservation_id in books.loaded.due:
        reservation = books.loaded.reservations[reservation_id]
        if reservation.after(HoldEvent.EXPIRE) is not None and reservation.expires_at <= books.now:
            _end(books, reservation, HoldEvent.EXPIRE, books.new_id())


def sweep(books: Books, command: commands.ExpireDue) -> outcomes.Swept:
    """Answer the command that only makes a batch happen, because every batch expires what is due."""
    return outcomes.Swept()


def record(
    books: Books, command: commands.Record, earlier_reading: UsageEvent | None = None
) -> outcomes.Recorded | outcomes.Quarantined:  # fmt: skip
    """Book a call that had no hold, on every account that it falls on; what can't be booked is kept in quarantine.

    What an earlier reading of the call booked is taken back, as if only this one had been imported.
    """
    run = None
    if command.run_id is not None:
        run = books.loaded.runs.get(command.run_id)
        if run is None:
            detail = f"there is no run {command.run_id}; the event is kept in quarantine for review"
            return keep(books, command, outcomes.Code.RUN_NOT_FOUND, detail, command.body)
    occurred_at = command.occurred_at or books.now
    counts_since = command.imported_since(books.now)
    if not in_time(occurred_at, books.now, counts_since):
        bounds = "more than 35 days ago" if counts_since is None else f"before {FIRST_INSTANT:%Y}"
        detail = (
            f"occurred_at {occurred_at.isoformat()} is {bounds} or 5 minutes ahead; the event is kept in quarantine for"
            " review"
        )
        return keep(books, command, outcomes.Code.TIME_OUT_OF_RANGE, detail, command.body)
    out_of_range = None
    if counts_since is not None:
        is_spooled = command.is_spooled
        out_of_range = why_not_spooled(books, occurred_at, run) if is_spooled else why_maybe_booked(books, occurred_at)
    if out_of_range is not None and earlier_reading is None:
        return keep(books, command, outcomes.Code.TIME_OUT_OF_RANGE, out_of_range, command.body)
    facts = call_facts(command, run, books.loaded.users, books.now, books.use_model_name)
    usage, clamped = clamp(command.usage)
    event_id = books.new_id()
    # A clock that is ahead must not open the account of a window that has not begun.
    posted_at = min(occurred_at, books.now)
    accounts = books.accounts_for(facts, run, posted_at, counts_since, is_spooled=command.is_spooled)
    repetition, earlier = NOTHING
    if command.response_id is not None:
        besides = None if earlier_reading is None else earlier_reading.event_id
        repetition, earlier = find_earlier(books, command.response_id, facts, usage, on_hold=False, besides=besides)
        if repetition is Repetition.DUPLICATE:
            usage, clamped = Usage(), False
    calls = 0 if repetition is Repetition.DUPLICATE or command.event_kind is not None else 1
    asked = ModelName(command.provider, command.model)
    price, assumed = None, NOTHING_ASSUMED
    if command.cost_nanos is None:
        price, assumed = price_without_hold(books, asked, posted_at, usage, command.service_tier)
    usage, cost, others, is_priced, details = cost_of(command, price, usage, calls, posted_at, assumed)
    list_price_id, list_nanos = list_cost(books, price, asked, usage, command.service_tier, calls, posted_at)
    if earlier_reading is not None:
        details = replace(details or NO_DETAILS, supersedes=earlier_reading.event_id)
    path = [account.account_id for account in accounts]
    price_id = NO_PRICE if price is None else price.price_id
    is_unpriced = not is_priced or (price is not None and price.stands_in)
    requested = _other_name(facts, command.provider, command.model)
    # Every value stands in its place: a keyword takes five times as long.
    overrun = late = part = False
    original_input_tokens = served = held_path = held_at = corrects = recosts = None
    event = UsageEvent(
        event_id, None, facts, usage.without_others, cost, price_id, path, occurred_at, posted_at, overrun, late,
        command.estimated, is_unpriced, clamped, command.failed, command.response_id, original_input_tokens, calls,
        part, requested, served, held_path, held_at, corrects, others, command.service_tier, repetition,
        None if earlier is None else earlier.event_id, command.event_kind, details,
        None if price is None else price.discount_id, list_price_id, list_nanos, counts_since, recosts,
        command.source, command.key, command.fingerprint,
    )  # fmt: skip
    unbookable = why_unbookable(books, event)
    if unbookable is not None:
        return keep(books, command, *unbookable, command.body)
    taken_back = () if earlier_reading is None else tuple(take_back(books, earlier_reading))
    books.book(event, accounts)
    return outcomes.Recorded(event, taken_back=taken_back)


def _settling_event(books: Books, command: commands.Settle, reservation: Reservation) -> UsageEvent:
    facts, served = served_facts(command, reservation, books.use_model_name, books.config.renamed)
    usage, clamped = clamp(command.usage)
    occurred_at = books.now if command.occurred_at is None else representable(command.occurred_at)
    posted_at = posting_instant(command, reservation, books.now)
    repetition, earlier = NOTHING
    if command.response_id is not None and is_whole(command, reservation):
        repetition, earlier = find_earlier(books, command.response_id, facts, usage, on_hold=True)
    is_duplicate = repetition is Repetition.DUPLICATE
    if is_duplicate:
        usage, clamped = Usage(), False
    price, is_known = price_on_hold(books, reservation, posted_at, served, usage)
    calls = 0 if is_duplicate or (command.part and not reservation.lease) else 1
    before = earlier_use(reservation.drawn_use, facts.provider, facts.model) if reservation.drawn_use else None
    called = served or reservation.to_call
    assumed = NOTHING_ASSUMED
    if usage.others or not is_known or (before is not None and before.others):
        assumed = assumed_on_hold(
            books, reservation, posted_at, called, command.service_tier, is_known=is_known
        )  # fmt: skip
    if before is None:
        cost, others, is_priced = charge(price, usage, command.service_tier, calls, posted_at, assumed)
    else:
        cost, others, is_priced = charge_part(price, usage, command.service_tier, calls, posted_at, before, assumed)
    list_price_id, list_nanos = list_cost(
        books, price, called, usage, command.service_tier, calls, posted_at, before
    )  # fmt: skip
    path = _served_path(books, reservation, facts)
    price_id = NO_PRICE if price is None else price.price_id
    # What every event has stands in its place: a keyword takes five times as long.
    return UsageEvent(
        books.new_id(), reservation.reservation_id, facts, usage.without_others, cost, price_id, path, occurred_at,
        posted_at,
        overrun=not is_duplicate and (
            reservation.drawn_nanos + cost > reservation.held_nanos
            or reservation.drawn_tokens + usage.total_tokens > reservation.held_tokens
            or reservation.drawn_uncached_tokens + usage.uncached_tokens > reservation.held_uncached_tokens
            or reservation.drawn_calls >= reservation.held_calls
        ),
        late=reservation.state is HoldState.EXPIRED,
        estimated=command.estimated,
        unpriced=not (is_known and is_priced),
        clamped=clamped,
        failed=command.failed,
        response_id=command.response_id,
        original_input_tokens=command.original_input_tokens,
        calls=calls,
        part=command.part,
        requested=_other_name(reservation.facts, *reservation.requested),
        served=None if served is None else _other_name(facts, *served),
        held_path=None if path is reservation.path or path == reservation.path else reservation.path,
        held_at=None if posted_at == reservation.created_at else reservation.created_at,
        others=others,
        service_tier=command.service_tier,
        discount_id=None if price is None else price.discount_id,
        list_price_id=list_price_id,
        list_cost_nanos=list_nanos,
        repetition=repetition,
        earlier_event_id=None if earlier is None else earlier.event_id,
        details=command.details,
        source=command.source,
        key=command.key,
        fingerprint=command.fingerprint,
    )  # fmt: skip


def _draw(books: Books, reservation: Reservation, event: UsageEvent) -> None:
    before = reservation.remaining
    reservation.drawn_tokens += event.usage.total_tokens
    reservation.drawn_uncached_tokens += event.usage.uncached_tokens
    reservation.drawn_nanos += event.cost_nanos
    reservation.drawn_calls += event.calls
    if not reservation.lease:
        served = event.facts.provider, event.facts.model
        part = DrawnUse(*served, event.usage, event.cost_nanos, event.listed_nanos, event.others)
        reservation.drawn_use = drawn_with(reservation.drawn_use, part)
    reservation.changes += 1
    books.writes.changed_reservations[reservation.reservation_id] = reservation
    if reservation.state is HoldState.HELD:
        accounts = _accounts_of(books, reservation)
        tokens, uncached, nanos, calls = (left - held for held, left in zip(before, reservation.remaining, strict=True))
        books.hold(accounts, tokens, uncached, nanos, calls)


def _served_path(books: Books, reservation: Reservation, facts: CallFacts) -> list[int]:
    """Return the accounts that a call with these facts is booked on, which are those of its hold as far as they apply.

    They are of windows with the instant of the reserve, and of budgets that existed then. Accounts of runs, and of
    budgets that are no longer in use, never move.
    """
    located = books.located(reservation.path, reservation.reservation_id)
    if facts is reservation.facts or facts == reservation.facts:
        return located
    run_id = facts.run_id
    run = None if run_id is None else books.loaded.runs.get(run_id)
    lineage = () if run is None else run.lineage
    held = {(match[0].budget_id, match[1]): match for match in books.config.matches(reservation.facts, lineage)}
    served = {(match[0].budget_id, match[1]): match for match in books.config.matches(facts, lineage)}
    accounts = zip(books.accounts_on(reservation.path), located, strict=True)
    left = held.keys() - served.keys()
    path = [place for account, place in accounts if (account.budget_id, account.subject) not in left]
    for name, match in served.items():
        if name not in held and match[0].budget_id < reservation.reservation_id:
            path.append(books.account_of(match, reservation.created_at).account_id)
    return path


def _other_name(facts: CallFacts, provider: str, model: str) -> ModelName | None:
    """Return a name of a model, unless it is the one in the books."""
    return None if model == facts.model and provider == facts.provider else ModelName(provider, model)


def _accounts_of(books: Books, reservation: Reservation) -> list[Account]:
    """Return the accounts that a hold is on."""
    return books.accounts_on(books.located(reservation.path, reservation.reservation_id))


def _end(
    books: Books, reservation: Reservation, event: HoldEvent, ended_id: int, reason: str | None = None
) -> None:  # fmt: skip
    state = reservation.after(event)
    assert state is not None, "the caller has checked the table"
    reservation.state = state
    reservation.ended_at = books.now
    reservation.ended_id = ended_id
    reservation.end_reason = reason
    tokens, uncached, nanos, calls = reservation.remaining
    books.hold(_accounts_of(books, reservation), -tokens, -uncached, -nanos, -calls)
    if reservation.lease:
        books.count_lease(reservation, -1)
    if event is not HoldEvent.SETTLE:
        books.writes.ended_reservations.append((reservation, state))


def _find_open(books: Books, reservation_id: int, event: HoldEvent, done: str) -> Reservation | outcomes.Refused:
    """Return a hold to which an event may still happen; `done` says what could not be done otherwise."""
    reservation = books.loaded.reservations.get(reservation_id)
    if reservation is None:
        return outcomes.missing(outcomes.Code.RESERVATION_NOT_FOUND, "reservation", reservation_id)
    if reservation.after(event) is None:
        detail = f"the reservation is {reservation.state} already and can't be {done}; reserve again for another call"
        return outcomes.Refused(
            outcomes.Code.RESERVATION_NOT_OPEN, detail, extra={"state": reservation.state.value}
        )  # fmt: skip
    return reservation
