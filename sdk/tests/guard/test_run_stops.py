"""What a client has heard of its runs reaches what goes on for them, and nothing else."""

import sys
import threading

import pytest

from token_ledger_sdk import Problem, RunCancelled
from token_ledger_sdk.guard import run_stops
from token_ledger_sdk.guard.run_stops import RunStops

from ..forking import check_in_a_fork


class Leases:
    """Notes how often it was told."""

    halted = 0

    def halt(self) -> None:
        self.halted += 1


class Work:
    """Notes how it was interrupted."""

    def __init__(self) -> None:
        self.interrupted: list[bool] = []

    def interrupt(self, *, unless_ending: bool = False) -> None:
        self.interrupted.append(unless_ending)


def test_a_cancelled_run_interrupts_its_blocks_and_calls_once() -> None:
    stops, block, call, other = RunStops(), Work(), Work(), Work()
    stops.enter("1", block, is_block=True)
    stops.enter("1", call, is_block=False)
    stops.enter("2", other, is_block=True)
    stops.check("1")
    stops.cancelled("1")
    stops.cancelled("1")
    assert (block.interrupted, call.interrupted, other.interrupted) == ([False], [True], [])
    with pytest.raises(RunCancelled):
        stops.check("1")
    stops.check("2")
    stops.check(None)


def test_what_has_left_is_let_be() -> None:
    stops, block, call, stays = RunStops(), Work(), Work(), Work()
    for each, is_block in ((block, True), (stays, True), (call, False)):
        stops.enter("1", each, is_block=is_block)
    stops.leave(block)
    stops.leave(call)
    stops.leave(call)
    stops.cancelled("1")
    assert (block.interrupted, call.interrupted, stays.interrupted) == ([], [], [False])


def test_calls_without_a_block_are_not_interrupted() -> None:
    stops, call = RunStops(), Work()
    stops.enter("1", call, is_block=False)
    stops.cancelled("1")
    assert call.interrupted == []


def test_the_block_that_cancels_goes_on() -> None:
    stops, own, other = RunStops(), Work(), Work()
    stops.enter("1", own, is_block=True)
    stops.enter("1", other, is_block=True)
    stops.cancelled("1", by=own)
    assert (own.interrupted, other.interrupted) == ([], [False])


def test_parts_of_parts_stop_with_a_run_and_not_the_other_way_round() -> None:
    stops, leases, outer = RunStops(), Leases(), Work()
    stops.is_part_of("2", "1")
    stops.is_part_of("3", "2")
    stops.follow("3", leases)
    stops.enter("1", outer, is_block=True)
    stops.cancelled("3")
    assert (leases.halted, outer.interrupted) == (1, [])
    stops.check("2")
    stops.cancelled("1")
    assert leases.halted == 2
    with pytest.raises(RunCancelled):
        stops.check("2")
    stops.forget("2")
    stops.check("2")


@pytest.mark.parametrize(
    ("stop", "halted", "is_cancelled"),
    [(None, 0, False), ("lease_expired", 0, False), ("run_closed", 1, False), ("tenant_stopped", 1, False),
     ("run_cancelled", 1, True)],
)  # fmt: skip
def test_what_an_answer_says_is_acted_on(stop: str | None, halted: int, is_cancelled: bool) -> None:
    stops, leases = RunStops(), Leases()
    stops.follow("1", leases)
    stops.told(None, stop)
    assert leases.halted == 0
    stops.told("1", stop)
    assert leases.halted == halted
    if is_cancelled:
        with pytest.raises(RunCancelled):
            stops.check("1")
    else:
        stops.check("1")


def test_a_refusal_says_which_run_was_cancelled() -> None:
    stops = RunStops()
    stops.refused(RunCancelled(Problem(409, "run_not_open")))
    stops.refused(RunCancelled(Problem(409, "run_not_open", extra={"run_id": "7"})))
    with pytest.raises(RunCancelled):
        stops.check("7")


def test_what_is_garbage_is_forgotten() -> None:
    stops, leases = RunStops(), Leases()
    stops.follow("1", leases)
    stops.follow("1", Leases())
    stops.halt("1")
    assert leases.halted == 1


def test_so_many_cancelled_runs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_stops, "_MOST_REMEMBERED", 2)
    stops = RunStops()
    for run_id in "123":
        stops.cancelled(run_id)
    stops.check("1")
    for run_id in "23":
        with pytest.raises(RunCancelled):
            stops.check(run_id)


def test_what_a_fork_is_the_first_to_enter_is_told() -> None:
    stops, copied = RunStops(), Leases()
    stops.follow("1", copied)

    def check() -> None:
        leases, block, call = Leases(), Work(), Work()
        stops.follow("1", leases)
        stops.enter("1", block, is_block=True)
        stops.enter("1", call, is_block=False)
        stops.cancelled("1")
        assert (leases.halted, block.interrupted, call.interrupted, copied.halted) == (1, [False], [True], 0)

    check_in_a_fork(check)


def test_of_parts_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_stops, "_MOST_REMEMBERED", 2)
    stops = RunStops()
    for part in "234":
        stops.is_part_of(part, "1")
    stops.cancelled("1")
    stops.check("2")
    for part in "34":
        with pytest.raises(RunCancelled):
            stops.check(part)


def test_threads_enter_and_leave_while_runs_are_cancelled() -> None:
    stops, failures, is_over = RunStops(), list[BaseException](), threading.Event()
    stay = [Work() for _ in range(2_000)]  # to look at all of them takes a while
    for each in stay:
        stops.enter("0", each, is_block=True)

    def come_and_go(run_id: str) -> None:
        try:
            while not is_over.is_set():
                works = [Work() for _ in range(10)]
                for work in works:
                    stops.enter(run_id, work, is_block=True)
                for work in works:
                    stops.leave(work)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(run_id,)) for run_id in "1234"]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads take turns also within what looks at all of them
    try:
        for thread in threads:
            thread.start()
        for number in range(1, 100):
            stops.cancelled(str(number))
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert failures == []
    assert not any(each.interrupted for each in stay)
