"""What failed calls cost, by each library that is guarded: the cases are those of `failing_calls`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pytest
from agents import ModelSettings as AgentsSettings
from anthropic import Anthropic, AsyncAnthropic
from google import genai
from google.genai import types
from openai import AsyncOpenAI, OpenAI
from pydantic_ai.settings import ModelSettings

from token_ledger_sdk import AsyncTokenLedger, TokenLedger
from token_ledger_sdk.failures import NEVER_BILLED

from . import test_openai_agents as of_agents
from . import test_pydantic_ai as of_pydantic_ai
from .conftest import KEY
from .failing_calls import AwaitedFailingCalls, Caller, FailingCalls
from .langchain_models import ASKED, QUESTION, Way, chat_model, close_connections
from .provider import AsyncLateAnswers, LateAnswers, Provider
from .test_anthropic_calls import MESSAGES, message
from .test_anthropic_calls import MODEL as CLAUDE
from .test_anthropic_streams import BEFORE_THE_TEXT, message_stream
from .test_google_calls import MODEL as GEMINI
from .test_google_calls import answer, content
from .test_langchain_agents import agent_of
from .test_openai_calls import chat_body
from .test_openai_streams import chat_stream

OURS: Any = {"user": "ada", "agent_type": "data_agent"}
CHAT: Any = {"model": "gpt-5.4", "messages": MESSAGES, "max_completion_tokens": 300}
MESSAGE: Any = {"model": CLAUDE, "messages": MESSAGES, "max_tokens": 300}
CONTENT: Any = {"model": GEMINI, "contents": QUESTION}


@dataclass(frozen=True)
class Site:
    """The provider, and the ledger's clients, before which each library is tried."""

    provider: Provider
    ledger: TokenLedger
    awaited_ledger: AsyncTokenLedger
    connections: httpx2.Client
    awaited_connections: httpx2.AsyncClient

    def options(self, url: str | None, version: str = "", *, is_awaited: bool = False) -> dict[str, Any]:
        connections = self.awaited_connections if is_awaited else self.connections
        address = (url or self.provider.root) + version
        return {"base_url": address, "api_key": KEY, "max_retries": 0, "http_client": connections}


@pytest.fixture
async def site(provider: Provider, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> AsyncIterator[Site]:
    connections = httpx2.Client(transport=LateAnswers(provider))
    awaited = httpx2.AsyncClient(transport=AsyncLateAnswers(provider))
    with connections:
        async with awaited:
            yield Site(provider, ledger, async_ledger, connections, awaited)
    await close_connections()


async def read(stream: Any) -> None:
    async for _ in stream:
        pass


# --- how each library calls; `stream` and `url` are those of `Caller.call` ---


def openai(site: Site, stream: bool, url: str | None) -> None:
    client = site.ledger.wrap(OpenAI(**site.options(url, "/v1")), **OURS)
    made: Any = client.chat.completions.create(**CHAT, stream=stream)
    assert [*made] if stream else made


async def openai_awaited(site: Site, stream: bool, url: str | None) -> None:
    client = site.awaited_ledger.wrap(AsyncOpenAI(**site.options(url, "/v1", is_awaited=True)), **OURS)
    made = await client.chat.completions.create(**CHAT, stream=stream)
    if stream:
        await read(made)


def anthropic(site: Site, stream: bool, url: str | None) -> None:
    made: Any = site.ledger.wrap(Anthropic(**site.options(url)), **OURS).messages.create(**MESSAGE, stream=stream)
    assert [*made] if stream else made


async def anthropic_awaited(site: Site, stream: bool, url: str | None) -> None:
    client = site.awaited_ledger.wrap(AsyncAnthropic(**site.options(url, is_awaited=True)), **OURS)
    made = await client.messages.create(**MESSAGE, stream=stream)
    if stream:
        await read(made)


def google(site: Site, stream: bool, url: str | None) -> None:
    options: Any = {"base_url": url or site.provider.root, "client_args": {"transport": LateAnswers(site.provider)}}
    config = types.GenerateContentConfig(max_output_tokens=300)
    with genai.Client(api_key=KEY, http_options=options) as bare:
        models = site.ledger.wrap(bare, **OURS).models
        if stream:
            assert [*models.generate_content_stream(**CONTENT, config=config)]
        else:
            models.generate_content(**CONTENT, config=config)


async def google_awaited(site: Site, stream: bool, url: str | None) -> None:
    transport = AsyncLateAnswers(site.provider)
    options: Any = {"base_url": url or site.provider.root, "async_client_args": {"transport": transport}}
    config = types.GenerateContentConfig(max_output_tokens=300)
    async with genai.Client(api_key=KEY, http_options=options).aio as bare:
        models = site.awaited_ledger.wrap(bare, **OURS).models
        if stream:
            await read(await models.generate_content_stream(**CONTENT, config=config))
        else:
            await models.generate_content(**CONTENT, config=config)


async def langchain(site: Site, stream: bool, url: str | None, *, is_awaited: bool) -> None:
    way = Way(site.awaited_ledger if is_awaited else site.ledger, is_awaited)
    model = chat_model(site.provider, max_tokens=300, **({} if url is None else {"base_url": f"{url}/v1"}))
    config: Any = {"callbacks": [way.ledger.langchain_handler(**OURS)]}
    await (way.stream if stream else way.invoke)(model, QUESTION, config=config)


async def langchain_agent(site: Site, stream: bool, url: str | None, *, is_awaited: bool) -> None:
    way = Way(site.awaited_ledger if is_awaited else site.ledger, is_awaited)
    model = chat_model(site.provider, max_tokens=300, **({} if url is None else {"base_url": f"{url}/v1"}))
    if stream:
        await way.stream(agent_of(way, model), ASKED, stream_mode="messages")
    else:
        await way.invoke(agent_of(way, model), ASKED)


async def openai_agents(site: Site, stream: bool, url: str | None, *, way: str) -> None:
    bare = AsyncOpenAI(**site.options(url, "/v1", is_awaited=True))
    agents = of_agents.Agents(way, site.awaited_ledger, bare)
    agents.settings = AgentsSettings(max_tokens=300)
    if stream:
        await read(agents.stream().stream_events())
    else:
        await agents.run()


async def pydantic_ai(site: Site, stream: bool, url: str | None, *, way: str) -> None:
    bare = AsyncOpenAI(**site.options(url, "/v1", is_awaited=True))
    agents = of_pydantic_ai.Agents(way, site.awaited_ledger, bare)
    agents.settings = ModelSettings(max_tokens=300)
    await (agents.stream() if stream else agents.run())


NO_FIGURES = content({"text": "London"}, finish_reason=None, usageMetadata={})
OPENAI: Any = {"answer": chat_body(), "begun": (chat_stream("London", " is", usage=False), 2)}
ANTHROPIC: Any = {"answer": message(), "begun": (message_stream("London", " is"), BEFORE_THE_TEXT)}
GOOGLE: Any = {"answer": answer(), "begun": (f"data: {json.dumps(NO_FIGURES)}", 1)}
Makes = tuple[Callable[..., Any], dict[str, Any]]
AT_ONCE: dict[str, Makes] = {
    "openai": (openai, OPENAI),
    "anthropic": (anthropic, ANTHROPIC),
    "google": (google, GOOGLE),
    "langchain": (partial(langchain, is_awaited=False), OPENAI),
    "agent of langchain": (partial(langchain_agent, is_awaited=False), OPENAI),
}
AWAITED: dict[str, Makes] = {
    "openai": (openai_awaited, OPENAI),
    "anthropic": (anthropic_awaited, ANTHROPIC),
    "google": (google_awaited, GOOGLE),
    "langchain": (partial(langchain, is_awaited=True), OPENAI),
    "agent of langchain": (partial(langchain_agent, is_awaited=True), OPENAI),
    **{f"openai-agents, {way}": (partial(openai_agents, way=way), OPENAI) for way in of_agents.WAYS},
    **{f"pydantic-ai, {way}": (partial(pydantic_ai, way=way), OPENAI) for way in of_pydantic_ai.WAYS},
}


def test_the_statuses_are_those_that_are_stated() -> None:
    assert sorted(NEVER_BILLED) == [400, 401, 403, 404, 413, 422, 429, 503, 529]


class TestAtOnce(FailingCalls):
    @pytest.fixture(params=AT_ONCE)
    def caller(self, request: pytest.FixtureRequest, site: Site) -> Caller:
        call, bodies = AT_ONCE[request.param]
        return Caller(call=partial(call, site), **bodies)


class TestAwaited(AwaitedFailingCalls):
    @pytest.fixture(params=AWAITED)
    def caller(self, request: pytest.FixtureRequest, site: Site) -> Caller:
        call, bodies = AWAITED[request.param]
        return Caller(call=partial(call, site), **bodies)
