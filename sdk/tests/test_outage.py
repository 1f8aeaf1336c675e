"""Retries: which outcomes are retried, after how long, and with the same bytes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import (
    BudgetExceeded,
    InvalidAnswer,
    LedgerError,
    OutcomeUnknown,
    TokenLedger,
    Unavailable,
    Unreachable,
)
from token_ledger_sdk._sync.sender import Sender
from token_ledger_sdk.outage import RetryPolicy, retry_after_seconds
from token_ledger_sdk.wire.answers import Answer, NoAnswer
from token_ledger_sdk.wire.requests import ApiRequest, post

POLICY = RetryPolicy(max_retries=3, base_seconds=1.0, cap_seconds=3.0, longest_wait_seconds=10.0)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "retries", "draw", "delay"),
    [
        (Answer(503, b""), 0, 1.0, 1.0),
        (Answer(503, b""), 1, 1.0, 2.0),
        (Answer(503, b""), 2, 1.0, 3.0),
        (Answer(503, b""), 2, 0.5, 1.5),
        (Answer(503, b""), 0, 0.0, 0.0),
        (Answer(503, b""), 3, 1.0, None),
        (Answer(429, b"", 7.0), 0, 0.5, 7.5),
        (Answer(429, b"", 10.0), 0, 0.0, 10.0),
        (Answer(429, b"", 10.1), 0, 0.0, None),
        (Answer(502, b""), 0, 1.0, 1.0),
        (Answer(504, b""), 0, 1.0, 1.0),
        (NoAnswer(OSError()), 0, 1.0, 1.0),
        (NoAnswer(OSError()), 3, 1.0, None),
        (NoAnswer(OSError(), may_retry=False), 0, 1.0, None),
        *[(Answer(status, b"", 1.0), 0, 1.0, None) for status in (200, 201, 302, 400, 401, 402, 403, 404)],
        *[(Answer(status, b"", 1.0), 0, 1.0, None) for status in (408, 409, 413, 422)],
        *[(Answer(status, b""), 0, 1.0, 1.0) for status in (500, 501, 520, 599)],
    ],
)
def test_delay(outcome: Answer | NoAnswer, retries: int, draw: float, delay: float | None) -> None:
    assert POLICY.delay_seconds(outcome, retries=retries, draw=draw) == delay


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Fri, 20 Nov 2026 12:00:05 GMT", 5.0),
        ("Fri, 20 Nov 2026 12:00:05 -0000", 5.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


def test_a_policy_does_not_retry_less_than_never() -> None:
    with pytest.raises(ValueError, match="max_retries"):
        RetryPolicy(-1)


def sending(service: Callable[[httpx2.Request], httpx2.Response], request: ApiRequest) -> tuple[list[float], Any]:
    """Send without waiting; returns the pauses and the answer or error."""
    pauses: list[float] = []
    with httpx2.Client(transport=httpx2.MockTransport(service), base_url="http://ledger.test") as http:
        sender = Sender(lambda: http, POLICY, pause=pauses.append, draw=lambda: 1.0)
        try:
            return pauses, sender.send(request).raw
        except LedgerError as error:
            return pauses, error


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("slow"),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.WriteError("reset"),
        httpx2.RemoteProtocolError("closed"),
        httpx2.PoolTimeout("busy"),
        httpx2.Response(429),
        httpx2.Response(502, text="<html>bad gateway</html>"),
        httpx2.Response(503, json={"code": "outcome_unknown"}),
        httpx2.Response(504),
    ],
    ids=repr,
)
def test_the_same_bytes_are_sent_until_there_is_an_answer(service: Any, failure: Any) -> None:
    service.script = [failure, failure]
    request = post("/v1/runs", {"idempotency_key": "k", "user": "ana"})
    pauses, answer = sending(service, request)
    assert answer["run_id"] == "11"
    assert pauses == [1.0, 2.0]
    assert {sent.content for sent in service.requests} == {request.content}
    assert len(service.requests) == 3


def test_retry_after_is_honored(service: Any) -> None:
    service.script = [service.problem(503, "unavailable", {"Retry-After": "4"})]
    pauses, _ = sending(service, post("/v1/runs", {}))
    assert pauses == [5.0]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx2.ReadTimeout("slow"), Unreachable),
        (httpx2.Response(503, json={"code": "outcome_unknown"}), OutcomeUnknown),
        (httpx2.Response(429), Unavailable),
    ],
)
def test_retries_end(service: Any, failure: Any, kind: type[LedgerError]) -> None:
    service.script = [failure] * 9
    pauses, error = sending(service, post("/v1/runs", {}))
    assert type(error) is kind
    assert (len(service.requests), len(pauses)) == (4, 3)
    assert error.__cause__ is (failure if isinstance(failure, Exception) else None)


def test_a_client_closed_between_attempts_leaves_the_outcome_unknown(service: Any) -> None:
    service.script = [httpx2.ReadTimeout("slow")]
    http = httpx2.Client(transport=httpx2.MockTransport(service), base_url="http://ledger.test")
    sender = Sender(lambda: http, POLICY, pause=lambda seconds: http.close())
    with pytest.raises(Unreachable, match="slow"):
        sender.send(post("/v1/runs", {}))
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (httpx2.UnsupportedProtocol("ftp"), Unreachable),
        (httpx2.Response(200, text="<html>"), InvalidAnswer),
        (httpx2.Response(200, text="[]"), InvalidAnswer),
    ],
    ids=repr,
)
def test_what_cannot_change_is_not_retried(service: Any, outcome: Any, kind: type[LedgerError]) -> None:
    service.script = [outcome] * 9
    pauses, error = sending(service, post("/v1/runs", {}))
    assert type(error) is kind
    assert (len(service.requests), pauses) == (1, [])


def test_a_denial_is_never_retried(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    service.script = [service.denial(), service.denial()]
    with pytest.raises(BudgetExceeded):
        client.reserve(user="ana", **call)
    assert len(service.requests) == 1


def test_one_key_per_reserve_whatever_the_retries(client: TokenLedger, service: Any, call: Any) -> None:
    service.script = [httpx2.ReadTimeout("slow"), service.problem(503, "outcome_unknown")]
    client.reserve(user="ana", **call)
    client.reserve(user="ana", **call)
    keys = [service.body(index)["idempotency_key"] for index in range(4)]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert all(len(key) == 32 and int(key, 16) for key in keys)


def test_the_number_of_retries_is_the_callers(service: Any, call: Any) -> None:
    service.script = [httpx2.ConnectError("refused")] * 2
    transport = httpx2.MockTransport(service)
    with (
        TokenLedger("http://ledger.test", "k", transport=transport, max_retries=0) as client,
        pytest.raises(Unreachable, match="ConnectError: refused"),
    ):
        client.reserve(user="ana", **call)
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ReadTimeout("slow"),
        httpx2.Response(503, json={"code": "outcome_unknown"}),
        httpx2.Response(504, text="<html>gateway time-out</html>"),
    ],
    ids=repr,
)
def test_who_got_no_answer_is_told_the_key_to_repeat_with(client: TokenLedger, service: Any, failure: Any) -> None:
    run = client.attach("11")
    service.script = [failure] * 4
    with pytest.raises((Unreachable, Unavailable)) as failed:
        run.step("plan")
    assert failed.value.idempotency_key == service.body(0)["idempotency_key"]
    assert pickle.loads(pickle.dumps(failed.value)).idempotency_key == failed.value.idempotency_key
    run.step("plan", idempotency_key=failed.value.idempotency_key)
    assert len({request.content for request in service.requests}) == 1


def test_a_read_has_no_key(client: TokenLedger, service: Any) -> None:
    service.script = [httpx2.ReadTimeout("slow")] * 4
    with pytest.raises(Unreachable) as failed:
        client.get_run("11")
    assert failed.value.idempotency_key is None
