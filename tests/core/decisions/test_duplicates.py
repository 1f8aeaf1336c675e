"""One response of a provider is one call, whoever reports it, under which key and on which hold."""

from dataclasses import replace
from typing import Any

import pytest

from tests.core import given
from token_ledger.core.batch.administration import RenameModel, SetDuplicates
from token_ledger.core.batch.outcomes import Changed, Quarantined, Recorded, Settled
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import MOST_CALLS, NOT_UNIQUE_IDS, Repetition
from token_ledger.core.model.reservation import HoldState
from token_ledger.core.model.trigger import Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import Usage

ALL = given.budget(tokens=10**6, nanos=10**12, calls=100, budget_id=6, name="all")
ID = "resp_1"
OTHER = Usage(900, 101)


class Reporting:
    """Reports calls, each under a key of its own."""

    def __init__(self, *, triggers: Any = ()) -> None:
        self.ledger = given.Ledger(ALL, triggers=triggers)
        self._keys = 0

    def key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    def hold(self, **fields: Any) -> int:
        return self.ledger.granted(key=self.key(), **fields).reservation_id

    def settled(self, usage: Usage = given.USED, *, on: int | None = None, held: Any = None, **fields: Any) -> Settled:
        number = self.hold(**held or {}) if on is None else on
        said = {"key": self.key(), "response_id": ID, **fields}
        outcome = self.ledger.one(given.settle(number, usage, **said))
        assert isinstance(outcome, Settled), outcome
        return outcome

    def settle(self, usage: Usage = given.USED, **fields: Any) -> UsageEvent:
        return self.settled(usage, **fields).event

    def record(self, usage: Usage = given.USED, **fields: Any) -> UsageEvent:
        outcome = self.ledger.one(given.record(**{"key": self.key(), "usage": usage, "response_id": ID, **fields}))
        assert isinstance(outcome, Recorded), outcome
        return outcome.event

    def state(self, number: int) -> HoldState:
        return self.ledger.books.loaded.reservations[number].state

    def balance(self) -> tuple[int, int, int, int]:
        """Settled tokens and calls, held tokens and calls."""
        [account] = self.ledger.books.accounts_by_id.values()
        return account.settled_tokens, account.settled_calls, account.held_tokens, account.held_calls


@pytest.fixture
def reporting() -> Reporting:
    return Reporting()


@pytest.mark.parametrize(("before", "again"), [("settle", "settle"), ("settle", "record"), ("record", "record")])
def test_a_second_report_books_nothing_and_names_the_first(before: str, again: str, reporting: Reporting) -> None:
    first = getattr(reporting, before)()
    balance = reporting.balance()
    second = getattr(reporting, again)()
    assert (first.repetition, first.earlier_event_id) == (Repetition.FIRST, None)
    assert (second.repetition, second.earlier_event_id) == (Repetition.DUPLICATE, first.event_id)
    assert (second.usage, second.cost_nanos, second.calls) == (Usage(), 0, 0)
    assert reporting.balance() == balance == (1_000, 1, 0, 0)


def test_a_duplicate_ends_its_own_hold_with_nothing(reporting: Reporting) -> None:
    first = reporting.settle()
    number = reporting.hold()
    assert reporting.balance() == (1_000, 1, 1_500, 1)
    second = reporting.settled(on=number)
    assert reporting.state(number) is HoldState.SETTLED
    assert (second.event.overrun, second.event.late, second.stop) == (False, False, None)
    assert reporting.balance() == (1_000, 1, 0, 0)
    assert second.event.earlier_event_id == first.event_id


def test_a_third_report_names_the_first_too(reporting: Reporting) -> None:
    first = reporting.settle()
    assert [reporting.settle().earlier_event_id for _ in range(3)] == [first.event_id] * 3


def test_a_repeated_key_is_answered_with_the_duplicate_that_it_made(reporting: Reporting) -> None:
    first, number = reporting.settle(), reporting.hold()
    said = given.settle(number, key="k", response_id=ID)
    made, again = (reporting.ledger.one(said) for _ in range(2))
    assert isinstance(again, Settled)
    assert isinstance(made, Settled)
    assert (again.replayed, again.event) == (True, made.event)
    assert again.event.earlier_event_id == first.event_id
    conflict = reporting.ledger.one(given.settle(number, key="k", response_id="another"))
    assert isinstance(conflict, Quarantined)
    assert conflict.field == "response_id"


DIFFERENT: dict[str, dict[str, Any]] = {
    "another response": {"response_id": "resp_2"},
    "no response id": {"response_id": None},
    "another model of the response": {"model": "small"},
    "another provider": {"provider": "other"},
}


@pytest.mark.parametrize("how", DIFFERENT)
def test_what_differs_in_more_than_its_usage_is_a_call_of_its_own(how: str, reporting: Reporting) -> None:
    reporting.settle()
    event = reporting.settle(**DIFFERENT[how])
    assert event.repetition in (None, Repetition.FIRST)
    assert (event.calls, event.usage) == (1, given.USED)
    assert reporting.balance() == (2_000, 2, 0, 0)


def test_the_model_is_compared_by_its_name_in_the_books(reporting: Reporting) -> None:
    first = reporting.settle(model="large")
    assert reporting.settle(model="large-latest").earlier_event_id == first.event_id


def test_a_model_that_was_renamed_is_still_the_same(reporting: Reporting) -> None:
    first, before = reporting.settle(), reporting.hold()
    renamed = RenameModel("m", b"", ModelName("acme", "large"), ModelName("acme", "grand"), "a test", "root")
    reporting.ledger.books.loaded.spellings = dict(reporting.ledger.books.writes.model_names)
    assert isinstance(reporting.ledger.one(renamed), Changed)
    assert reporting.settle(on=before).earlier_event_id == first.event_id
    assert reporting.settle().earlier_event_id == first.event_id
    assert reporting.record(model="grand").earlier_event_id == first.event_id


def test_another_usage_is_booked_and_flagged(reporting: Reporting) -> None:
    first, other = reporting.settle(), reporting.settle(OTHER)
    assert (other.repetition, other.earlier_event_id, other.calls) == (Repetition.OTHER_USAGE, first.event_id, 1)
    assert reporting.balance() == (2_001, 2, 0, 0)
    assert reporting.settle(OTHER).earlier_event_id == other.event_id
    assert reporting.settle().earlier_event_id == first.event_id
    assert reporting.balance() == (2_001, 2, 0, 0)


def test_other_kinds_are_compared_too(reporting: Reporting) -> None:
    searched = Usage(900, 100, others=(("web_searches", 2),))
    first, second = reporting.settle(searched), reporting.settle(searched)
    assert first.others
    assert (second.earlier_event_id, second.others) == (first.event_id, ())
    assert reporting.settle().repetition is Repetition.OTHER_USAGE


def test_a_fee_of_the_call_itself_is_not_compared(reporting: Reporting) -> None:
    first = reporting.settle(Usage(900, 100, others=(("requests", 1),)))
    assert reporting.settle().earlier_event_id == first.event_id


def test_usage_is_compared_as_it_is_booked(reporting: Reporting) -> None:
    first = reporting.settle(Usage(10, 5, cache_read_tokens=20))
    second = reporting.settle(Usage(10, 5, cache_read_tokens=30))
    assert (first.clamped, second.clamped, second.earlier_event_id) == (True, False, first.event_id)


@pytest.mark.parametrize(("provider", "response_id"), [("acme", ""), *((each, ID) for each in NOT_UNIQUE_IDS)])
def test_ids_that_tell_nothing_are_booked_and_flagged(
    provider: str, response_id: str, reporting: Reporting
) -> None:  # fmt: skip
    events = [reporting.record(provider=provider, response_id=response_id) for _ in range(2)]
    assert [event.repetition for event in events] == [Repetition.NOT_UNIQUE] * 2
    assert [(event.calls, event.earlier_event_id) for event in events] == [(1, None)] * 2
    assert reporting.ledger.books.loaded.responses == {}


def test_an_id_of_too_many_calls_tells_nothing(reporting: Reporting) -> None:
    usages = [Usage(100 + number, 1) for number in range(MOST_CALLS + 1)]
    events = [reporting.record(usage) for usage in usages]
    assert {event.repetition for event in events[1:]} == {Repetition.OTHER_USAGE}
    again = reporting.record(usages[0])
    assert (again.repetition, again.calls) == (Repetition.NOT_UNIQUE, 1)


def test_a_call_that_was_taken_back_may_be_booked_again(reporting: Reporting) -> None:
    first = reporting.settle()
    reporting.ledger.books.loaded.corrected[first.event_id] = 7
    second = reporting.settle()
    assert (second.repetition, second.calls) == (Repetition.FIRST, 1)
    assert reporting.settle().earlier_event_id == second.event_id


def test_a_tenant_may_have_every_report_booked(reporting: Reporting) -> None:
    reporting.settle()
    changed = reporting.ledger.one(SetDuplicates("d", b"", False, "root"))
    assert isinstance(changed, Changed)
    assert (changed.entry.before, changed.entry.after) == ({"found": True}, {"found": False})
    assert [reporting.settle().repetition for _ in range(2)] == [None, None]
    reporting.ledger.one(SetDuplicates("e", b"", True, "root"))
    assert reporting.settle().repetition is Repetition.DUPLICATE
    assert reporting.balance() == (3_000, 3, 0, 0)


def test_parts_of_a_call_have_its_id_and_are_no_duplicates(reporting: Reporting) -> None:
    number = reporting.hold()
    parts = [reporting.settle(Usage(10, 10), on=number, part=True) for _ in range(2)]
    rest = reporting.settle(Usage(10, 10), on=number)
    assert [event.repetition for event in (*parts, rest)] == [None] * 3
    assert reporting.balance() == (60, 1, 0, 0)


def test_calls_of_a_lease_are_compared(reporting: Reporting) -> None:
    lent: Any = reporting.ledger.one(given.lease())
    number = lent.reservation.reservation_id
    first, second = (reporting.settle(on=number, part=True) for _ in range(2))
    assert (second.repetition, second.earlier_event_id) == (Repetition.DUPLICATE, first.event_id)
    assert (second.part, second.calls) == (True, 0)
    assert reporting.balance() == (1_000, 1, 5_000, 3)
    assert reporting.settle().earlier_event_id == first.event_id


def test_a_late_duplicate_is_late_and_books_nothing(reporting: Reporting) -> None:
    first, number = reporting.settle(), reporting.hold(ttl_seconds=1)
    reporting.ledger.at(given.NOW.replace(hour=13))
    second = reporting.settle(on=number)
    assert (second.late, second.overrun, second.earlier_event_id) == (True, False, first.event_id)
    assert reporting.state(number) is HoldState.SETTLED


def test_the_settle_of_a_hold_replaces_a_record(reporting: Reporting) -> None:
    recorded, number = reporting.record(user="bob", agent_type="importer"), reporting.hold()
    event = reporting.settle(on=number)
    [correction] = reporting.ledger.books.writes.corrections
    assert (event.repetition, event.earlier_event_id, event.calls) == (Repetition.REPLACES, recorded.event_id, 1)
    assert (correction.corrects, correction.facts, correction.calls) == (recorded.event_id, recorded.facts, -1)
    assert (correction.repetition, correction.earlier_event_id) == (None, None)
    assert event.facts.user == "ada"
    assert reporting.balance() == (1_000, 1, 0, 0)
    assert reporting.record().earlier_event_id == reporting.settle().earlier_event_id == event.event_id
    assert len(reporting.ledger.books.writes.corrections) == 1


def test_a_record_with_another_usage_stays(reporting: Reporting) -> None:
    reporting.record(OTHER)
    assert reporting.settle().repetition is Repetition.OTHER_USAGE
    assert reporting.balance() == (2_001, 2, 0, 0)


def test_a_settle_that_can_not_be_booked_leaves_the_record(reporting: Reporting) -> None:
    reporting.record()
    number = reporting.hold()
    reporting.ledger.books.loaded.booked_tokens = 2**63
    outcome = reporting.ledger.one(given.settle(number, key="k", response_id=ID))
    assert isinstance(outcome, Quarantined)
    assert reporting.ledger.books.writes.corrections == []


def test_a_duplicate_says_nothing_about_a_technique() -> None:
    trigger = Trigger(1, TriggerKind.HIGH_TOKEN_USAGE, 100, Mode.APPLY, per_call_tokens=1)
    reporting = Reporting(triggers=(trigger,))
    applied = ("aggressive_compression",)
    for _ in range(2):
        reporting.settle(held={"apply": applied})
    assert len(reporting.ledger.books.writes.optimizations) == 1


def test_events_of_duplicates_are_values(reporting: Reporting) -> None:
    event = reporting.settle()
    assert not event.is_duplicate
    assert replace(event, repetition=Repetition.DUPLICATE).is_duplicate
