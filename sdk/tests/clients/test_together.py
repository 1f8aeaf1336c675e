"""Callers whose requests travel together: few requests, everyone's own answer, nothing held for who has gone."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import (
    AsyncTokenLedger,
    BudgetExceeded,
    TokenLedger,
    Unavailable,
    Unreachable,
    Usage,
)
from token_ledger_sdk import gathering as gathering_module
from token_ledger_sdk.gathering import LISTS, Departure, Place
from token_ledger_sdk.testing import FakeService
from token_ledger_sdk.wire.answers import NoAnswer
from token_ledger_sdk.wire.reservations import release_request

from ..forking import check_in_a_fork

CALLERS = 256
LIST = "/v1/operations"
USED = Usage(900, 40)
PATIENCE_SECONDS = 60
KEY = "tl_test_1_fake"
CALL: dict[str, Any] = {"agent_type": "a", "provider": "p", "model": "m", "input_tokens": 900, "max_output_tokens": 100}


class Gate(httpx2.AsyncBaseTransport, httpx2.BaseTransport):
    """Keeps requests on their way until it is opened, and fails those that a test wants to fail."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.opened, self.opened_async = threading.Event(), asyncio.Event()
        self.sent: list[httpx2.Request] = []
        self.fail: Callable[[httpx2.Request], httpx2.Response | BaseException | None] = lambda request: None
        self.lose: Callable[[httpx2.Request], bool] = lambda request: False

    def open(self) -> None:
        self.opened.set()
        self.opened_async.set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        await self.opened_async.wait()
        return self._answer(request)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        assert self.opened.wait(PATIENCE_SECONDS)
        return self._answer(request)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        failure = self.fail(request)
        if isinstance(failure, BaseException):
            raise failure
        answer = failure or self.service.answer(request)
        if self.lose(request):
            raise httpx2.ReadError("the answer was lost")
        return answer

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.sent]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits does so until something is back, however slow the machine is."""
    monkeypatch.setattr(gathering_module, "PATIENCE_SECONDS", 3_600)


@pytest.fixture
def gate() -> Gate:
    return Gate(FakeService())


def ledger_of(gate: Gate, **options: Any) -> AsyncTokenLedger:
    return AsyncTokenLedger("http://ledger.test", KEY, transport=gate, **options)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; TimeoutError if it never does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


async def pair(ledger: AsyncTokenLedger, number: int = 0) -> str:
    async with await ledger.reserve(user=f"user-{number}", **CALL) as hold:
        await hold.settle(USED)
    return hold.reservation_id


def waiting(ledger: AsyncTokenLedger | TokenLedger) -> int:
    return len(ledger._sender._travel._gathering._waiting)


async def begin(ledger: AsyncTokenLedger, gate: Gate, callers: int) -> list[asyncio.Task[str]]:
    """Let callers begin, of whom the first are on their way and the others wait."""
    tasks = [asyncio.create_task(pair(ledger, number)) for number in range(callers)]
    await until(lambda: len(gate.sent) == min(callers, LISTS) and waiting(ledger) == max(0, callers - LISTS))
    return tasks


async def test_256_tasks_make_tens_of_requests(gate: Gate) -> None:
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, CALLERS)
        gate.open()
        ids = await asyncio.gather(*tasks)
        assert len(set(ids)) == CALLERS
        assert [hold.state for hold in gate.service.holds] == ["settled"] * CALLERS
        assert {call.user for call in gate.service.calls} == {f"user-{number}" for number in range(CALLERS)}
        assert len(gate.sent) < 100


def test_256_threads_make_tens_of_requests(gate: Gate) -> None:
    reserved = threading.Barrier(CALLERS, action=gate.opened.clear)
    with TokenLedger("http://ledger.test", KEY, transport=gate) as ledger:
        ids = []

        def call(number: int) -> None:
            with ledger.reserve(user=f"user-{number}", **CALL) as hold:
                reserved.wait(PATIENCE_SECONDS)
                hold.settle(USED)
            ids.append(hold.reservation_id)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for _ in ("reserves", "settles"):
            all_wait(ledger, gate, CALLERS)
            gate.open()
        for thread in threads:
            thread.join()
    assert len(set(ids)) == CALLERS
    assert [hold.state for hold in gate.service.holds] == ["settled"] * CALLERS
    assert len(gate.sent) < 100


def all_wait(ledger: TokenLedger, gate: Gate, callers: int) -> None:
    """Wait until so many callers are on their way or wait."""
    while waiting(ledger) < callers - LISTS or gate.opened.is_set():
        os.sched_yield()


async def test_one_caller_sends_the_requests_that_it_always_sent(gate: Gate) -> None:
    gate.open()
    async with ledger_of(gate) as ledger:
        hold = await pair(ledger)
    assert gate.paths == ["/v1/reservations", f"/v1/reservations/{hold}/settle"]


async def test_denials_and_other_refusals_are_everyones_own(gate: Gate) -> None:
    gate.service.deny({"user": "user-4"})
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, 6)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert LIST in gate.paths
    denial = outcomes.pop(4)
    assert isinstance(denial, BudgetExceeded)
    assert (denial.status, denial.refusals[0].budget) == (402, "denied on demand")
    assert all(isinstance(each, str) for each in outcomes)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(413, json={"code": "body_too_large"}),
        httpx2.Response(404, content=b"<html>"),
        httpx2.Response(200, content=b"<html>"),
    ],
)
async def test_where_no_list_is_answered_everyone_goes_alone(answer: httpx2.Response, gate: Gate) -> None:
    gate.fail = lambda request: answer if request.url.path == LIST else None
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, 20)
        gate.open()
        assert len(set(await asyncio.gather(*tasks))) == 20
    assert gate.paths.count("/v1/reservations") == 20
    assert [hold.state for hold in gate.service.holds] == ["settled"] * 20


def keys_of(request: httpx2.Request) -> set[str]:
    body = json.loads(request.content)
    return {each["idempotency_key"] for each in body.get("operations", [body])}


@pytest.mark.parametrize("fault", ["before it is sent", "before the answer", "unavailable"])
async def test_a_list_that_failed_is_sent_again_with_the_same_keys(fault: str, gate: Gate) -> None:
    failed: list[set[str]] = []

    def first_list(request: httpx2.Request) -> bool:
        if request.url.path != LIST or failed:
            return False
        failed.append(keys_of(request))
        return True

    if fault == "before the answer":
        gate.lose = first_list
    else:
        failure = httpx2.ConnectError("cut") if fault == "before it is sent" else httpx2.Response(503, json={})
        gate.fail = lambda request: failure if first_list(request) else None
    async with ledger_of(gate) as ledger:

        async def at_once(seconds: float) -> None:
            await asyncio.sleep(0)

        ledger._sender._pause = at_once
        tasks = await begin(ledger, gate, 40)
        gate.open()
        assert len(set(await asyncio.gather(*tasks))) == 40
    assert len(failed[0]) > 1
    assert {key for request in gate.sent for key in keys_of(request)} >= failed[0]
    assert sorted(hold.state for hold in gate.service.holds) == ["settled"] * 40, "each was held once"


async def test_without_retries_everyone_of_a_failed_list_is_told(gate: Gate) -> None:
    gate.fail = lambda request: httpx2.Response(503, json={"code": "x"}, headers={"Retry-After": "7"})
    async with ledger_of(gate, max_retries=0) as ledger:
        tasks = await begin(ledger, gate, 9)
        gate.open()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in errors] == [Unavailable] * 9
    assert {each.retry_after_seconds for each in errors if isinstance(each, Unavailable)} == {7}
    assert len({each.idempotency_key for each in errors if isinstance(each, Unavailable)}) == 9


async def test_a_list_that_hangs_keeps_no_newer_caller_waiting(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_module, "PATIENCE_SECONDS", 0.001)
    async with ledger_of(gate) as ledger:
        hung = [asyncio.create_task(pair(ledger, number)) for number in range(LISTS)]
        await until(lambda: len(gate.sent) == LISTS)
        hanging, gate.opened_async = gate.opened_async, asyncio.Event()
        gate.open()
        newer = [asyncio.create_task(pair(ledger, 100 + number)) for number in range(10)]
        assert len(set(await asyncio.gather(*newer))) == 10
        assert not any(task.done() for task in hung)
        hanging.set()
        await asyncio.gather(*hung)


async def canceled(task: asyncio.Task[str]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def states(gate: Gate) -> list[str]:
    return sorted(hold.state for hold in gate.service.holds)


async def test_one_who_goes_while_waiting_is_never_sent(gate: Gate) -> None:
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, 6)
        await canceled(tasks.pop(LISTS))
        gate.open()
        await asyncio.gather(*tasks)
    assert states(gate) == ["settled"] * 5


@pytest.mark.parametrize("which", [LISTS, LISTS + 1], ids=["who sends the list", "in the list"])
async def test_one_who_goes_while_on_the_way_gives_back_what_it_is_granted(which: int, gate: Gate) -> None:
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, LISTS + 3)
        first, gate.opened_async = gate.opened_async, asyncio.Event()
        first.set()  # the first are back, and the others leave as a list, which is kept on its way
        await until(lambda: LIST in gate.paths)
        await canceled(tasks.pop(which))
        gate.open()
        assert len(set(await asyncio.gather(*tasks))) == LISTS + 2
        await until(lambda: states(gate) == ["released", *["settled"] * (LISTS + 2)])
    (hold,) = (hold for hold in gate.service.holds if hold.state == "released")
    assert hold.end_reason == "its caller had gone"


@pytest.mark.parametrize("lost", [False, True])
async def test_one_who_goes_while_alone_on_the_way_gives_back_what_it_is_granted(lost: bool, gate: Gate) -> None:
    async with ledger_of(gate, max_retries=0) as ledger:
        (task,) = await begin(ledger, gate, 1)
        await canceled(task)
        gate.lose = lambda request: lost and len(gate.sent) == 1
        gate.open()
        await until(lambda: states(gate) == ["released"])
    assert len({key for request in gate.sent for key in keys_of(request)}) == 2


async def test_a_client_that_is_closed_gives_back_what_is_still_on_its_way(gate: Gate) -> None:
    ledger = ledger_of(gate)
    (task,) = await begin(ledger, gate, 1)
    await canceled(task)
    on_its_way, gate.opened_async = gate.opened_async, asyncio.Event()
    gate.open()
    await ledger.aclose()
    assert states(gate) == ["released"]
    on_its_way.set()


async def test_one_who_goes_between_two_tries_gives_back_what_it_was_granted(gate: Gate) -> None:
    gate.lose = lambda request: len(gate.sent) == 1
    gate.open()
    async with ledger_of(gate) as ledger:
        pausing = asyncio.Event()

        async def pause(seconds: float) -> None:
            pausing.set()
            await asyncio.Event().wait()

        ledger._sender._pause = pause
        task = asyncio.create_task(pair(ledger))
        await pausing.wait()
        assert states(gate) == ["held"]
        await canceled(task)
        await until(lambda: states(gate) == ["released"])


async def test_one_who_goes_and_is_denied_leaves_nothing_to_give_back(gate: Gate) -> None:
    gate.service.deny()
    async with ledger_of(gate) as ledger:
        (task,) = await begin(ledger, gate, 1)
        await canceled(task)
        gate.open()
        await until(lambda: len(gate.service.denials) == 1)
    assert len(gate.sent) == 1


async def test_a_deadline_of_one_is_not_that_of_the_others(gate: Gate) -> None:
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, LISTS)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as deadline:
                deadline.reschedule(asyncio.get_running_loop().time())
                await pair(ledger, 100)
        gate.open()
        assert len(set(await asyncio.gather(*tasks))) == LISTS
    assert states(gate) == ["settled"] * LISTS


def test_a_thread_that_is_interrupted_leaves_its_list_to_the_others(gate: Gate) -> None:
    interrupted: list[int] = []

    def interrupt(request: httpx2.Request) -> bool:
        if request.url.path == LIST and not interrupted:
            interrupted.append(len(keys_of(request)))
            raise KeyboardInterrupt
        return False

    gate.lose = interrupt  # after the list was served
    raised: list[BaseException] = []
    with TokenLedger("http://ledger.test", KEY, transport=gate) as ledger:

        def call(number: int) -> None:
            try:
                ledger.reserve(user=f"user-{number}", **CALL)
            except KeyboardInterrupt as error:
                raised.append(error)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        all_wait(ledger, gate, 20)
        gate.open()
        for thread in threads:
            thread.join()
    assert len(raised) == 1
    assert interrupted[0] > 1
    assert states(gate) == [*["held"] * 19, "released"]


async def test_an_error_of_the_transport_is_that_of_whoever_sent(gate: Gate) -> None:
    gate.fail = lambda request: ValueError("broken") if request.url.path == LIST and len(gate.sent) == 3 else None
    async with ledger_of(gate) as ledger:
        tasks = await begin(ledger, gate, LISTS + 2)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in outcomes if isinstance(each, Exception)] == ["broken"]


def test_a_fork_begins_with_nobody_on_the_way(gate: Gate) -> None:
    gate.open()
    with TokenLedger("http://ledger.test", KEY, transport=gate) as ledger:
        for _ in range(LISTS):  # as if copied while requests of the parent were on their way
            ledger._sender._travel._gathering.join(Place(release_request("1"), Nobody()))  # type: ignore[arg-type]

        def check() -> None:
            ledger.reserve(user="ada", **CALL)
            assert gate.paths == ["/v1/reservations"]

        check_in_a_fork(check)


class Nobody:
    def set(self) -> None:
        """Wake nobody."""


def of_calls() -> list[object]:
    """Return what there is of calls in this process; clients that other tests have left open may have some."""
    return [each for each in gc.get_objects() if isinstance(each, (Place, Departure, NoAnswer))]


@pytest.mark.parametrize("is_away", [False, True])
async def test_nothing_is_left_to_the_garbage_collector(is_away: bool, gate: Gate) -> None:
    gate.open()
    async with ledger_of(gate, max_retries=0) as ledger:
        await asyncio.gather(*(pair(ledger) for _ in range(5)))
        if is_away:
            gate.fail = lambda request: httpx2.ConnectError("away")
        gc.collect()
        before = of_calls()
        gc.disable()
        try:
            with suppress(Unreachable):
                await asyncio.gather(*(pair(ledger) for _ in range(40)))
            await asyncio.sleep(0)
            alive = [each for each in of_calls() if not any(each is old for old in before)]
        finally:
            gc.enable()
    assert alive == []


def test_nothing_of_threads_is_left_to_the_garbage_collector(gate: Gate) -> None:
    gate.open()
    with TokenLedger("http://ledger.test", KEY, transport=gate) as ledger:
        gc.collect()
        before = of_calls()
        gc.disable()
        try:
            ledger.reserve(user="ada", **CALL).settle(USED)
            alive = [each for each in of_calls() if not any(each is old for old in before)]
        finally:
            gc.enable()
    assert alive == []
