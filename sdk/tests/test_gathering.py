"""Which requests leave at once, which wait, who sends those, and what becomes of one whose caller has gone."""

from __future__ import annotations

from token_ledger_sdk.gathering import LISTS, PATIENCE_SECONDS, Departure, Gathering, Place
from token_ledger_sdk.wire.answers import Answer
from token_ledger_sdk.wire.requests import ApiRequest, Operation
from token_ledger_sdk.wire.together import MOST_BYTES, MOST_OPERATIONS

from .conftest import Clock

ANSWER = Answer(200, b"{}")


class Signal:
    """Counts how often it woke somebody."""

    def __init__(self) -> None:
        self.times = 0

    def set(self) -> None:
        self.times += 1


Riders = Gathering[Signal]


def place(size: int = 2) -> Place[Signal]:
    return Place(ApiRequest("POST", "/v1/x", b"x" * size, "key", operation=Operation("reserve")), Signal())


def full(gathering: Riders) -> list[Departure[Signal]]:
    """Let as many leave as may be on their way at once."""
    departures = [gathering.join(place()) for _ in range(LISTS)]
    assert all(each is not None and len(each.places) == 1 for each in departures)
    return [each for each in departures if each is not None]


def test_the_first_leave_at_once_and_the_others_together_when_one_is_back() -> None:
    gathering = Riders()
    first, *_ = full(gathering)
    late = [place() for _ in range(5)]
    assert [gathering.join(each) for each in late] == [None] * 5
    assert [gathering.patience_seconds(each) for each in late] == [PATIENCE_SECONDS, *[None] * 4]
    assert gathering.depart(late[0], anyway=False) is None
    gathering.back(first)
    assert [each.signal.times for each in late] == [1, 0, 0, 0, 0]
    departure = gathering.depart(late[0], anyway=False)
    assert departure is not None
    assert departure.places == late
    assert gathering.depart(late[1], anyway=False) is None


def test_whoever_comes_when_one_is_back_takes_those_along_who_wait() -> None:
    gathering = Riders()
    first, *_ = full(gathering)
    waits, comes = place(), place()
    assert gathering.join(waits) is None
    gathering.back(first)
    departure = gathering.join(comes)
    assert departure is not None
    assert departure.places == [waits, comes]
    assert gathering.depart(waits, anyway=True) is None


def test_what_hangs_is_not_waited_for() -> None:
    clock = Clock()
    gathering = Riders(clock=clock)
    full(gathering)
    waits, comes = place(), place()
    assert gathering.join(waits) is None
    late = gathering.depart(waits, anyway=True)  # it has waited for long
    assert late is not None
    clock.now += PATIENCE_SECONDS
    assert gathering.join(comes) is not None


def test_a_list_has_as_many_as_the_service_takes_and_the_next_begins_with_the_rest() -> None:
    gathering = Riders()
    first, *_ = full(gathering)
    many = [place() for _ in range(MOST_OPERATIONS + 3)]
    for each in many:
        gathering.join(each)
    gathering.back(first)
    departure = gathering.depart(many[0], anyway=False)
    assert departure is not None
    assert departure.places == many[:MOST_OPERATIONS]
    assert gathering.patience_seconds(many[MOST_OPERATIONS]) == PATIENCE_SECONDS
    assert many[MOST_OPERATIONS].signal.times == 1  # it sees now to it that the rest leaves


def test_a_list_has_no_more_bytes_than_the_service_takes() -> None:
    gathering = Riders()
    first, *_ = full(gathering)
    large = [place(MOST_BYTES // 2) for _ in range(3)]
    for each in large:
        gathering.join(each)
    gathering.back(first)
    departure = gathering.depart(large[0], anyway=False)
    assert departure is not None
    assert departure.places == large[:2]


def test_one_whose_caller_goes_while_it_waits_is_never_sent_and_leaves_its_turn_to_the_next() -> None:
    gathering = Riders()
    first, *_ = full(gathering)
    goes, stays = place(), place()
    gathering.join(goes)
    gathering.join(stays)
    assert not gathering.gone(goes)
    assert (goes.was_sent, stays.signal.times, gathering.patience_seconds(stays)) == (False, 1, PATIENCE_SECONDS)
    gathering.back(first)
    departure = gathering.depart(stays, anyway=False)
    assert departure is not None
    assert departure.places == [stays]


def test_one_whose_caller_goes_while_it_is_on_its_way_is_told_of_when_it_arrives() -> None:
    gathering = Riders()
    mine = place()
    departure = gathering.join(mine)
    assert departure is not None
    assert gathering.gone(mine)
    assert gathering.given_up() == [mine.request]
    assert not gathering.arrived(mine, ANSWER)
    gathering.back(departure)
    assert gathering.given_up() == []


def test_one_whose_caller_goes_after_it_has_arrived_keeps_what_came() -> None:
    gathering = Riders()
    mine = place()
    gathering.join(mine)
    assert gathering.arrived(mine, ANSWER)
    assert not gathering.gone(mine)
    assert (mine.outcome, mine.was_sent) == (ANSWER, True)


def test_of_a_list_that_broke_off_all_wait_again_but_those_that_nobody_waits_for() -> None:
    gathering = Riders()
    first, *_ = full(gathering)
    stays, went, late = place(), place(), place()
    gathering.join(stays)
    gathering.join(went)
    gathering.back(first)
    departure = gathering.depart(stays, anyway=False)
    assert departure is not None
    gathering.join(late)
    assert gathering.gone(went)
    assert gathering.broke_off(departure) == [went]
    again = gathering.depart(late, anyway=False)
    assert again is not None
    assert again.places == [stays, late]


def test_one_that_a_list_cannot_carry_leaves_by_itself_at_once() -> None:
    gathering = Riders()
    full(gathering)
    mine = place()
    gathering.join(mine)
    departure = gathering.depart(mine, anyway=True)
    assert departure is not None
    gathering.arrived(mine, None)
    gathering.back(departure)
    alone = gathering.depart(mine, anyway=False)
    assert alone is not None
    assert alone.places == [mine]
