"""Agents of the openai-agents library, guarded in each of the ways there are, against a provider's wire format."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import pytest
from agents import (
    Agent,
    Model,
    ModelProvider,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIProvider,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
    retry_policies,
)
from agents.exceptions import UserError
from agents.models.openai_responses import OpenAIResponsesWSModel
from agents.retry import ModelRetrySettings
from openai import AsyncOpenAI
from pydantic import BaseModel

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, TokenLedger

from .conftest import KEY, GrantingLedger, plain_connections
from .provider import Provider
from .test_openai_calls import chat_body
from .test_openai_streams import chat_stream, events_of, text_tokens

Recorded = Callable[[str], str]
WAYS = ["client", "models", "model", "hidden", "hidden client"]


class Hidden(Model):
    """A model of somebody's own: what it has inside can't be seen."""

    def __init__(self, inner: Any) -> None:
        self.model = inner.model
        self._inner = inner

    async def get_response(self, *given: Any, **named: Any) -> Any:
        self._inner.model = self.model
        return await self._inner.get_response(*given, **named)

    async def stream_response(self, *given: Any, **named: Any) -> AsyncIterator[Any]:
        self._inner.model = self.model
        async for event in self._inner.stream_response(*given, **named):
            yield event


class City(BaseModel):
    name: str


@function_tool
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
        self.responses = False
        self.settings = ModelSettings()

    def client_kind(self, client: AsyncOpenAI, name: str = "gpt-5.4") -> Any:
        return (OpenAIResponsesModel if self.responses else OpenAIChatCompletionsModel)(name, client)

    def model(self) -> Model | str:
        match self.way:
            case "model":
                return self.ledger.wrap(self.client_kind(self.bare), **self.said)
            case "hidden":
                return self.ledger.wrap(Hidden(self.client_kind(self.bare)), **self.said)
            case "hidden client":
                client = self.ledger.wrap(self.bare, **self.said)
                return self.ledger.wrap(Hidden(self.client_kind(client)), **self.said)
        return "gpt-5.4"

    def provider(self) -> ModelProvider:
        client = self.ledger.wrap(self.bare, **self.said) if self.way == "client" else self.bare
        models = OpenAIProvider(openai_client=client, use_responses=self.responses)
        return self.ledger.wrap(models, **self.said) if self.way == "models" else models

    def agent(self, **options: Any) -> Agent[Any]:
        return Agent(name="geographer", model=self.model(), model_settings=self.settings, **options)

    def config(self) -> RunConfig:
        return RunConfig(model_provider=self.provider(), tracing_disabled=True)

    async def run(self, **options: Any) -> Any:
        return (await Runner.run(self.agent(**options), "What is it?", run_config=self.config())).final_output

    def stream(self, **options: Any) -> Any:
        return Runner.run_streamed(self.agent(**options), "What is it?", run_config=self.config())


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
    assert "estimated" not in settled
    assert len(granting.sent("/reservations")) == 1


@pytest.mark.parametrize("number", ["251", "254", "258"])
async def test_recorded_answers_are_booked_as_the_wrapped_client_does(
    number: str, agents: Agents, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.json(recorded(number))
    await agents.ledger.wrap(agents.bare, **agents.said).responses.create(model="gpt-5.4", input="x")
    agents.responses = True
    await agents.run()
    by_client, by_agent = granting.sent("/settle")
    assert by_agent["usage"] == by_client["usage"]
    assert by_agent["response_id"] == by_client["response_id"]


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
    assert await agents.run(tools=[get_capital]) == "London"
    first, second = granting.sent("/reservations")
    assert (first["requires"], second["requires"]) == (["tools"], ["tools"])
    assert second["input_tokens"] > first["input_tokens"] > 30
    assert len(granting.sent("/settle")) == 2


async def test_a_handoff_requires_tools(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    await agents.run(handoffs=[Agent(name="other")])
    assert granting.reserved["requires"] == ["tools"]


async def test_structured_output_is_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body('{"name": "Paris"}'))
    assert await agents.run(output_type=City) == City(name="Paris")
    assert granting.reserved["requires"] == ["structured_output"]
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_a_stream_is_booked(agents: Agents, provider: Provider, granting: GrantingLedger) -> None:
    agents.settings = ModelSettings(include_usage=True)
    provider.stream(chat_stream("Lon", "don"))
    running = agents.stream()
    async for _ in running.stream_events():
        pass
    assert running.final_output == "London"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (21, 9)
    assert "estimated" not in settled
    assert "first_token_ms" in settled["measured"]


async def test_a_recorded_stream_is_booked(
    agents: Agents, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    agents.responses = True
    provider.stream(recorded("284"))
    async for _ in agents.stream().stream_events():
        pass
    assert (granting.settled["usage"]["input_tokens"], granting.settled["usage"]["output_tokens"]) == (21, 3)


async def test_a_stream_that_is_closed_early_is_counted(
    agents: Agents, provider: Provider, granting: GrantingLedger
) -> None:
    may_go_on, sent = threading.Event(), count()
    provider.stream(chat_stream("London", " is", " the", " capital"))
    provider.replies[0].between = lambda: next(sent) < 2 or may_go_on.wait(60)  # after the second word
    running = agents.stream()
    async for event in running.stream_events():
        if event.type == "raw_response_event" and getattr(event.data, "delta", "") == " is":
            running.cancel()
    may_go_on.set()
    while not granting.sent("/settle"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert settled["usage"]["output_tokens"] == text_tokens("London is")


async def _run(agents: Agents, stream: bool, **options: Any) -> None:
    if not stream:
        await agents.run(**options)
        return
    async for _ in agents.stream(**options).stream_events():
        pass


async def test_what_the_library_refuses_is_released(
    async_ledger: AsyncTokenLedger, bare: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    agents = Agents("hidden", async_ledger, bare)
    model = OpenAIChatCompletionsModel("gpt-5.4", bare, strict_feature_validation=True)
    agents.client_kind = lambda client, name="": model  # type: ignore[method-assign]
    with pytest.raises(UserError):
        await agents.run(prompt={"id": "p"})
    assert granting.released["reason"] == "not sent"
    assert provider.asked == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_denial_leaves_the_run_and_is_not_tried_again(
    stream: bool, agents: Agents, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 64
    policy = retry_policies.any(retry_policies.network_error(), retry_policies.provider_suggested())
    agents.settings = ModelSettings(max_tokens=300, retry=ModelRetrySettings(max_retries=3, policy=policy))
    with pytest.raises(BudgetExceeded) as denied:
        await _run(agents, stream)
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 64
    assert (len(granting.sent("/reservations")), provider.asked) == (1, [])


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
    agent, config = agents.agent(), agents.config()

    async def ask(user: str) -> None:
        with agents.ledger.context(user=user, tags={"of": user}):
            for _ in range(3):
                await Runner.run(agent, user, run_config=config)

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


async def test_names_with_a_provider_are_read(
    async_ledger: AsyncTokenLedger, bare: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    agents = Agents("hidden", async_ledger, bare)
    agents.client_kind = lambda client, name="": OpenAIChatCompletionsModel(  # type: ignore[method-assign]
        "anthropic/claude-sonnet-4-6", client
    )
    provider.json(chat_body())
    await agents.run()
    assert (granting.reserved["provider"], granting.reserved["model"]) == ("anthropic", "claude-sonnet-4-6")
    granting.stand_in = "claude-haiku-4-5"
    await agents.run()
    assert [each.body["model"].partition("/")[2] for each in provider.asked] == [
        "claude-sonnet-4-6",
        "claude-haiku-4-5",
    ]


async def test_an_answer_without_figures_is_counted(
    agents: Agents, provider: Provider, granting: GrantingLedger
) -> None:
    body = chat_body("It is Paris")
    del body["usage"]
    provider.json(body)
    await agents.run()
    assert (granting.settled["estimated"], granting.settled["usage"]["output_tokens"]) == (True, 3)


async def test_a_call_of_another_model_within_is_one_of_its_own(
    async_ledger: AsyncTokenLedger, bare: AsyncOpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    client = async_ledger.wrap(bare, user="ada", agent_type="router")

    class Routing(Hidden):
        async def get_response(self, *given: Any, **named: Any) -> Any:
            await client.chat.completions.create(model="gpt-5.4-nano", messages=[], max_tokens=5)
            return await super().get_response(*given, **named)

    provider.json(chat_body())
    model = async_ledger.wrap(Routing(OpenAIChatCompletionsModel("gpt-5.4", client)), user="ada", agent_type="a")
    await Runner.run(Agent(name="x", model=model), "x", run_config=RunConfig(tracing_disabled=True))
    assert [each["model"] for each in granting.sent("/reservations")] == ["gpt-5.4", "gpt-5.4-nano"]
    assert [each.body["model"] for each in provider.asked] == ["gpt-5.4-nano", "gpt-5.4"]
    assert len(granting.sent("/settle")) == 2


def test_models_keep_their_type(async_ledger: AsyncTokenLedger, bare: AsyncOpenAI) -> None:
    chat = OpenAIChatCompletionsModel("gpt-5.4", bare)
    wrapped = async_ledger.wrap(chat)
    assert type(wrapped) is OpenAIChatCompletionsModel
    assert (wrapped is chat, chat._client is bare) == (False, True)
    assert isinstance(async_ledger.wrap(Hidden(chat)), Hidden)
    again = async_ledger.wrap(wrapped)
    assert again._client is wrapped._client
    hidden = async_ledger.wrap(Hidden(chat))
    assert async_ledger.wrap(hidden) is hidden
    socket_model = async_ledger.wrap(OpenAIResponsesWSModel("gpt-5.4", bare))
    assert socket_model._client is bare


def test_what_can_not_be_guarded_is_said(
    async_ledger: AsyncTokenLedger, ledger: TokenLedger, bare: AsyncOpenAI
) -> None:
    nameless = Hidden(OpenAIChatCompletionsModel("gpt-5.4", bare))
    del nameless.model
    with pytest.raises(TypeError, match="has no `model`"):
        async_ledger.wrap(nameless)
    with pytest.raises(TypeError, match="AsyncTokenLedger wraps"):
        ledger.wrap(OpenAIChatCompletionsModel("gpt-5.4", bare))


def test_the_recorded_stream_is_one_of_responses(recorded: Recorded) -> None:
    assert events_of(recorded("284"))[-1]["type"] == "response.completed"
    assert json.loads(recorded("251"))["object"] == "response"
