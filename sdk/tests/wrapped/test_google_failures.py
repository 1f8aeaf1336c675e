"""What a failed call through the google-genai library costs: nothing where Google never charges, else an estimate."""

from __future__ import annotations

import socket
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

from token_ledger_sdk import TokenLedger

from .conftest import KEY, GrantingLedger
from .provider import Provider
from .test_google_calls import MODEL, QUESTION, answer

ERROR = {"error": {"code": 1, "message": "no", "status": "SOME_ERROR"}}
AGAIN = types.HttpRetryOptions(attempts=2, initial_delay=0.001, max_delay=0.002, jitter=0)


@pytest.fixture
def client(bare_google: genai.Client, ledger: TokenLedger) -> genai.Client:
    return ledger.wrap(bare_google, user="ada", agent_type="data_agent")


def call(client: genai.Client, *, stream: bool = False, retry: types.HttpRetryOptions | None = None) -> object:
    options = types.HttpOptions(retry_options=retry)
    config = types.GenerateContentConfig(max_output_tokens=300, http_options=options)
    if stream:
        return [*client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config)]
    return client.models.generate_content(model=MODEL, contents=QUESTION, config=config)


def test_a_retry_is_one_call(client: genai.Client, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(ERROR, 503)
    provider.json(answer())
    call(client, retry=AGAIN)
    assert (len(provider.asked), len(granting.sent("/reservations"))) == (2, 1)
    assert granting.settled["usage"]["output_tokens"] == 7
    assert (granting.settled["measured"]["retries"], "estimated" in granting.settled) == (1, False)


def test_attempts_that_timed_out_add_an_estimated_part(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(answer())
    provider.json(answer())
    provider.replies[0].late = True
    call(client, retry=AGAIN)
    part, rest = granting.sent("/settle")
    assert (part["part"], part["estimated"], part["usage"]["output_tokens"]) == (True, True, 300)
    assert (rest["usage"]["input_tokens"], rest["usage"]["output_tokens"], "estimated" in rest) == (20, 7, False)
    assert rest["measured"]["error_kind"] == "timeout"


def test_no_connection_releases(ledger: TokenLedger, granting: GrantingLedger) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for url in (address, "http://no-such-host.invalid"):
            granting.requests.clear()
            options: Any = {"base_url": url}
            with genai.Client(api_key=KEY, http_options=options) as bare, pytest.raises(httpx2.ConnectError):
                call(ledger.wrap(bare, user="ada", agent_type="a"))
            assert granting.released["reason"].startswith("no connection to the provider: ")


def test_no_tls_releases(ledger: TokenLedger, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(answer())
    options: Any = {"base_url": provider.root.replace("http:", "https:")}
    with genai.Client(api_key=KEY, http_options=options) as bare, pytest.raises(httpx2.ConnectError):
        call(ledger.wrap(bare, user="ada", agent_type="a"))
    assert granting.released["reason"].startswith("no connection to the provider")


def test_an_answer_that_is_no_json_is_the_limit(
    client: genai.Client, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json("<html>")
    with pytest.raises(ValueError, match="line 1"):
        call(client)
    assert granting.settled["usage"]["output_tokens"] == 300
