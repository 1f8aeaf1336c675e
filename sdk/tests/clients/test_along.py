"""What waits to be booked goes along with the next request, before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import BudgetExceeded, Hold, TokenLedger, Unavailable, Unreachable, Usage
from token_ledger_sdk.testing import FakeService

CALL: Any = {
    "user": "ada", "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 600,
    "max_output_tokens": 400,
}  # fmt: skip
USED = Usage(50, 1)


@pytest.fixture
def ledger(ledger_service: FakeService) -> Iterator[TokenLedger]:
    """A client that books nothing in the background while a test runs."""
    with ledger_service.client(flush_seconds=100_000) as made:
        yield made


def spend(ledger: TokenLedger) -> None:
    hold = ledger.reserve(**CALL)
    hold.settle_soon(USED)


def sent(service: FakeService) -> list[list[str]]:
    """Return the operations of each request."""
    return [
        [each["op"] for each in json.loads(request.content)["operations"]]
        if request.url.path.endswith("/operations")
        else [request.url.path.split("/")[-1]]
        for request in service.requests
    ]


def test_a_settle_goes_along_with_the_next_reserve(ledger: TokenLedger, ledger_service: FakeService) -> None:
    for _ in range(3):
        spend(ledger)
    assert sent(ledger_service) == [["reservations"], ["settle", "reserve"], ["settle", "reserve"]]
    ledger.close()
    assert sent(ledger_service)[3:] == [["settle"]]
    assert [each.usage for each in ledger_service.calls] == [USED] * 3


def test_what_a_call_did_not_use_is_free_before_the_next_one_asks(
    ledger: TokenLedger, ledger_service: FakeService
) -> None:
    ledger_service.budget("cap", tokens=1_051)
    spend(ledger)
    spend(ledger)
    with pytest.raises(BudgetExceeded):
        ledger.reserve(**CALL)
    assert len(ledger_service.calls) == 2, "the denial took a settle along"


@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("failure", [httpx2.ReadTimeout("slow"), 503, 413, 401])
def test_what_went_along_in_vain_is_sent_again(
    failure: Any, failures: int, ledger: TokenLedger, ledger_service: FakeService
) -> None:
    spend(ledger)
    ledger_service.fail(failure, failures)
    held: Hold | None = None
    for _ in range(3):
        try:
            held = ledger.reserve(**CALL)
            break
        except Exception:  # the outage
            continue
    assert held is not None
    held.settle_soon(USED)
    ledger.flush()
    assert len(ledger_service.calls) == 2
    ledger.close()


def test_after_an_answer_that_was_lost_it_is_booked_once(ledger_service: FakeService) -> None:
    lost: list[bool] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        answered = ledger_service.answer(request)
        if request.url.path.endswith("/operations") and not lost:
            lost.append(True)
            raise httpx2.ReadError("the answer was lost")
        return answered

    transport = httpx2.MockTransport(answer)
    ledger = TokenLedger("http://x.test", "tl_a_b_c", transport=transport, max_retries=0, flush_seconds=100_000)
    spend(ledger)
    with pytest.raises(Unreachable):
        ledger.reserve(**CALL)
    spend(ledger)
    ledger.close()
    assert len(ledger_service.calls) == 2


def test_nothing_goes_along_until_the_service_was_heard_of_again(
    ledger: TokenLedger, ledger_service: FakeService
) -> None:
    spend(ledger)
    ledger_service.fail(503)
    with pytest.raises(Unavailable):
        ledger.reserve(**CALL)
    ledger_service.requests.clear()
    ledger.reserve(**CALL).release()
    assert sent(ledger_service) == [["reservations"], ["settle", "release"]]
    ledger.close()
    assert len(ledger_service.calls) == 1


def test_many_go_along_some_at_a_time(ledger: TokenLedger, ledger_service: FakeService) -> None:
    holds = [ledger.reserve(**CALL) for _ in range(100)]
    for hold in holds:
        hold._outbox.put(_record(hold), hold)
    ledger_service.requests.clear()
    ledger.reserve(**CALL).release()
    assert [len(each) for each in sent(ledger_service)] == [65, 37]
    ledger.close()
    assert len(ledger_service.calls) == 100


def _record(hold: Hold) -> Any:
    from token_ledger_sdk.spool.lines import Record
    from token_ledger_sdk.wire.calls import use_of
    from token_ledger_sdk.wire.requests import operation_of
    from token_ledger_sdk.wire.reservations import settle_request

    use = use_of(USED, {}, provider="openai", model="gpt-5.4")
    return Record(operation_of(settle_request(hold.reservation_id, use)))


def test_an_hour_without_the_service_loses_nothing(ledger_service: FakeService, tmp_path: Path) -> None:
    """The clocks are moved: of the service, whose holds and leases expire meanwhile, and of the client."""
    now = 1_000.0
    ledger = ledger_service.client(flush_seconds=100_000, spool=tmp_path)
    ledger._sender.outbox._clock = lambda: now
    leases = ledger.lease(calls=30, **CALL)
    calls = [*(ledger.reserve(**CALL) for _ in range(30)), *(leases.reserve() for _ in range(30))]
    ledger_service.fail(httpx2.ConnectError("away"), 1_000_000)
    for call in calls:
        now += 60
        ledger_service.clock.advance(60)
        call.settle_soon(USED)
    with pytest.raises(Unreachable):
        ledger.flush()
    assert ledger_service.calls == []
    ledger._sender.outbox.spool.close()  # as the death of the process does
    ledger_service._failures.clear()
    with ledger_service.client(spool=tmp_path) as heir:
        heir.flush()
    assert [each.usage for each in ledger_service.calls] == [USED] * 60
