"""Holds whose callers have gone before the answer came: given back by the outbox, also of the next process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from token_ledger_sdk.outage import is_retryable
from token_ledger_sdk.spool.deliveries import asked_again, is_over
from token_ledger_sdk.testing import FakeService
from token_ledger_sdk.wire.answers import Answer, NoAnswer
from token_ledger_sdk.wire.calls import Scope
from token_ledger_sdk.wire.reservations import release_request, reserve_request

CALL: Any = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 6, "max_output_tokens": 4,
}  # fmt: skip
GONE = NoAnswer(httpx2.ReadTimeout("slow"), may_retry=True)


def states(service: FakeService) -> list[str]:
    return [hold.state for hold in service.holds]


@pytest.mark.parametrize("was_granted", [True, False])
@pytest.mark.parametrize("outcome", [None, GONE, Answer(503)])
def test_without_an_answer_the_next_process_asks_again_and_releases(
    outcome: Any, was_granted: bool, ledger_service: FakeService, tmp_path: Path
) -> None:
    request = reserve_request(CALL, Scope(user="ada"))
    dead = ledger_service.client(spool=tmp_path)
    if was_granted:
        dead._sender.send(request)
    dead._sender.outbox.give_back(request, outcome)
    dead._sender.outbox.spool.close()  # as its death does
    assert states(ledger_service) == ["held"] * was_granted
    with ledger_service.client(spool=tmp_path) as heir:
        heir.flush()
    assert states(ledger_service) == ["released"]


def test_a_denial_needs_nothing_more(ledger_service: FakeService) -> None:
    ledger_service.deny()
    with ledger_service.client() as ledger:
        ledger._sender.outbox.give_back(reserve_request(CALL, Scope(user="ada")))
        ledger.flush()
        assert ledger._sender.outbox.spool.waiting == 0


@pytest.mark.parametrize(
    "answer", [b"<html>", b"{}", b'{"state": "held"}', b'{"state": "settled", "reservation_id": "7"}']
)
def test_an_answer_that_grants_nothing_needs_nothing(answer: bytes, ledger_service: FakeService) -> None:
    with ledger_service.client() as ledger:
        ledger._sender.outbox.give_back(reserve_request(CALL, Scope(user="ada")), Answer(201, answer))
        ledger._sender.outbox.give_back(release_request("7"), GONE)
        assert ledger._sender.outbox.spool.waiting == 0
    assert ledger_service.requests == []
    assert is_retryable(GONE), "so that the second one would be kept, were it a reserve"


@pytest.mark.parametrize(("seconds", "over"), [(59, False), (61, True)])
def test_it_is_asked_for_until_it_would_have_expired(seconds: int, over: bool) -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    record = asked_again(reserve_request({**CALL, "ttl_seconds": 60}, Scope(user="ada")), now)
    assert record is not None
    assert is_over(record, now + timedelta(seconds=seconds)) is over


def test_what_is_over_is_not_sent(ledger_service: FakeService) -> None:
    with ledger_service.client(flush_seconds=100_000) as ledger:
        record = asked_again(reserve_request(CALL, Scope(user="ada")), datetime.now(UTC) - timedelta(hours=1))
        assert record is not None
        ledger._sender.outbox.put(record)
        ledger.flush()
        assert ledger._sender.outbox.spool.waiting == 0
    assert (states(ledger_service), ledger_service.requests) == ([], [])
