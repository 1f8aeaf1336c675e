"""Agents of pydantic-ai, guarded in each of the ways there are, against a provider's wire format."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ImageUrl, NativeOutput, ToolOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from token_ledger_sdk import AsyncTokenLedger

from .conftest import KEY, GrantingLedger, plain_connections
from .provider import Provider
from .test_openai_calls import chat_body
from .test_openai_streams import chat_stream, text_tokens

Recorded = Callable[[str], str]
WAYS = ["client", "model", "capability", "hidden", "hidden capability", "hidden client"]


class Hidden(Model[Any]):
    """A model of somebody's own: what it has inside can't be seen."""

    def __init__(self, inner: Any) -> None:
        super().__init__(profile=inner.profile)
        self._inner = inner
        self._model_name = inner.model_name

    @property
    def model_name(self) -> str:
        return str(self._model_name)

    @property
    def system(self) -> str:
        return str(self._inner.system)

    async def request(self, *given: Any) -> Any:
        self._inner._model_name = self._model_name
        return await self._inner.request(*given)

    @asynccontextmanager
    async def request_stream(self, *given: Any) -> AsyncIterator[Any]:
        self._inner._model_name = self._model_name
        async with self._inner.request_stream(*given) as stream:
            yield stream


class City(BaseModel):
    name: str


def get_capital(of: str) -> str:
    """Find a capital."""
    return f"the capital of {of} is London"


@pytest.fixture
async def bare(provider: Provider) -> AsyncIterator[AsyncOpenAI]:
    connections = plain_connections()
    async with AsyncOpenAI(base_url=provider.url, api_key=KEY, max_retries=0, http_client=connections) as made:
        yield made


class Agents:
    """Makes agents that are guarded in one of the ways."""

    def __init__(self, way: str, ledger: AsyncTokenLedger, bare: AsyncOpenAI) -> None:
        self.way = way
        self.ledger = ledger
        self.bare = bare
        self.said: dict[str, Any] = {"user": "ada", "agent_type": "data_agent"}
        self.kind: Any = OpenAIChatModel
        self.settings = ModelSettings()

    def model(self) -> Model[Any]:
        client = self.ledger.wrap(self.bare, **self.said) if "client" in self.way else self.bare
        model = self.kind("gpt-5.4", provider=OpenAIProvider(openai_client=client))
        model = Hidden(model) if "hidden" in self.way else model
        return self.ledger.wrap(model, **self.said) if self.way in ("model", "hidden") else model

    def agent(self, **options: Any) -> Agent[Any, Any]:
        capabilities: Any = []
        if self.way in ("capability", "hidden capability", "hidden client"):
            capabilities = [self.ledger.pydantic_ai_capability(**self.said)]
        return Agent(self.model(), model_settings=self.settings, capabilities=capabilities, retries=0, **options)

    async def run(self, prompt: Any = "What is it?", **options: Any) -> Any:
        return (await self.agent(**options).run(prompt)).output

    async def stream(self, **options: Any) -> str:
        async with self.agent(**options).run_stream("What is it?") as running:
            words = [word async for word in running.stream_text(delta=True, debounce_by=None)]
        return "".join(words)


@pytest.fixture(params=WAYS)
def agents(request: pytest.FixtureRequest, async_ledger: AsyncTokenLedger, bare: AsyncOpenAI) -> Agents:
    return Agents(request.param, async_ledger, bare)


async def test_a_run_is_held_and_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    agents.settings = ModelSettings(max_tokens=300)
    assert await agents.run() == "Paris"
    reserved = granting.reserved
    assert (reserved["user"], reserved["agent_type"], reserved["provider"]) == ("ada", "data_agent", "openai")
    assert (reserved["model"], reserved["max_output_tokens"]) == ("gpt-5.4", 300)
    assert 8 <= reserved["input_tokens"] <= 16
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], settled["model"]) == ("chatcmpl-1", "gpt-5.4-2026-03-05")
    assert (settled["measured"]["finish_reason"], "estimated" in settled) == ("stop", False)
    assert len(granting.sent("/reservations")) == 1


@pytest.mark.parametrize("number", ["251", "254", "258"])
async def test_recorded_answers_are_booked_as_the_wrapped_client_does(
    number: str, agents: Agents, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.json(recorded(number))
    await agents.ledger.wrap(agents.bare, **agents.said).responses.create(model="gpt-5.4", input="x")
    agents.kind = OpenAIResponsesModel
    await agents.run()
    by_client, by_agent = granting.sent("/settle")
    assert by_agent["usage"] == by_client["usage"]
    assert (by_agent["response_id"], by_agent["model"]) == (by_client["response_id"], by_client["model"])


@pytest.mark.parametrize("number", ["153", "132"])
async def test_recorded_chats_are_booked_as_the_wrapped_client_does(
    number: str, agents: Agents, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.json(recorded(number))
    messages: Any = [{"role": "user", "content": "x"}]
    await agents.ledger.wrap(agents.bare, **agents.said).chat.completions.create(model="gpt-5.4", messages=messages)
    await agents.run()
    by_client, by_agent = granting.sent("/settle")
    assert by_agent["usage"] == by_client["usage"]


async def test_calls_of_tools_are_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_capital", "arguments": '{"of": "UK"}'}}
    provider.json(chat_body("", "tool_calls", tool_calls=[call]))
    provider.json(chat_body("London"))
    assert await agents.run(tools=[get_capital], instructions="Be short.") == "London"
    first, second = granting.sent("/reservations")
    assert (first["requires"], second["requires"]) == (["tools"], ["tools"])
    assert second["input_tokens"] > first["input_tokens"] > 30
    assert len(granting.sent("/settle")) == 2


async def test_structured_output_is_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body('{"name": "Paris"}'))
    assert await agents.run(output_type=NativeOutput(City)) == City(name="Paris")
    assert granting.reserved["requires"] == ["structured_output"]
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_output_by_a_tool_requires_tools(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "final_result", "arguments": '{"name": "Paris"}'}}
    provider.json(chat_body("", "tool_calls", tool_calls=[call]))
    assert await agents.run(output_type=ToolOutput(City)) == City(name="Paris")
    assert granting.reserved["requires"] == ["tools"]


async def test_an_image_requires_vision(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    await agents.run(["What?", ImageUrl(url="https://example.org/a.png"), BinaryContent(b"x", media_type="image/png")])
    assert granting.reserved["requires"] == ["vision"]
    assert granting.reserved["input_tokens"] > 500


async def test_a_stream_is_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    assert await agents.stream() == "London"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (21, 9)
    assert "estimated" not in settled
    assert 0 <= settled["measured"]["first_token_ms"] <= settled["measured"]["latency_ms"]


async def test_a_stream_with_a_deadline_is_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    agents.settings = ModelSettings(request_timeout=600)
    provider.stream(chat_stream("Lon", "don"))
    assert await agents.stream() == "London"
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_a_recorded_stream_is_booked(
    agents: Agents, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    agents.kind = OpenAIResponsesModel
    provider.stream(recorded("284"))
    await agents.stream()
    assert (granting.settled["usage"]["input_tokens"], granting.settled["usage"]["output_tokens"]) == (21, 3)


async def test_a_stream_that_is_closed_early_is_counted(
    agents: Agents, provider: Provider, granting: GrantingLedger
) -> None:
    may_go_on, sent = threading.Event(), count()
    provider.stream(chat_stream("London", " is", " the", " capital"))
    provider.replies[0].between = lambda: next(sent) < 2 or may_go_on.wait(60)  # after the second word
    async with agents.agent().run_stream("What is it?") as running:
        async for word in running.stream_text(delta=True, debounce_by=None):
            if word == " is":
                break
    may_go_on.set()
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert settled["usage"]["output_tokens"] == text_tokens("London is")


async def _run(agents: Agents, stream: bool) -> object:
    return await (agents.stream() if stream else agents.run())


async def test_what_fits_is_held_and_sent(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 1_000
    provider.json(chat_body())
    await agents.run()
    body = provider.asked[0].body
    assert 1_000 in (body.get("max_completion_tokens"), body.get("max_tokens"))
    assert granting.reserved["max_output_tokens"] == 1_000


async def test_a_stand_in_is_called(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    granting.stand_in = "gpt-5.4-mini"
    agents.said["apply"] = ["model_downgrade"]
    provider.json(chat_body())
    await agents.run()
    await agents.run()
    assert granting.reserved["apply"] == ["model_downgrade"]
    assert [each.body["model"] for each in provider.asked] == ["gpt-5.4-mini"] * 2


async def test_two_users_share_an_agent(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    agents.said = {"agent_type": "chat"}
    agent = agents.agent()

    async def ask(user: str) -> None:
        with agents.ledger.context(user=user, tags={"of": user}):
            for _ in range(3):
                await agent.run(user)

    await asyncio.gather(ask("ada"), ask("bob"))
    whose = [(each["user"], each["tags"]) for each in granting.sent("/reservations")]
    assert sorted(whose, key=str) == [("ada", {"of": "ada"})] * 3 + [("bob", {"of": "bob"})] * 3


async def test_what_is_sent_is_the_same_to_the_byte(
    agents: Agents, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    await Agents("bare", agents.ledger, agents.bare).run(tools=[get_capital])
    await agents.run(tools=[get_capital])
    unguarded, guarded = provider.asked
    assert guarded.content == unguarded.content


async def test_an_answer_without_figures_is_counted(
    agents: Agents, provider: Provider, granting: GrantingLedger
) -> None:
    body = chat_body("It is Paris")
    del body["usage"]
    provider.json(body)
    await agents.run()
    assert (granting.settled["estimated"], granting.settled["usage"]["output_tokens"]) == (True, 3)


async def test_each_model_that_is_fallen_back_to_is_held_for_itself(
    async_ledger: AsyncTokenLedger, bare: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    models = [
        OpenAIChatModel(name, provider=OpenAIProvider(openai_client=bare)) for name in ("gpt-5.4", "gpt-5.4-mini")
    ]
    capability = async_ledger.pydantic_ai_capability(user="ada", agent_type="a")
    provider.json({"error": {"message": "no"}}, 429)
    provider.json(chat_body())
    await Agent(FallbackModel(*models), capabilities=[capability]).run("x")
    assert [each["model"] for each in granting.sent("/reservations")] == ["gpt-5.4", "gpt-5.4-mini"]
    assert (len(granting.sent("/release")), len(granting.sent("/settle"))) == (1, 1)
    await Agent(async_ledger.wrap(WrapperModel(FallbackModel(*models)), user="ada", agent_type="a")).run("x")
    assert len(granting.sent("/settle")) == 2


async def test_models_of_anthropic_are_guarded_by_their_client(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.stream(recorded("024"))  # the library asks for a stream where a whole answer would take long
    async with AsyncAnthropic(base_url=provider.root, api_key="sk", max_retries=0) as bare:
        model = AnthropicModel("claude-sonnet-4-6", provider=AnthropicProvider(anthropic_client=bare))
        capability = async_ledger.pydantic_ai_capability(user="ada", agent_type="a")
        await Agent(model, capabilities=[capability]).run("x")
        hidden = async_ledger.wrap(Hidden(model), user="ada", agent_type="a")
        await Agent(hidden).run("x")
    assert granting.reserved["provider"] == "anthropic"
    by_client, by_model = granting.sent("/settle")
    assert by_model["usage"] == by_client["usage"]
    assert by_model["response_id"] == by_client["response_id"]


async def test_an_agent_that_is_entered_gives_its_models_new_connections(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    model = OpenAIChatModel("gpt-5.4", provider=OpenAIProvider(base_url=provider.url, api_key=KEY))
    capability = async_ledger.pydantic_ai_capability(user="ada", agent_type="a")
    agent = Agent(model, capabilities=[capability])
    for _ in range(2):
        async with agent:  # leaving it closes the connections
            await agent.run("x")
    await agent.run("x", model=model)
    assert len(granting.sent("/settle")) == 3
    await model.client.close()


def test_models_keep_their_type(async_ledger: AsyncTokenLedger, bare: AsyncOpenAI) -> None:
    chat = OpenAIChatModel("gpt-5.4", provider=OpenAIProvider(openai_client=bare))
    wrapped = async_ledger.wrap(chat)
    assert type(wrapped) is OpenAIChatModel
    assert (wrapped is chat, chat.client is bare, wrapped.client is bare) == (False, True, False)
    assert async_ledger.wrap(wrapped).client is wrapped.client
    hidden = async_ledger.wrap(Hidden(chat))
    assert isinstance(hidden, Hidden)
    assert async_ledger.wrap(hidden) is hidden
