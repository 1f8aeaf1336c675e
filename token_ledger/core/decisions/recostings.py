"""Decides on re-costing: books what a call costs more or less by a price that was set after it.

Nothing that was booked is changed: a re-costing is an event of its own, without calls and tokens. As a correction does,
it has the facts, the instant and the accounts of the call, wherever what was on these has gone since, also when their
windows have ended; and as the call it may go above every limit. A rollover that was fixed before stays as it is.

Re-costings are decided where they are found. While nothing has changed since, they and their sums are booked as they
are; else each is looked at again.
"""

from collections.abc import Sequence
from typing import Any

from token_ledger.core.batch import administration, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.recosting_sums import DecidedRecostings, RecostingSums, models_of, row_of, sums_of
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.money import LARGEST_AMOUNT, format_money
from token_ledger.core.model.recosting import Basis, RecostableCall, Recosting, recosting_of


def recost(books: Books, command: administration.Recost) -> outcomes.Recosted | outcomes.Refused:
    """Book what the calls cost more or less; those that were taken back or re-costed meanwhile are left as they are."""
    decided = command.decided
    if decided is not None and _stand(books, decided):
        if (refused := _refused(books, decided.sums.nanos)) is not None:
            return refused
        booked = [RecostedEvent(books.new_id(), *row) for row in decided.rows]
        return _booked(books, command, booked, decided.sums, decided.models)
    bases = {each.found.basis for each in command.calls if each.found is not None}
    current = {basis for basis in bases if _is_current(books, basis)}
    found = [(call, each) for call in command.calls if (each := _find(books, call, current)) is not None]
    if (refused := _refused(books, sum(each.difference.nanos for _, each in found))) is not None:
        return refused
    booked = [_recosted(books, call, each) for call, each in found]
    sums = sums_of(booked, books.period)
    return _booked(books, command, booked, sums, models_of(each for _, each in found))


def _stand(books: Books, decided: DecidedRecostings) -> bool:
    """Tell whether nothing has changed of re-costings since they were decided, nor of what their sums follow from."""
    loaded, config = books.loaded, books.config
    return (
        loaded.are_as_found
        and _is_current(books, decided.basis)
        and decided.basis.config_version == config.version
        and not (config.erasures or loaded.transfers or loaded.corrected or loaded.recosted)
    )


def _is_current(books: Books, basis: Basis) -> bool:
    edition = books.prices.edition
    return edition is not None and edition == basis.edition


def _refused(books: Books, more: int) -> outcomes.Refused | None:
    if books.loaded.booked_nanos + more <= LARGEST_AMOUNT:
        return None
    detail = (
        "all calls of the tenant would add up to more than the largest amount,"
        f" {format_money(LARGEST_AMOUNT)} dollars; set a lower price"
    )
    return outcomes.Refused(outcomes.Code.NOT_BOOKABLE, detail)


def _booked(
    books: Books, command: administration.Recost, booked: Sequence[RecostedEvent], sums: RecostingSums,
    models: list[dict[str, Any]],
) -> outcomes.Recosted:  # fmt: skip
    books.recost(booked, sums)
    after = {
        "models": models,
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
    last = books.loaded.events[event_id]
    return RecostedEvent(books.new_id(), *row_of(found, last, booked_at, books.located(last.path, event_id)))
