"""Calls of runs that draw from leases by themselves: which do, how much is set aside, and when it is given back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import BudgetExceeded, Hold, Run, RunNotOpen, TokenLedger, Unreachable, Usage, allow_up_to
from token_ledger_sdk._async import lease_pool as async_lease_pool
from token_ledger_sdk._sync import lease_pool as sync_lease_pool
from token_ledger_sdk.testing import FakeService
from token_ledger_sdk.testing.accounts import Account, FakeBudget
from token_ledger_sdk.testing.books import FakeHold
from token_ledger_sdk.testing.service import KEY, URL

from ..forking import check_in_a_fork
from .beats import Beats

CALL: Any = {"agent_type": "a", "provider": "openai", "model": "gpt-5.4", "input_tokens": 900, "max_output_tokens": 100}
USED = Usage(900, 40)


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    made = Beats()
    monkeypatch.setattr(sync_lease_pool, "run_later_sync", made.run_later)
    monkeypatch.setattr(async_lease_pool, "run_later_async", made.run_later)
    return made


def client_of(service: FakeService, beats: Beats, **options: Any) -> TokenLedger:
    made = service.client(flush_seconds=1, **options)
    made._wrapper.pool._clock = beats
    return made


@pytest.fixture
def ledger(ledger_service: FakeService, beats: Beats) -> Iterator[TokenLedger]:
    with client_of(ledger_service, beats) as made:
        yield made


@pytest.fixture
def run(ledger: TokenLedger) -> Iterator[Run]:
    with ledger.run(user="ada") as made:
        yield made


def make(run: Run, **said: Any) -> Hold:
    with run.reserve(**{**CALL, **said}) as hold:
        hold.settle(USED)
    return hold


def asking_for_leases(service: FakeService, beats: Beats, before: Callable[[], None]) -> TokenLedger:
    """Return a client for which something happens before it has the answer to a request for a lease."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        answer = service.answer(request)
        if request.url.path == "/v1/leases":
            before()
        return answer

    made = TokenLedger(URL, KEY, transport=httpx2.MockTransport(answer), max_retries=0)
    made._wrapper.pool._clock = beats
    return made


def leases(service: FakeService) -> list[FakeHold]:
    return [hold for hold in service.holds if hold.calls is not None]


def account(budget: FakeBudget) -> Account:
    (only,) = budget.accounts.values()
    return only


def sizes(service: FakeService) -> list[int | None]:
    """Return for how many calls each hold is; None for one of a single call."""
    return [hold.calls for hold in service.holds]


def test_a_lone_call_has_a_hold_of_its_own(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    for _ in range(5):
        make(run)
        beats.pass_seconds(1)
    assert sizes(ledger_service) == [None] * 5


def test_calls_that_follow_closely_draw_from_leases_that_grow_with_them(run: Run, ledger_service: FakeService) -> None:
    for _ in range(16):
        make(run)
    assert sizes(ledger_service) == [None, 2, 4, 8, 16]
    assert sum(request.url.path == "/v1/reservations" for request in ledger_service.requests) == 1
    run.close()
    assert len(ledger_service.calls) == 16
    assert {call.reservation_id for call in ledger_service.calls} == {
        hold.reservation_id for hold in ledger_service.holds
    }


def test_what_no_call_asks_of_is_given_back_soon(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    budget = ledger_service.budget("all", calls=100)
    for _ in range(4):
        make(run)
    beats.pass_seconds(1)
    beats.pass_seconds(1)
    assert [lease.state for lease in leases(ledger_service)] == ["released", "released"]
    assert account(budget).available[2] == 96
    assert beats.later == [], "nothing is looked after that is not there"
    make(run)
    assert sizes(ledger_service)[-1] is None, "the next call is a lone one again"


def test_a_lease_is_not_given_back_while_a_call_waits_for_it(ledger_service: FakeService, beats: Beats) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/extend"):
            beats.pass_seconds(2)  # the answer takes so long that no call has come for a flush interval
        return ledger_service.answer(request)

    with TokenLedger(URL, KEY, transport=httpx2.MockTransport(answer), max_retries=0) as ledger:
        ledger._wrapper.pool._clock = beats
        with ledger.run(user="ada") as run:
            make(run, lease_calls=50)
            ledger.flush()
            beats.now += 1.1  # so the next call asks whether the service is there
            make(run, lease_calls=50)
            assert [lease.state for lease in leases(ledger_service)] == ["held"]


def test_a_lease_is_kept_while_calls_come(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    for _ in range(4):
        make(run)
    for _ in range(3):
        beats.pass_seconds(0.6)
        make(run)
    assert len(leases(ledger_service)) == 2


def test_what_a_lease_says_of_its_calls_is_never_old(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    for _ in range(12):
        make(run, lease_calls=50)
        beats.pass_seconds(0.9)
    assert sizes(ledger_service) == [50]
    make(run, lease_calls=50)
    assert sizes(ledger_service) == [50, 50], "after ten seconds there is another"
    assert not any(request.url.path.endswith("/extend") for request in ledger_service.requests)


def test_of_a_tight_budget_all_is_admitted_and_no_more(run: Run, ledger_service: FakeService) -> None:
    """Leases take half of what is left, so the last calls have holds of their own."""
    ledger_service.budget("tight", calls=7)
    made = [run.reserve(**CALL) for _ in range(7)]
    with pytest.raises(BudgetExceeded) as denied:
        run.reserve(**CALL)
    assert denied.value.refusals[0].budget == "tight"
    for hold in made:
        hold.settle(USED)
    run.close()
    assert len(ledger_service.calls) == 7


def test_a_denial_says_what_would_fit(run: Run, ledger_service: FakeService) -> None:
    ledger_service.budget("tight", tokens=2_500)
    held = [run.reserve(**CALL), run.reserve(**CALL)]
    with pytest.raises(BudgetExceeded) as denied:
        run.reserve(**{**CALL, "input_tokens": 400, "max_output_tokens": 200})
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 100
    for hold in held:
        hold.release()


def test_a_call_has_the_room_that_leases_do_not_use(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    ledger_service.budget("all", tokens=20_000)
    for _ in range(5):
        make(run)  # the last lease is for four calls, of which one is used
    left = 20_000 - 5 * 940
    other = run.reserve(**{**CALL, "agent_type": "b", "input_tokens": left - 100})
    assert other.held.tokens == left
    assert {lease.state for lease in leases(ledger_service)} == {"released"}
    other.release()
    make(run)
    assert sizes(ledger_service)[-1] is None, "as long as it is tight, no lease is asked for"
    beats.pass_seconds(31)
    make(run)
    make(run)
    assert sizes(ledger_service)[-1] == 2


def test_a_denial_takes_no_lease_from_calls_that_have_nothing_to_do_with_it(
    ledger: TokenLedger, ledger_service: FakeService
) -> None:
    ledger_service.budget("of ada", calls=1, select={"user": "ada"})
    ledger_service.budget("of all", calls=1_000)
    with ledger.run(user="ada") as poor, ledger.run(user="bob") as other:
        make(other, lease_calls=50)
        make(poor)
        with pytest.raises(BudgetExceeded):
            make(poor)
        assert [lease.state for lease in leases(ledger_service)] == ["held"]
        make(other, lease_calls=50)
        assert sizes(ledger_service) == [50, None]


def test_a_call_that_is_too_large_for_the_lease_has_a_hold_of_its_own(run: Run, ledger_service: FakeService) -> None:
    make(run)
    make(run)
    make(run, input_tokens=9_000)
    assert sizes(ledger_service) == [None, 2, None]
    make(run)
    assert sizes(ledger_service) == [None, 2, None], "the usual ones draw from it still"


@pytest.mark.parametrize(
    ("made", "tokens", "granted"),
    [
        (1, 9_000, [10]),  # however much larger it is than what the lease is for
        (1, 9_001, [10, None]),
        (9, 2_000, [10, 10]),  # calls grow
        (9, 2_001, [10, None]),
        (10, 9_000, [10, 10]),  # nothing is left for calls of its size either
    ],
)
def test_a_large_call_draws_from_the_lease_or_another_or_has_a_hold(
    made: int, tokens: int, granted: list[int | None], run: Run, ledger_service: FakeService
) -> None:
    """The lease is for ten calls of 1,000 tokens, of which so many run; 100 tokens are output."""
    running = [run.reserve(**CALL, lease_calls=10) for _ in range(made)]
    running.append(run.reserve(**{**CALL, "input_tokens": tokens - 100}, lease_calls=10))
    assert sizes(ledger_service) == granted
    for hold in running:
        hold.release()


@pytest.mark.parametrize(
    "said",
    [{"idempotency_key": "k"}, {"ttl_seconds": 60}, {"max_usage": {"web_searches": 1}}, {"lease_calls": 0},
     {"lease_calls": 1}],
)  # fmt: skip
def test_what_a_lease_can_not_bear_has_a_hold_of_its_own(
    said: dict[str, Any], run: Run, ledger_service: FakeService
) -> None:
    for number in range(4):
        make(run, **{**said, **({"idempotency_key": f"k{number}"} if "idempotency_key" in said else {})})
    assert sizes(ledger_service) == [None] * 4


@pytest.mark.parametrize(
    "said", [{"agent_type": "b"}, {"model": "gpt-5.4-mini"}, {"tags": {"team": "x"}}, {"requires": ["tools"]},
             {"apply": ["model_downgrade"]}, {"request_type": "report"}, {"service_tier": "flex"}],
)  # fmt: skip
def test_only_calls_of_a_kind_share_a_lease(said: dict[str, Any], run: Run, ledger_service: FakeService) -> None:
    make(run)
    make(run)
    make(run, **said)
    assert sizes(ledger_service) == [None, 2, None]


def test_runs_of_two_users_share_no_lease(ledger: TokenLedger, ledger_service: FakeService) -> None:
    with ledger.run(user="ada") as one, ledger.run(user="bob") as other:
        make(one)
        make(one)
        make(other)
    assert sizes(ledger_service) == [None, 2, None]


@pytest.mark.parametrize("calls", [0, 1])
def test_leases_may_be_switched_off_for_a_client(calls: int, ledger_service: FakeService, beats: Beats) -> None:
    with client_of(ledger_service, beats, lease_calls=calls) as ledger, ledger.run(user="ada") as run:
        for _ in range(3):
            make(run)
    assert sizes(ledger_service) == [None] * 3


def test_leases_of_a_stated_size_begin_with_the_first_call(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    for _ in range(3):
        make(run, lease_calls=50)
    assert sizes(ledger_service) == [50]
    beats.pass_seconds(1)
    beats.pass_seconds(1)
    assert [lease.state for lease in leases(ledger_service)] == ["released"]


def test_nobody_leases_for_less_than_no_call(ledger: TokenLedger, run: Run, ledger_service: FakeService) -> None:
    with pytest.raises(ValueError, match="lease_calls is -1: give 0"):
        run.reserve(**CALL, lease_calls=-1)
    with pytest.raises(ValueError, match="lease_calls is -1: give 0"):
        ledger_service.client(lease_calls=-1)
    with pytest.raises(ValueError, match="lease_calls is -1: give 0"):
        ledger.guard(provider="p", model="m", input_tokens=1, lease_calls=-1)
    with pytest.raises(TypeError, match="each call of a tool has a hold of its own"):
        ledger.guard(tool="search", lease_calls=5)


def test_calls_that_are_booked_at_once_have_holds_of_their_own(ledger_service: FakeService) -> None:
    with ledger_service.client(flush_seconds=0) as ledger, ledger.run(user="ada") as run:
        for _ in range(3):
            make(run)
            assert ledger_service.calls[-1].usage == USED
    assert sizes(ledger_service) == [None] * 3


def test_calls_that_are_booked_at_once_draw_from_leases_if_that_is_said(ledger_service: FakeService) -> None:
    with ledger_service.client(flush_seconds=0) as ledger, ledger.run(user="ada") as run:
        for _ in range(3):
            make(run, lease_calls=50)
        assert ledger_service.calls == [], "such calls are booked a moment later"
    assert (sizes(ledger_service), len(ledger_service.calls)) == ([50], 3)


# --- what a leased call of a run says ---


def test_a_leased_call_is_used_like_a_hold(run: Run, ledger_service: FakeService) -> None:
    make(run)
    with run.reserve(**CALL) as hold:
        (lease,) = leases(ledger_service)
        assert (hold.reservation_id, hold.held.tokens, hold.held.calls) == (lease.reservation_id, 1_000, 1)
        assert (hold.model, hold.max_output_tokens, hold.is_unasked) == ("gpt-5.4", 100, False)
        assert hold.reservation.directive.max_output_tokens == 100
        assert hold.settle_part(Usage(900, 1)) is None
        assert hold.extend(600).state == "held"
        settlement = hold.settle(USED, outcome="error")
    assert (settlement.booked, settlement.tokens, settlement.reservation_id) == (False, 940, lease.reservation_id)
    run.close()
    assert (ledger_service.calls[-1].usage, ledger_service.calls[-1].failed) == (USED, True)
    assert settlement.cost == ledger_service.calls[-1].cost > 0


def test_a_leased_call_may_be_released(run: Run, ledger_service: FakeService) -> None:
    make(run)
    released = run.reserve(**CALL).release("the provider answered 429")
    assert (released.state, released.end_reason) == ("released", "the provider answered 429")
    run.close()
    assert (len(ledger_service.calls), leases(ledger_service)[0].end_reason) == (
        1, "not needed; the provider answered 429 (1)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "booked"), [(httpx2.ReadTimeout("slow"), 2), (httpx2.ConnectError("down"), 1), (None, 2)]
)
def test_a_leased_call_that_is_left_unsettled_is_an_estimate(
    error: Exception | None, booked: int, run: Run, ledger_service: FakeService
) -> None:
    make(run)
    try:
        with run.reserve(**CALL):
            if error is not None:
                raise error
    except httpx2.TransportError:
        pass
    run.close()
    assert len(ledger_service.calls) == booked
    assert [call.usage for call in ledger_service.calls[1:]] == [Usage(900, 100)] * (booked - 1)
    assert {call.estimated for call in ledger_service.calls[1:]} <= {True}


# --- ends ---


@pytest.mark.parametrize("end", ["close", "cancel", "leave", "client"])
def test_the_end_books_everything_and_gives_back_the_rest(end: str, ledger_service: FakeService, beats: Beats) -> None:
    budget = ledger_service.budget("all", calls=1_000)
    ledger = client_of(ledger_service, beats)
    run = ledger.run(user="ada")
    run.open()
    for _ in range(9):
        make(run)
    match end:
        case "close":
            run.close()
        case "cancel":
            run.cancel()
        case "leave":
            with run:
                pass
        case "client":
            ledger.close()
    assert account(budget).available[2] == 991
    assert {hold.state for hold in ledger_service.holds} == {"settled", "released"}
    if end != "client":
        assert beats.later == []
        ledger.close()


def test_a_call_in_progress_keeps_its_lease_when_the_run_is_closed(run: Run, ledger_service: FakeService) -> None:
    make(run)
    hold = run.reserve(**CALL)
    run.close()
    assert leases(ledger_service)[0].state == "held"
    hold.settle(USED)
    assert (len(ledger_service.calls), leases(ledger_service)[0].state) == (2, "released")


def test_a_long_call_keeps_no_more_than_it_needs(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    budget = ledger_service.budget("all", calls=1_000)
    for _ in range(8):
        make(run)  # the eighth is the first of a lease for eight calls
    long = run.reserve(**CALL)
    assert account(budget).held[2] > 1
    beats.pass_seconds(1)
    beats.pass_seconds(1)
    assert account(budget).held[2] == 1
    long.settle(USED)
    run.close()
    assert len(ledger_service.calls) == 9
    assert (account(budget).held[2], account(budget).available[2]) == (0, 991)


def test_a_long_call_keeps_its_lease_where_there_is_no_room_to_trade(
    run: Run, ledger_service: FakeService, beats: Beats
) -> None:
    for _ in range(8):
        make(run)
    long = run.reserve(**CALL)
    ledger_service.deny()
    beats.pass_seconds(1)
    beats.pass_seconds(1)
    assert leases(ledger_service)[-1].state == "held"
    long.settle(USED)
    run.close()
    assert (len(ledger_service.calls), leases(ledger_service)[-1].state) == (9, "released")


# --- stops, outages ---


def test_a_stop_is_obeyed_once_the_service_was_heard_of(run: Run, ledger_service: FakeService, beats: Beats) -> None:
    for _ in range(9):
        make(run)
    with ledger_service.client() as other:
        other.attach(run.run_id).cancel()
    beats.now += 0.9
    make(run)  # within the flush interval
    beats.now += 0.9
    with pytest.raises(RunNotOpen):
        make(run)


@pytest.mark.parametrize("policy", ["allow", allow_up_to(tokens=2_000)])
def test_while_the_service_is_away_calls_go_by_the_policy(
    policy: Any, ledger_service: FakeService, beats: Beats
) -> None:
    with client_of(ledger_service, beats, on_unavailable=policy) as ledger, ledger.run(user="ada") as run:
        make(run)
        make(run)
        ledger_service.fail(httpx2.ConnectError("away"), times=1_000)
        made = [run.reserve(**CALL) for _ in range(3)]
        assert [hold.is_unasked for hold in made] == [False, True, True], "a lease that is held bears its calls"
        for hold in made:
            hold.settle(USED)
        ledger_service._failures.clear()
    assert len(ledger_service.calls) == 5
    assert {hold.state for hold in ledger_service.holds} == {"settled", "released"}


def test_while_the_service_is_away_a_lease_of_any_age_is_drawn_from(
    run: Run, ledger_service: FakeService, beats: Beats
) -> None:
    for _ in range(3):
        make(run, lease_calls=50)
    ledger_service.fail(httpx2.ConnectError("away"), times=1_000)
    beats.now += 11  # for ten seconds it is fresh
    for _ in range(2):
        make(run, lease_calls=50)
    with pytest.raises(Unreachable):
        make(run, lease_calls=50, input_tokens=1_000_000)
    make(run, lease_calls=50)
    assert sizes(ledger_service) == [50]
    ledger_service._failures.clear()
    run.open()  # which is answered, so the service is heard of
    make(run, lease_calls=50)
    assert sizes(ledger_service) == [50, 50], "what the old one says of its calls is too old again"
    run.close()
    assert len(ledger_service.calls) == 7


def test_while_the_service_is_away_no_lease_is_given_back_for_want_of_calls(
    run: Run, ledger_service: FakeService, beats: Beats
) -> None:
    make(run, lease_calls=50)
    ledger_service.fail(httpx2.ConnectError("away"), times=1_000)
    beats.now += 1.1  # so the service is tried with the next call
    make(run, lease_calls=50)
    for _ in range(3):
        beats.pass_seconds(1)
    make(run, lease_calls=50)
    ledger_service._failures.clear()
    run.open()
    for _ in range(2):
        beats.pass_seconds(1)
    assert [(lease.calls, lease.state) for lease in leases(ledger_service)] == [(50, "released")]


def test_a_lease_is_kept_where_another_is_asked_for_and_nobody_answers(
    run: Run, ledger: TokenLedger, ledger_service: FakeService, beats: Beats
) -> None:
    make(run, lease_calls=50)
    beats.now += 9.5
    ledger.flush()  # so the service was just heard of when the lease is outdated
    beats.now += 0.9
    ledger_service.fail(httpx2.ConnectError("away"), times=1_000)
    for _ in range(3):
        make(run, lease_calls=50)
    ledger_service._failures.clear()
    run.open()
    make(run, lease_calls=50)
    assert sizes(ledger_service) == [50, 50]
    run.close()
    assert {hold.state for hold in ledger_service.holds} == {"released"}
    assert len(ledger_service.calls) == 5


@pytest.mark.parametrize("seconds", [11, 200])
def test_a_lease_that_was_asked_for_in_vain_is_as_fresh_as_any_once_it_is_granted(
    seconds: int, run: Run, ledger_service: FakeService, beats: Beats
) -> None:
    ledger_service.fail(httpx2.ConnectError("away"), times=1)
    with pytest.raises(Unreachable):
        make(run, lease_calls=50)
    beats.now += seconds
    for _ in range(2):
        make(run, lease_calls=50)
    assert sizes(ledger_service) == [50]


def test_a_lease_of_which_the_answer_was_lost_is_given_back_if_it_is_found_late(
    ledger_service: FakeService, beats: Beats
) -> None:
    lost = [httpx2.ReadTimeout("lost")]

    def lose_the_first() -> None:
        if lost:
            raise lost.pop()

    with asking_for_leases(ledger_service, beats, lose_the_first) as ledger, ledger.run(user="ada") as run:
        with pytest.raises(Unreachable):
            make(run, lease_calls=50)
        beats.now += 11
        for _ in range(3):
            make(run, lease_calls=50)
        assert [lease.state for lease in leases(ledger_service)] == ["released", "held"]
        assert sizes(ledger_service) == [50, None, 50]


def test_a_lease_that_a_slow_service_has_granted_is_fresh(ledger_service: FakeService, beats: Beats) -> None:
    def wait() -> None:
        beats.now += 11

    with asking_for_leases(ledger_service, beats, wait) as ledger, ledger.run(user="ada") as run:
        for _ in range(3):
            make(run, lease_calls=50)
        assert sizes(ledger_service) == [50]


def test_a_lease_leaves_its_room_to_the_one_that_follows_it(
    run: Run, ledger_service: FakeService, beats: Beats
) -> None:
    ledger_service.budget("tight", calls=5)
    make(run, lease_calls=4)
    beats.now += 11
    make(run, lease_calls=4)
    assert sizes(ledger_service) == [2, 2], "it has half of what the budget has left, and not of the rest"


# --- threads, forks ---


def test_threads_share_leases_and_never_make_more_than_fits(ledger_service: FakeService, ledger: TokenLedger) -> None:
    ledger_service.budget("all", calls=120)
    counts: list[int] = []

    with ledger.run(user="ada") as run:

        def work() -> None:
            made = 0
            while True:
                try:
                    make(run)
                except BudgetExceeded:
                    break
                made += 1
            counts.append(made)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (sum(counts), len(ledger_service.calls)) == (120, 120)
    assert len(ledger_service.holds) < 120
    assert {hold.state for hold in ledger_service.holds} == {"settled", "released"}


def test_a_fork_admits_from_leases_of_its_own(run: Run, ledger_service: FakeService) -> None:
    for _ in range(5):
        make(run)
    before = [*leases(ledger_service)]

    def check() -> None:
        for _ in range(4):
            assert make(run).reservation_id not in {lease.reservation_id for lease in before}
        assert len(leases(ledger_service)) > len(before)
        run.close()
        assert all(lease.state == "released" for lease in leases(ledger_service)[len(before) :])
        assert before[-1].state == "held", "it is the parent's"

    check_in_a_fork(check)
    assert make(run).reservation_id == before[-1].reservation_id


# --- tasks ---


async def test_tasks_share_leases(ledger_service: FakeService, beats: Beats) -> None:
    ledger_service.budget("all", calls=100)
    async with ledger_service.async_client(flush_seconds=1) as ledger:
        ledger._wrapper.pool._clock = beats
        async with ledger.run(user="ada") as run:

            async def call() -> bool:
                try:
                    async with await run.reserve(**CALL) as hold:
                        await asyncio.sleep(0)
                        await hold.settle(USED)
                except BudgetExceeded:
                    return False
                return True

            assert sum(await asyncio.gather(*(call() for _ in range(120)))) == 100
            assert 1 < len(leases(ledger_service)) < 20
            await beats.pass_seconds_async(1)
            await beats.pass_seconds_async(1)
            assert {hold.state for hold in ledger_service.holds} == {"settled", "released"}
    assert len(ledger_service.calls) == 100


def test_cost_of_a_leased_call_is_that_of_the_books(run: Run, ledger_service: FakeService) -> None:
    make(run)
    used = Usage(900, 40, cache_read_tokens=300, cache_write_5m_tokens=100, reasoning_tokens=10)
    settlement = run.reserve(**CALL).settle(used)
    run.close()
    assert settlement.cost == ledger_service.calls[-1].cost > Decimal(0)
