"""Other models within a call are booked with it or not at all, as events that count no call."""

from typing import Any

from tests.core import given
from token_ledger.core.batch.commands import OtherModel, other_model_keys
from token_ledger.core.batch.outcomes import Quarantined, Recorded, Settled
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.reservation import HoldState
from token_ledger.core.model.usage import LARGEST_USE, Usage

BUDGET = given.budget(nanos=10**12)


def settle(ledger: given.Ledger, *others: Any, **fields: Any) -> Any:
    reservation = ledger.granted(key=f"r-{fields.get('key', '')}")
    return ledger.one(given.settle(reservation.reservation_id, other_models=tuple(others), **fields))


def other(model: str = "small", usage: Usage = given.USED, **fields: Any) -> OtherModel:
    return OtherModel(None, model, usage, **fields)


def test_each_has_an_event_beside_the_hold() -> None:
    ledger = given.Ledger(BUDGET)
    outcome = settle(ledger, other(), other("later"), response_id="resp_1")
    assert isinstance(outcome, Settled)
    small, unpriced = outcome.others
    call = outcome.event
    assert [each.calls for each in (call, small, unpriced)] == [1, 0, 0]
    assert [each.reservation_id for each in (small, unpriced)] == [None, None]
    assert [(each.source, each.key) for each in outcome.others] == other_model_keys(call.event_id, 2)
    # 900 at $0.1 and 100 at $0.5; a model without a price, 900 at $2.5 and 100 at $10 as that of the hold.
    assert [(each.cost_nanos, each.unpriced) for each in outcome.others] == [(140_000, False), (3_250_000, True)]
    assert {each.posted_at for each in (call, small, unpriced)} == {given.NOW}
    assert {each.repetition for each in (call, small, unpriced)} == {Repetition.FIRST}
    [account] = ledger.books.accounts_by_id.values()
    assert (account.settled_nanos, account.settled_calls, account.held_nanos) == (6_640_000, 1, 0)


def test_the_same_request_has_the_same_answer() -> None:
    ledger = given.Ledger(BUDGET)
    command = given.settle(ledger.granted().reservation_id, other_models=(other(), other("large")))
    first, again = ledger.one(command), ledger.one(command)
    assert isinstance(first, Settled)
    assert isinstance(again, Settled)
    assert again.replayed
    assert (again.event, again.others) == (first.event, first.others)
    assert len(ledger.books.loaded.events) == 3


def test_one_that_can_not_be_booked_keeps_all_of_the_call() -> None:
    too_much = Usage(LARGEST_USE + 1, 0)
    for usage in (too_much, Usage(1, 0, others=(("web_searches", LARGEST_USE + 1),))):
        ledger = given.Ledger(BUDGET)
        outcome = settle(ledger, other(), other("large", usage))
        assert isinstance(outcome, Quarantined)
        assert ledger.books.loaded.events == {}
        [reservation] = ledger.books.loaded.reservations.values()
        assert reservation.state is HoldState.HELD
        kept = ledger.books.loaded.kept[outcome.quarantine_id].body["other_models"]
        assert [each["model"] for each in kept] == ["small", "large"]


def test_a_call_that_fits_only_without_the_others_is_kept() -> None:
    for others, kept in (((), False), ((other(),), True)):
        ledger = given.Ledger(BUDGET)
        reservation = ledger.granted()
        ledger.books.loaded.booked_nanos = LARGEST_AMOUNT - 3_250_000
        outcome = ledger.one(given.settle(reservation.reservation_id, other_models=others))
        assert isinstance(outcome, Quarantined) is kept


def test_one_that_was_recorded_before_is_a_duplicate() -> None:
    ledger = given.Ledger(BUDGET)
    recorded = ledger.one(given.record(model="small", response_id="resp_1"))
    assert isinstance(recorded, Recorded)
    outcome = settle(ledger, other(), response_id="resp_1")
    [small] = outcome.others
    assert (small.repetition, small.earlier_event_id) == (Repetition.DUPLICATE, recorded.event.event_id)
    assert (small.cost_nanos, small.usage) == (0, Usage())


def test_a_second_use_of_a_model_goes_with_the_first() -> None:
    ledger = given.Ledger(BUDGET)
    first = settle(ledger, other("large"), other("small"), other("small"), response_id="resp_1")
    again = settle(ledger, other("large"), other("small"), other("small"), response_id="resp_1", key="again")
    known = [first.event, *first.others]
    assert [each.repetition for each in known] == [Repetition.FIRST, None, Repetition.FIRST, None]
    assert [each.cost_nanos for each in known] == [3_250_000, 3_250_000, 140_000, 140_000]
    repeated = [again.event, *again.others]
    assert {each.repetition for each in repeated} == {Repetition.DUPLICATE}
    assert [each.cost_nanos for each in repeated] == [0] * 4
