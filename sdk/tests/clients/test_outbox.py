"""Ends of holds that get no answer: sent again in the background until there is one, and told of at the close."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import (
    AsyncTokenLedger,
    InvalidRequest,
    LedgerError,
    NotEnded,
    OutcomeUnknown,
    TokenLedger,
    Unavailable,
    Unreachable,
    Usage,
)
from token_ledger_sdk._async import outbox as async_outbox
from token_ledger_sdk._sync import outbox as sync_outbox

from ..conftest import URL

SETTLE = "POST /v1/reservations/21/settle"
RELEASE = "POST /v1/reservations/21/release"
PATIENCE_SECONDS = 60
USED = Usage(1_100, 200)


class Outage:
    """Makes a service away until it is `over`; `answered` is set by the first settle or release after that."""

    def __init__(self, service: Any, failure: httpx2.Response | Exception) -> None:
        self.over, self.answered = threading.Event(), threading.Event()
        self._answer, self._failure = service.answer, failure
        service.answer = self

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        ends = request.url.path.endswith(("settle", "release"))
        if ends and not self.over.is_set():
            if isinstance(self._failure, Exception):
                raise self._failure
            return self._failure
        answer: httpx2.Response = self._answer(request)
        if ends:
            self.answered.set()
        return answer


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (async_outbox, sync_outbox):
        monkeypatch.setattr(module, "retry_pause_seconds", lambda rounds: 0.001)


FAILURES = {
    "no connection": (httpx2.ConnectError("refused"), Unreachable),
    "no answer": (httpx2.ReadTimeout("slow"), Unreachable),
    "read-only database": (httpx2.Response(500, json={"code": "internal_error"}), Unavailable),
    "a gateway that got a bad answer": (httpx2.Response(502, content=b"<html>"), Unavailable),
    "a database that is away": (httpx2.Response(503, json={"code": "unavailable"}), Unavailable),
    "a commit that was lost": (httpx2.Response(503, json={"code": "outcome_unknown"}), OutcomeUnknown),
    "a gateway that got no answer": (httpx2.Response(504, content=b"<html>"), Unavailable),
    "a proxy's own": (httpx2.Response(520, content=b"<html>"), Unavailable),
}


@pytest.mark.parametrize(("failure", "error"), FAILURES.values(), ids=FAILURES.keys())
def test_a_settle_is_booked_after_an_outage(
    failure: Any, error: type[LedgerError], client: TokenLedger, service: Any, call: dict[str, Any]
) -> None:
    outage = Outage(service, failure)
    hold = client.reserve(user="ana", **call)
    with pytest.raises(error):
        hold.settle(USED)
    outage.over.set()
    assert outage.answered.wait(PATIENCE_SECONDS)
    client.close()
    settles = [json.loads(request.content) for request in service.requests if request.url.path.endswith("settle")]
    assert len(settles) > 4  # as often as a settle is sent in the foreground
    assert all(settle == settles[0] for settle in settles)


async def test_a_settle_is_booked_after_an_outage_also_asynchronously(
    async_client: AsyncTokenLedger, service: Any, call: dict[str, Any]
) -> None:
    outage = Outage(service, httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable):
        async with await async_client.reserve(user="ana", **call) as hold:
            await hold.settle(USED)
    outage.over.set()
    await asyncio.to_thread(outage.answered.wait, PATIENCE_SECONDS)
    assert outage.answered.is_set()
    await async_client.aclose()
    assert service.paths()[-1] == SETTLE


def test_what_is_left_is_said_at_the_close(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    Outage(service, httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable):
        client.reserve(user="ana", **call).settle(USED)
    with pytest.raises(NotEnded, match="1 holds got no answer") as told:
        client.close()
    assert (told.value.unanswered, dict(told.value.refused)) == (("21",), {})
    client.close()  # closed already


def test_what_is_left_does_not_hide_the_error_that_left_the_block(
    client: TokenLedger, service: Any, call: dict[str, Any]
) -> None:
    Outage(service, httpx2.ConnectError("refused"))
    with pytest.raises(ValueError, match="mine") as raised, client:
        with pytest.raises(Unreachable):
            client.reserve(user="ana", **call).settle(USED)
        raise ValueError("mine")
    assert "not all holds have ended" in raised.value.__notes__[0]


def test_an_answer_leaves_nothing_to_say(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    outage = Outage(service, httpx2.ConnectError("refused"))
    hold = client.reserve(user="ana", **call)
    with pytest.raises(Unreachable):
        hold.settle(USED)
    outage.over.set()
    hold.settle(USED)
    client.close()


def test_a_refusal_in_the_background_is_said_at_the_close(
    client: TokenLedger, service: Any, call: dict[str, Any]
) -> None:
    outage = Outage(service, httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable):
        client.reserve(user="ana", **call).settle(USED)
    outage._answer = lambda request: service.problem(422, "invalid_request")
    outage.over.set()
    assert outage.answered.wait(PATIENCE_SECONDS)
    with pytest.raises(NotEnded, match="hold 21 was refused") as told:
        client.close()
    assert isinstance(told.value.refused["21"], InvalidRequest)


def test_a_release_of_a_hold_that_has_expired_meanwhile_is_done(
    client: TokenLedger, service: Any, call: dict[str, Any]
) -> None:
    outage = Outage(service, httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable):
        client.reserve(user="ana", **call).release()
    outage._answer = lambda request: service.problem(409, "reservation_not_open")
    outage.over.set()
    assert outage.answered.wait(PATIENCE_SECONDS)
    client.close()
    assert service.paths()[-1] == RELEASE


@pytest.mark.parametrize(("role", "sends"), [("agent", True), ("admin", False)])
def test_what_a_process_left_is_sent_by_another_key_of_its_role_only(
    role: str, sends: bool, service: Any, call: dict[str, Any]
) -> None:
    """The service keeps the idempotency keys of each role apart: by another role it would be booked again."""
    dead = TokenLedger(URL, "tl_test_1_dead", transport=httpx2.MockTransport(service), max_retries=0)
    dead.reserve(user="ana", **call).settle_soon(USED)
    dead.flush()
    outage = Outage(service, httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable):
        dead.reserve(user="ana", **call).settle(USED)
    dead._sender.outbox.spool.close()  # as its death does
    outage.over.set()
    service.role = role
    service.requests.clear()
    with TokenLedger(URL, "tl_test_2_heir", transport=httpx2.MockTransport(service), max_retries=0) as heir:
        heir.flush()
    assert (SETTLE in service.paths()) is sends


def test_of_whom_the_records_are_is_learned_from_what_goes_along_with_requests(
    service: Any, call: dict[str, Any]
) -> None:
    """A process that is always busy sends nothing else, so that no other key could send what it leaves."""
    transport = httpx2.MockTransport(service)
    dead = TokenLedger(URL, "tl_test_1_dead", transport=transport, flush_seconds=3_600)
    for _ in range(2):
        dead.reserve(user="ana", **call).settle_soon(USED)
    dead._sender.outbox.spool.close()  # as its death does
    service.requests.clear()
    with TokenLedger(URL, "tl_test_2_heir", transport=transport) as heir:
        heir.flush()
    assert SETTLE in service.paths()


def test_a_part_is_booked_after_an_outage_and_leaves_the_hold_open(
    client: TokenLedger, service: Any, call: dict[str, Any]
) -> None:
    outage = Outage(service, httpx2.ConnectError("refused"))
    hold = client.reserve(user="ana", **call)
    with pytest.raises(Unreachable):
        hold.settle_part(Usage(600, 10))
    outage.over.set()
    assert outage.answered.wait(PATIENCE_SECONDS)
    hold.settle(Usage(600, 40))
    client.close()
    settles = [json.loads(request.content) for request in service.requests if request.url.path.endswith("settle")]
    parts = [settle for settle in settles if settle.get("part")]
    assert len({settle["idempotency_key"] for settle in parts}) == 1
    assert [settle["usage"]["output_tokens"] for settle in settles if not settle.get("part")] == [30]
