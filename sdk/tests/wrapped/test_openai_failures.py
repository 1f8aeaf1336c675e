"""What a call costs that failed: released where a provider never charges, else the best estimate."""

from __future__ import annotations

import socket

import httpx2
import openai
import pytest
from openai import OpenAI

from token_ledger_sdk import TokenLedger

from .conftest import KEY, GrantingLedger
from .provider import Provider
from .test_openai_calls import MESSAGES, chat_body
from .test_openai_streams import chat_stream


def call(client: OpenAI, *, stream: bool = False) -> object:
    return client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300, stream=stream)


def test_a_retry_is_one_call(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    provider.json(chat_body())
    call(client.with_options(max_retries=2))
    assert len(provider.asked) == 2
    assert len(granting.sent("/reservations")) == 1
    assert granting.settled["usage"]["output_tokens"] == 7
    assert granting.settled["measured"]["retries"] == 1
    assert "estimated" not in granting.settled


def test_attempts_that_timed_out_add_an_estimated_part(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    provider.json(chat_body())
    provider.replies[0].late = True
    call(client.with_options(max_retries=2))
    part, rest = granting.sent("/settle")
    held = granting.reserved
    assert (part["part"], part["estimated"], part["outcome"]) == (True, True, "error")
    assert (part["usage"]["input_tokens"], part["usage"]["output_tokens"]) == (held["input_tokens"], 300)
    assert ("part" in rest, "estimated" in rest) == (False, False)
    assert (rest["usage"]["input_tokens"], rest["usage"]["output_tokens"]) == (20, 7)
    assert rest["measured"]["error_kind"] == "timeout"


def test_no_connection_releases(ledger: TokenLedger, granting: GrantingLedger) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        for url in (address, "http://no-such-host.invalid/v1"):
            granting.requests.clear()
            with OpenAI(base_url=url, api_key=KEY, max_retries=1) as bare:
                client = ledger.wrap(bare, user="ada", agent_type="a")
                with pytest.raises(openai.APIConnectionError):
                    call(client)
            assert granting.released["reason"].startswith("no connection to the provider: ")


def test_no_tls_releases(ledger: TokenLedger, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    with (
        OpenAI(base_url=provider.url.replace("http:", "https:"), api_key=KEY, max_retries=0) as bare,
        pytest.raises(openai.APIConnectionError),
    ):
        call(ledger.wrap(bare, user="ada", agent_type="a"))
    assert granting.released["reason"].startswith("no connection to the provider")


def test_an_error_of_the_callers_own_before_the_call_releases(
    ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    def no_key() -> str:
        raise PermissionError("no key today")

    with OpenAI(base_url=provider.url, api_key=no_key) as bare, pytest.raises(PermissionError):
        call(ledger.wrap(bare, user="ada", agent_type="a"))
    assert granting.released["reason"] == "not sent"
    assert provider.asked == []


def test_a_ledger_that_is_away_after_the_call_keeps_the_answer(
    ledger: TokenLedger, bare: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    client = ledger.wrap(bare, user="ada", agent_type="a")
    held = granting.answer
    granting.script = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/settle") and len(granting.sent("/settle")) == 1:
            raise httpx2.ReadError("away")
        return held(request)

    granting.answer = answer  # type: ignore[method-assign]
    assert call(client)
    ledger.close()  # sends once more what got no answer
    first, second = granting.sent("/settle")
    assert first == second


def test_a_stream_that_is_cut_after_a_retry_adds_up(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "no"}}, 502)
    provider.stream(chat_stream("London", usage=False), cut_after=2)
    with pytest.raises(openai.APIConnectionError):
        for _ in client.with_options(max_retries=1).chat.completions.create(
            model="gpt-5.4", messages=MESSAGES, max_completion_tokens=300, stream=True
        ):
            pass
    usage = granting.settled["usage"]
    assert usage["output_tokens"] == 300 + 1
    assert usage["input_tokens"] == 2 * granting.reserved["input_tokens"]
