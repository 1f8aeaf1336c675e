"""Guarded functions: what is asked before they run, and what is booked for what they return or raise."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from token_ledger_sdk import (
    AsyncTokenLedger,
    BudgetExceeded,
    ConfigurationError,
    TokenLedger,
    Usage,
    current_call,
)

from .conftest import GrantingLedger
from .provider import Provider
from .test_openai_calls import MESSAGES, chat_body

CALL: Any = {"provider": "openai", "model": "gpt-5.4", "input_tokens": 100, "max_output_tokens": 50}
OURS: Any = {"user": "ada", "agent_type": "data_agent"}
ANSWER = {"id": "r1", "model": "gpt-5.4", "usage": {"prompt_tokens": 90, "completion_tokens": 7}}


def used(body: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in body["usage"].items() if count}


def raising(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def test_a_call_is_held_before_and_booked_from_what_is_returned(ledger: TokenLedger, granting: GrantingLedger) -> None:
    @ledger.guard(**{**CALL, "input_tokens": lambda text, **_: len(text)}, **OURS, tags={"team": "core"})
    def ask(text: str, *, extra: int = 0) -> dict[str, Any]:
        """Ask."""
        assert granting.reserved["input_tokens"] == 3
        return ANSWER

    assert ask("abc", extra=1) is ANSWER
    assert (ask.__name__, ask.__doc__) == ("ask", "Ask.")
    assert granting.reserved["tags"] == {"team": "core"}
    assert used(granting.settled) == {"input_tokens": 90, "output_tokens": 7}
    assert granting.settled["response_id"] == "r1"
    assert "latency_ms" in granting.settled["measured"]


async def test_an_asynchronous_function_is_guarded_alike(
    async_ledger: AsyncTokenLedger, granting: GrantingLedger
) -> None:
    @async_ledger.guard(**CALL, agent_type="data_agent")
    async def ask() -> dict[str, Any]:
        return ANSWER

    async def call(user: str) -> None:
        with async_ledger.context(user=user):
            await ask()

    await asyncio.gather(call("ada"), call("bob"))
    assert {body["user"] for body in granting.sent("/reservations")} == {"ada", "bob"}
    assert [body["usage"]["output_tokens"] for body in granting.sent("/settle")] == [7, 7]


def test_a_stated_function_says_what_was_used(ledger: TokenLedger, granting: GrantingLedger) -> None:
    @ledger.guard(**CALL, **OURS, usage=lambda words: Usage(100, len(words)))
    def ask() -> list[str]:
        return ["a", "b"]

    ask()
    assert used(granting.settled) == {"input_tokens": 100, "output_tokens": 2}


@pytest.mark.parametrize("usage", [None, lambda _: 1 / 0, lambda _: "nothing"])
def test_an_answer_that_says_nothing_is_an_estimate(usage: Any, ledger: TokenLedger, granting: GrantingLedger) -> None:
    ask = ledger.guard(**CALL, **OURS, usage=usage)(lambda: None)
    ask()
    settled = granting.settled
    assert (used(settled), settled["estimated"]) == ({"input_tokens": 100, "output_tokens": 50}, True)
    assert settled["outcome"] == "ok"


def test_a_denied_function_is_not_called(ledger: TokenLedger, granting: GrantingLedger) -> None:
    granting.most_output = 10
    calls: list[int] = []
    for denied_as, expected in ((None, BudgetExceeded), (RuntimeError, RuntimeError)):
        ask = ledger.guard(**CALL, **OURS, denied_as=denied_as)(lambda: calls.append(1))
        with pytest.raises(expected):
            ask()
    assert calls == []


def test_without_a_limit_the_function_is_told_what_fits(ledger: TokenLedger, granting: GrantingLedger) -> None:
    granting.most_output, granting.stand_in = 20, "gpt-5.4-mini"
    seen: list[Any] = []

    @ledger.guard(**{**CALL, "max_output_tokens": None}, **OURS)
    def ask() -> dict[str, Any]:
        seen.append((current_call().model, current_call().output_limit))
        return ANSWER

    ask()
    assert seen == [("gpt-5.4-mini", 20)]
    with pytest.raises(ConfigurationError, match="no guarded call"):
        current_call()


RELEASED = [
    (httpx2.ConnectError("refused"), "no connection to the provider: ConnectError"),
    (httpx2.HTTPStatusError("no", request=httpx2.Request("GET", "http://x"), response=httpx2.Response(429)),
     "the provider answered 429"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "reason"), RELEASED)
def test_what_is_surely_not_billed_is_released(
    error: Exception, reason: str, ledger: TokenLedger, granting: GrantingLedger
) -> None:
    with pytest.raises(type(error)):
        ledger.guard(**CALL, **OURS)(raising(error))()
    assert granting.released["reason"] == reason


def test_an_error_of_the_openai_library_tells_its_status(
    ledger: TokenLedger, granting: GrantingLedger, provider: Provider, bare: OpenAI
) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)

    @ledger.guard(**CALL, **OURS)
    def ask() -> Any:
        return bare.chat.completions.create(model="gpt-5.4", messages=MESSAGES)

    with pytest.raises(openai.RateLimitError):
        ask()
    assert granting.released["reason"] == "the provider answered 429"
    granting.requests.clear()
    provider.replies.clear()
    provider.json(chat_body())
    ask()
    assert granting.settled["usage"]["output_tokens"] > 0


def test_of_what_a_library_tries_again_the_last_answer_counts(
    ledger: TokenLedger, granting: GrantingLedger, provider: Provider, bare: OpenAI
) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    retrying = bare.with_options(max_retries=1)
    ask = ledger.guard(**CALL, **OURS)(lambda: retrying.chat.completions.create(model="gpt-5.4", messages=MESSAGES))
    with pytest.raises(openai.RateLimitError):
        ask()
    assert (len(provider.asked), granting.released["reason"]) == (2, "the provider answered 429")


def test_a_wrapped_client_within_makes_the_same_call(
    ledger: TokenLedger, granting: GrantingLedger, provider: Provider, client: OpenAI
) -> None:
    provider.json(chat_body())

    @ledger.guard(**CALL, **OURS)
    def ask() -> str:
        answer = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
        return str(answer.choices[0].message.content)

    assert ask() == "Paris"
    assert len(granting.sent("/reservations")) == 1
    assert used(granting.settled) == {"input_tokens": 20, "output_tokens": 7}
    assert granting.settled.get("estimated") is None


def test_an_error_of_a_wrapped_client_within_is_told_once(
    ledger: TokenLedger, granting: GrantingLedger, provider: Provider, client: OpenAI
) -> None:
    provider.json({"error": {"message": "no"}}, 502)
    ask = ledger.guard(**CALL, **OURS)(lambda: client.chat.completions.create(model="gpt-5.4", messages=MESSAGES))
    with pytest.raises(openai.APIStatusError):
        ask()
    settled = granting.settled
    assert (used(settled), settled["measured"]["error_kind"]) == (
        {"input_tokens": 100, "output_tokens": 50},
        "status_502",
    )


@pytest.mark.parametrize("error", [ValueError("mine"), httpx2.ReadTimeout("late")])
def test_any_other_exception_may_have_cost_something(
    error: BaseException, ledger: TokenLedger, granting: GrantingLedger
) -> None:
    with pytest.raises(type(error)):
        ledger.guard(**CALL, **OURS)(raising(error))()
    assert used(granting.settled) == {"input_tokens": 100, "output_tokens": 50}
    assert (granting.settled["estimated"], granting.settled["outcome"]) == (True, "error")


@pytest.mark.parametrize("sends", [False, True])
def test_a_function_may_say_when_it_sends(sends: bool, ledger: TokenLedger, granting: GrantingLedger) -> None:
    @ledger.guard(**CALL, **OURS, says_when_sent=True)
    def ask() -> None:
        if sends:
            current_call().sending()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        ask()
    if sends:
        assert granting.settled["estimated"] is True
    else:
        assert granting.released["reason"] == "not sent"


def test_an_error_in_what_the_arguments_say_holds_nothing(ledger: TokenLedger, granting: GrantingLedger) -> None:
    ask = ledger.guard(**{**CALL, "input_tokens": lambda text: len(text)}, **OURS)(lambda text: text)
    with pytest.raises(TypeError):
        ask(5)
    assert granting.requests == []


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({}, "what the function calls"),
    ({"provider": "openai"}, "both"),
    ({"provider": "openai", "model": "m"}, "input_tokens"),
    ({**CALL, "cost": Decimal(1)}, "give tool"),
    ({**CALL, "colour": "red"}, "unknown argument 'colour'"),
]


@pytest.mark.parametrize(("said", "error"), NONSENSE)
def test_what_does_not_go_together_is_refused_at_once(said: Any, error: str, ledger: TokenLedger) -> None:
    with pytest.raises(TypeError, match=error):
        ledger.guard(**said)


def test_only_functions_that_return_are_guarded(ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> None:
    async def later() -> None: ...

    def stream() -> Any:
        yield 1

    for function in (later, stream):
        with pytest.raises(TypeError, match="no function that returns"):
            ledger.guard(**CALL, **OURS)(function)
    for function in (stream, len):
        with pytest.raises(TypeError, match="async def"):
            async_ledger.guard(**CALL, **OURS)(function)


# Tools


def the_event(granting: GrantingLedger) -> dict[str, Any]:
    ((event,),) = [body["events"] for body in granting.sent("/usage")]
    datetime.fromisoformat(event.pop("occurred_at"))
    return {name: value for name, value in event.items() if name not in ("idempotency_key", "measured", "source")}


TOOL = {"spooled": True, "type": "tool_call", "tool": "search", "user": "ada", "agent_type": "data_agent"}


def test_a_tool_with_a_cost_is_booked_as_a_tool_call(ledger: TokenLedger, granting: GrantingLedger) -> None:
    @ledger.guard(tool="search", tool_source="mcp:brave", cost=Decimal("0.005"), **OURS)
    def search(query: str) -> str:
        return query

    assert search("x") == "x"
    assert granting.sent("/reservations") == []
    expected = {"tool_source": "mcp:brave", "outcome": "ok", "cost": "0.005"}
    assert the_event(granting) == TOOL | expected


@pytest.mark.parametrize(("error", "cost"), [(ValueError("mine"), "0.005"), (httpx2.ConnectError("refused"), None)])
def test_a_tool_that_fails_costs_what_it_may_have_cost(
    error: Exception, cost: str | None, ledger: TokenLedger, granting: GrantingLedger
) -> None:
    with pytest.raises(type(error)):
        ledger.guard(tool="search", cost=Decimal("0.005"), **OURS)(raising(error))()
    event = the_event(granting)
    assert (event["outcome"], event.get("cost")) == ("error", cost)


def test_a_tool_whose_result_is_an_error_has_failed(ledger: TokenLedger, granting: GrantingLedger) -> None:
    ledger.guard(tool="search", **OURS)(lambda: {"isError": True})()
    assert the_event(granting)["outcome"] == "error"


def test_a_tool_with_a_price_is_held_before_and_its_hold_released_after(
    ledger: TokenLedger, granting: GrantingLedger
) -> None:
    @ledger.guard(tool="search", provider="brave", model="search", max_usage={"web_searches": 1}, **OURS)
    def search() -> str:
        assert (granting.reserved["tool"], granting.reserved["max_usage"]) == ("search", {"web_searches": 1})
        assert (granting.reserved["input_tokens"], granting.reserved["max_output_tokens"]) == (0, 0)
        return "found"

    search()
    event = the_event(granting)
    assert used(event) == {"web_searches": 1}
    assert (event["provider"], event.get("estimated")) == ("brave", None)
    assert re.fullmatch("booked as event [0-9a-f]{32} of the tool", granting.released["reason"])


def test_a_tool_that_uses_a_model_is_booked_with_what_that_used(ledger: TokenLedger, granting: GrantingLedger) -> None:
    ledger.guard(tool="summary", **CALL, **OURS)(lambda: ANSWER)()
    event = the_event(granting)
    assert (used(event), event["model"]) == ({"input_tokens": 90, "output_tokens": 7}, "gpt-5.4")


def test_a_tool_whose_booking_has_no_answer_is_booked_later(ledger: TokenLedger, granting: GrantingLedger) -> None:
    granting.script = [httpx2.ConnectError("away")]
    ledger.guard(tool="search", cost=Decimal("0.005"), **OURS)(lambda: "found")()
    ledger.close()
    first, second = granting.sent("/usage")
    assert first == second
