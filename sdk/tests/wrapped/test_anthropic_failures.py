"""What a failed call through the anthropic library costs: nothing where Anthropic never charges, else an estimate."""

from __future__ import annotations

import socket
from collections.abc import Generator

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from token_ledger_sdk import TokenLedger

from .conftest import KEY, GrantingLedger
from .provider import Provider
from .test_anthropic_calls import MESSAGES, MODEL, message
from .test_anthropic_streams import BEFORE_THE_TEXT, message_stream
from .test_openai_streams import text_tokens

ERROR = {"type": "error", "error": {"type": "some_error", "message": "no"}}


@pytest.fixture
def client(bare_anthropic: Anthropic, ledger: TokenLedger) -> Anthropic:
    return ledger.wrap(bare_anthropic, user="ada", agent_type="data_agent")


def call(client: Anthropic, *, stream: bool = False) -> object:
    return client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=300, stream=stream)


def test_a_retry_is_one_call(client: Anthropic, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(ERROR, 529)
    provider.json(message())
    call(client.with_options(max_retries=2))
    assert (len(provider.asked), len(granting.sent("/reservations"))) == (2, 1)
    assert granting.settled["usage"]["output_tokens"] == 7
    assert (granting.settled["measured"]["retries"], "estimated" in granting.settled) == (1, False)


def test_attempts_that_timed_out_add_an_estimated_part(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(message())
    provider.json(message())
    provider.replies[0].late = True
    call(client.with_options(max_retries=2))
    part, rest = granting.sent("/settle")
    assert (part["part"], part["estimated"], part["usage"]["output_tokens"]) == (True, True, 300)
    assert (rest["usage"]["input_tokens"], rest["usage"]["output_tokens"], "estimated" in rest) == (20, 7, False)
    assert rest["measured"]["error_kind"] == "timeout"


def test_a_stream_that_is_cut_after_a_retry_adds_up(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(ERROR, 502)
    provider.stream(message_stream("London"), cut_after=BEFORE_THE_TEXT + 1)
    with pytest.raises(Exception, match="peer closed"):
        for _ in client.with_options(max_retries=1).messages.create(
            model=MODEL, messages=MESSAGES, max_tokens=300, stream=True
        ):
            pass
    usage = granting.settled["usage"]
    assert usage["output_tokens"] == 300 + text_tokens("London")
    assert usage["input_tokens"] == granting.reserved["input_tokens"] + 25


def test_no_connection_releases(ledger: TokenLedger, granting: GrantingLedger) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for url in (address, "http://no-such-host.invalid"):
            granting.requests.clear()
            with (
                Anthropic(base_url=url, api_key=KEY, max_retries=1) as bare,
                pytest.raises(anthropic.APIConnectionError),
            ):
                call(ledger.wrap(bare, user="ada", agent_type="a"))
            assert granting.released["reason"].startswith("no connection to the provider: ")


def test_no_tls_releases(ledger: TokenLedger, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(message())
    with (
        Anthropic(base_url=provider.root.replace("http:", "https:"), api_key=KEY, max_retries=0) as bare,
        pytest.raises(anthropic.APIConnectionError),
    ):
        call(ledger.wrap(bare, user="ada", agent_type="a"))
    assert granting.released["reason"].startswith("no connection to the provider")


def test_an_error_of_the_callers_own_before_the_call_releases(
    client: Anthropic, provider: Provider, granting: GrantingLedger
) -> None:
    def refuses(request: object, call_next: object) -> object:
        raise PermissionError("not today")

    with pytest.raises(PermissionError):
        call(client.with_middleware(refuses))  # type: ignore[arg-type]
    assert (granting.released["reason"], provider.asked) == ("not sent", [])


def test_no_key_releases(
    ledger: TokenLedger, provider: Provider, granting: GrantingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with Anthropic(base_url=provider.root) as bare, pytest.raises(TypeError, match="authentication"):
        call(ledger.wrap(bare, user="ada", agent_type="a"))
    assert (granting.released["reason"], provider.asked) == ("not sent", [])


class Credentials(httpx2.Auth):
    """A token that has to be fetched, by the caller's own means."""

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if self._fails:
            raise PermissionError("no token today")
        request.headers["Authorization"] = "Bearer token"
        yield request


@pytest.mark.parametrize("fails", [True, False])
def test_a_token_that_can_not_be_had_releases(
    fails: bool, ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    class WithCredentials(Anthropic):
        @property
        def custom_auth(self) -> httpx2.Auth:
            return Credentials(fails=fails)

    provider.stream("data: x", cut_after=0)
    with (
        WithCredentials(base_url=provider.root, api_key=KEY, max_retries=0) as bare,
        pytest.raises(anthropic.APIConnectionError),
    ):
        call(ledger.wrap(bare, user="ada", agent_type="a"))
    if fails:
        assert (granting.released["reason"], provider.asked) == ("not sent", [])
    else:
        assert granting.settled["measured"]["error_kind"] == "cut_connection"
        assert dict(provider.asked[0].headers)["Authorization"] == "Bearer token"
