"""The breaker of a tool: closed, open, half-open, and which calls count in each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from token_ledger_sdk import BreakerOpen
from token_ledger_sdk.guard.breakers import Breaker, Permit

from ..conftest import Clock
from ..forking import check_in_a_fork


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("search", failures=5, open_seconds=60, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.admit().failed()


def test_it_opens_with_the_fifth_failure_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 4)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    with pytest.raises(BreakerOpen, match=r"tool search has failed 5 times in a row: .* tried again in 60 s"):
        breaker.admit()


def test_an_answer_between_failures_begins_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.admit().returned()
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_what_says_nothing_of_the_tool_does_not_count(breaker: Breaker) -> None:
    fail(breaker, 4)
    for _ in range(10):
        breaker.admit().let_go()
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"


def test_it_stays_open_for_its_time(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 5)
    clock.now += 59.9
    assert breaker.state == "open"
    with pytest.raises(BreakerOpen):
        breaker.admit()
    clock.now += 0.1
    assert breaker.state == "half_open"


def opened(breaker: Breaker, clock: Clock) -> Permit:
    """Return the one call that tries a tool again."""
    fail(breaker, 5)
    clock.now += 60
    return breaker.admit()


def test_half_open_one_call_tries_and_no_other_meanwhile(breaker: Breaker, clock: Clock) -> None:
    opened(breaker, clock)
    with pytest.raises(BreakerOpen, match="being tried again by another call"):
        breaker.admit()


def test_an_answer_closes_it_and_the_count_begins_anew(breaker: Breaker, clock: Clock) -> None:
    opened(breaker, clock).returned()
    assert breaker.state == "closed"
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_a_failure_opens_it_again_for_its_time(breaker: Breaker, clock: Clock) -> None:
    opened(breaker, clock).failed()
    assert breaker.state == "open"
    clock.now += 59
    with pytest.raises(BreakerOpen):
        breaker.admit()
    clock.now += 1
    breaker.admit().returned()
    assert breaker.state == "closed"


def test_a_trial_that_learned_nothing_lets_another_call_try(breaker: Breaker, clock: Clock) -> None:
    opened(breaker, clock).let_go()
    assert breaker.state == "half_open"
    breaker.admit().returned()
    assert breaker.state == "closed"


def test_a_trial_that_hangs_does_not_keep_the_tool_away(breaker: Breaker, clock: Clock) -> None:
    hanging = opened(breaker, clock)
    clock.now += 60
    breaker.admit().returned()
    hanging.failed()
    assert breaker.state == "closed"


@pytest.mark.parametrize("end", [Permit.returned, Permit.failed])
def test_what_an_earlier_call_says_late_does_not_count(
    end: Callable[[Permit], None], breaker: Breaker, clock: Clock
) -> None:
    early = breaker.admit()
    fail(breaker, 5)
    clock.now += 30
    end(early)
    assert breaker.state == "open"
    clock.now += 30
    assert breaker.state == "half_open"  # its time was not begun anew
    end(early)
    assert breaker.state == "half_open"


def test_it_says_when_it_opens_and_closes(breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "token_ledger_sdk")
    opened(breaker, clock).returned()
    said = [(record.levelname, record.__dict__["tool"], record.__dict__["breaker"]) for record in caplog.records]
    assert said == [("WARNING", "search", "open"), ("INFO", "search", "closed")]


def test_failures_of_many_threads_are_all_counted(clock: Clock) -> None:
    breaker = Breaker("search", failures=400, open_seconds=60, clock=clock)
    permits = [breaker.admit() for _ in range(400)]

    def report(part: list[Permit]) -> None:
        for permit in part:
            permit.failed()

    threads = [threading.Thread(target=report, args=(permits[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.state == "open"


def test_a_fork_while_the_lock_is_held_does_not_hang(breaker: Breaker, clock: Clock) -> None:
    opened(breaker, clock)

    def check() -> None:
        breaker.admit().returned()  # the trial under way is the parent's
        assert breaker.state == "closed"

    with breaker._lock:
        check_in_a_fork(check)
    assert breaker.state == "half_open"
