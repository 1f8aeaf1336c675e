"""Requests: paths, headers and bodies, and the values that answers are read into."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import (
    Amounts,
    ClientClosed,
    ConfigurationError,
    Limits,
    Share,
    TokenLedger,
    Unauthenticated,
    Usage,
    UsageEvent,
)
from token_ledger_sdk.connection import Connection
from token_ledger_sdk.wire.requests import money_text, path_to, time_text


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, service: Any) -> None:
    monkeypatch.setenv("TOKEN_LEDGER_URL", "http://from.environment/ledger/")
    monkeypatch.setenv("TOKEN_LEDGER_KEY", "tl_env_1_s")
    with TokenLedger(transport=httpx2.MockTransport(service)) as client:
        monkeypatch.setenv("TOKEN_LEDGER_KEY", "another")
        service.script = [httpx2.Response(200, json=service.run("open", {}))]
        client.get_run("11")
    (request,) = service.requests
    assert str(request.url) == "http://from.environment/ledger/v1/runs/11"
    assert request.headers["Authorization"] == "Bearer tl_env_1_s"
    assert request.headers["User-Agent"].startswith("token-ledger-sdk/")


@pytest.mark.parametrize(("url", "key"), [(None, "k"), ("http://x", None), ("", "k"), ("x.test", "k")])
def test_missing_settings(monkeypatch: pytest.MonkeyPatch, url: str | None, key: str | None) -> None:
    monkeypatch.delenv("TOKEN_LEDGER_URL", raising=False)
    monkeypatch.delenv("TOKEN_LEDGER_KEY", raising=False)
    with pytest.raises(ConfigurationError):
        TokenLedger(url, key)


def test_the_key_is_not_printed() -> None:
    assert "secret" not in repr(Connection("http://x", "secret"))


@pytest.mark.parametrize(
    "wrong",
    ["tl_live_1kabc_secret", "secret.test:8080", "https://user:secret@ledger.test", "http://secret@ledger.test"],
)
def test_an_address_that_may_be_a_secret_is_refused_and_not_told(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TokenLedger(wrong, "tl_key")
    assert "secret" not in f"{refused.value!r} {refused.value}"


def test_no_error_and_no_client_shows_the_key(service: Any) -> None:
    service.script = [httpx2.Response(401, json={"code": "unauthenticated", "detail": "no such key"})]
    with TokenLedger("http://x.test", "tl_secret", transport=httpx2.MockTransport(service)) as client:
        with pytest.raises(Unauthenticated) as refused:
            client.get_run("11")
        shown = [repr(client), repr(vars(client)), repr(service.requests[0]), repr(service.requests[0].headers)]
    shown += traceback.format_exception(refused.value)
    assert "secret" not in "".join(shown)


def test_blanks_around_address_and_key_are_nothing(service: Any) -> None:
    with TokenLedger(" http://x.test/\n", "\ttl_key \r\n", transport=httpx2.MockTransport(service)) as client:
        client.get_run("11")
    assert service.requests[0].headers["Authorization"] == "Bearer tl_key"
    assert str(service.requests[0].url) == "http://x.test/v1/runs/11"


@pytest.mark.parametrize("odd", ["tl_sec\nret", "tl_sec ret", "tl_secrét", "tl_\x7fsecret", "tl_\u2028secret", " \n"])
def test_an_odd_key_is_refused_and_not_told(odd: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TokenLedger("http://x.test", odd)
    assert "tl_" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_a_closed_client_says_so(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    run = client.run(user="ana")
    hold = client.reserve(user="ana", **call)
    client.close()
    with pytest.raises(ClientClosed):
        run.open()
    with pytest.raises(KeyError) as mine, hold:
        raise KeyError("mine")
    assert mine.value.__notes__ == [
        "Token Ledger could not end hold 21: the client is closed: nothing was sent; make the call inside the client's"
        " block"
    ]
    assert len(service.requests) == 1


def test_a_run_is_opened_as_asked(client: TokenLedger, service: Any) -> None:
    limits = Limits(tokens=50_000, cost=Decimal("1E+1"))
    allocation: dict[str, int | Share] = {"data_agent": 3, "report_agent": Share(1, minimum_tokens=5_000)}
    with client.run(user="ana", external_id="chat-7", limits=limits, allocation=allocation, strict=True) as run:
        assert run.run_id == "11"
    body = service.body(0)
    assert len(body.pop("idempotency_key")) == 32
    assert body == {
        "external_id": "chat-7",
        "user": "ana",
        "limits": {"tokens": 50_000, "cost": "10"},
        "allocation": [
            {"agent_type": "data_agent", "weight": 3},
            {"agent_type": "report_agent", "weight": 1, "minimum_tokens": 5_000},
        ],
        "strict": True,
    }


def test_only_what_was_given_is_sent(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    client.reserve(user="ana", **call)
    body = service.body(0)
    del body["idempotency_key"]
    assert body == {"user": "ana", **call}


def test_everything_that_can_be_given(client: TokenLedger, service: Any, call: dict[str, Any]) -> None:
    given = call | {
        "request_type": "report",
        "cached_input_tokens": 900,
        "ttl_seconds": 60,
        "tool": "sql",
        "requires": ["tools"],
        "tags": {"team": "a"},
        "apply": ["model_downgrade"],
        "idempotency_key": "mine",
    }
    client.attach("11").reserve(**given)
    assert service.body(0) == {"run_id": "11", **given}


def test_an_unknown_argument_is_refused_before_sending(client: TokenLedger, service: Any, call: Any) -> None:
    with pytest.raises(TypeError, match="color"):
        client.reserve(user="ana", color="red", **call)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="max_output_tokens"):
        client.reserve(user="ana", agent_type="a", provider="p", model="m", input_tokens=1)  # type: ignore[call-arg]
    assert service.requests == []


def test_the_caller_may_give_the_key_of_what_counts(client: TokenLedger, service: Any) -> None:
    run = client.attach("11")
    run.step("plan", idempotency_key="step-1")
    run.rebalance({"data_agent": 1}, idempotency_key="split-1")
    run.step("plan")
    run.rebalance({"data_agent": 1})
    keys = [service.body(index)["idempotency_key"] for index in range(4)]
    assert keys[:2] == ["step-1", "split-1"]
    assert [len(key) for key in keys[2:]] == [32, 32]


def test_a_run_is_read_as_values(client: TokenLedger) -> None:
    run = client.get_run("11")
    assert (run.state, run.user, run.created_at) == ("open", "ana", datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert run.balance.available == Amounts(50_000, Decimal("1.5"), None)


def test_ids_cannot_leave_their_path(client: TokenLedger, service: Any) -> None:
    assert path_to("runs", "../admin?x#y") == "/v1/runs/..%2Fadmin%3Fx%23y"
    with pytest.raises(Exception, match="not_found"):
        client.get_run("1/2/3")
    assert service.requests[0].url.raw_path == b"/v1/runs/1%2F2%2F3"


def test_events_are_reported(client: TokenLedger, service: Any) -> None:
    event = UsageEvent(
        source="worker",
        agent_type="data_agent",
        provider="openai",
        model="gpt-5-mini",
        usage=Usage(10, 2),
        user="ana",
        occurred_at=datetime(2026, 11, 20, 12, tzinfo=UTC),
    )
    booked, quarantined = client.record([event, event])
    sent = service.body(0)["events"]
    assert sent[0] == sent[1]
    assert sent[0]["usage"]["input_tokens"] == 10
    assert sent[0]["occurred_at"] == "2026-11-20T12:00:00+00:00"
    assert "run_id" not in sent[0]
    assert (booked.status, booked.cost) == ("booked", Decimal("0.0001"))
    assert (quarantined.status, quarantined.code) == ("quarantined", "too_old")


@pytest.mark.parametrize("wrong", [1.5, 1, "1"])
def test_money_is_decimal(wrong: Any) -> None:
    with pytest.raises(TypeError, match="Decimal"):
        money_text(wrong)


def test_times_have_a_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        time_text(datetime(2026, 1, 1, tzinfo=None))
