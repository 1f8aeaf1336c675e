"""A ledger that grants what is asked, and clients of providers' libraries before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from google import genai
from openai import DefaultAsyncHttpxClient, OpenAI

from token_ledger_sdk import AsyncTokenLedger, TokenLedger

from ..conftest import URL, FakeLedger
from .provider import NO_AUTHORITIES, LateAnswers, Provider, running_provider

KEY = "sk-provider"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        yield made


def plain_connections() -> DefaultAsyncHttpxClient:
    """Return the connections that the openai library makes, without reading the machine's authorities for 20 ms."""
    return DefaultAsyncHttpxClient(verify=NO_AUTHORITIES)


class GrantingLedger(FakeLedger):
    """Grants what is asked for, as long as it is within `most_output`; knows the limit of every model.

    Of output, it holds `most_granted` at most, as a directive that cuts the output does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most_output: int | None = None
        self.most_granted = 1_000_000
        self.model_limit: int | None = 128_000
        self.stand_in: str | None = None
        self.models_asked = 0
        self.etag = '"1"'

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        match request.url.path.split("/")[2:]:
            case ["models"]:
                return self._models(request)
            case ["reservations"]:
                return self._reserve(json.loads(request.content))
        return super().answer(request)

    def _models(self, request: httpx2.Request) -> httpx2.Response:
        self.models_asked += 1
        if request.headers.get("If-None-Match") == self.etag:
            return httpx2.Response(304, headers={"ETag": self.etag})
        model = {"max_output_tokens": self.model_limit, "context_tokens": 400_000, "capabilities": None}
        return httpx2.Response(200, json={"models": [model], "next": None}, headers={"ETag": self.etag})

    def _reserve(self, body: dict[str, Any]) -> httpx2.Response:
        if self.most_output is not None and body["max_output_tokens"] > self.most_output:
            fits = {"max_output_tokens": self.most_output or None}
            return self.problem(
                402, "budget_exceeded", denial_id="41", refusals=[], fits=fits, directive={"stop": False}
            )
        self.provider = body["provider"]
        output = min(body["max_output_tokens"], self.most_granted)
        self.directive = {"model": self.stand_in or body["model"], "max_output_tokens": output}
        return httpx2.Response(201, json=self.reservation("held"))

    def sent(self, verb: str) -> list[dict[str, Any]]:
        """Return the bodies of the requests to a path that ends with this word."""
        return [json.loads(each.content) for each in self.requests if each.url.path.endswith(verb)]

    @property
    def reserved(self) -> dict[str, Any]:
        """Return the last reserve."""
        return self.sent("/reservations")[-1]

    @property
    def settled(self) -> dict[str, Any]:
        """Return the only settle; nothing was released."""
        assert self.sent("/release") == []
        (settle,) = self.sent("/settle")
        return settle

    @property
    def released(self) -> dict[str, Any]:
        """Return the only release; nothing was settled."""
        assert self.sent("/settle") == []
        (release,) = self.sent("/release")
        return release


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def granting() -> GrantingLedger:
    return GrantingLedger()


@pytest.fixture
def ledger(granting: GrantingLedger) -> Iterator[TokenLedger]:
    transport = httpx2.MockTransport(granting)
    with TokenLedger(URL, "tl_test_1_secret", transport=transport, max_retries=0, flush_seconds=0) as made:
        yield made


@pytest.fixture
def async_ledger(granting: GrantingLedger) -> AsyncTokenLedger:
    transport = httpx2.MockTransport(granting)
    return AsyncTokenLedger(URL, "tl_test_1_secret", transport=transport, max_retries=0, flush_seconds=0)


@pytest.fixture
def bare(provider: Provider) -> Iterator[OpenAI]:
    """The client that nobody guards."""
    connections = httpx2.Client(transport=LateAnswers(provider))
    with OpenAI(base_url=provider.url, api_key=KEY, max_retries=0, http_client=connections) as client:
        yield client


@pytest.fixture
def client(bare: OpenAI, ledger: TokenLedger) -> OpenAI:
    """The client with one changed line."""
    return ledger.wrap(bare, user="ada", agent_type="data_agent")


@pytest.fixture
def bare_anthropic(provider: Provider) -> Iterator[Anthropic]:
    """The client of the anthropic library that nobody guards."""
    connections = httpx2.Client(transport=LateAnswers(provider))
    with Anthropic(base_url=provider.root, api_key=KEY, max_retries=0, http_client=connections) as made:
        yield made


@pytest.fixture
def bare_google(provider: Provider) -> Iterator[genai.Client]:
    """The client of the google-genai library that nobody guards."""
    options: Any = {"base_url": provider.root, "client_args": {"transport": LateAnswers(provider)}}
    with genai.Client(api_key=KEY, http_options=options) as made:
        yield made
