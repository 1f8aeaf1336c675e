"""Agents of LangChain, guarded by middleware: models with a client inside that is wrapped, and any other model."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from openai import OpenAI
from pydantic import BaseModel

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, ConfigurationError, TokenLedger

from .conftest import GrantingLedger
from .langchain_models import (
    ASKED,
    MODEL,
    QUESTION,
    Way,
    anthropic_model,
    chat_model,
    close_connections,
    get_capital,
    tool_call_body,
)
from .provider import Provider
from .test_openai_calls import chat_body
from .test_openai_streams import chat_stream

OURS: Any = {"user": "ada", "agent_type": "data_agent"}
Recorded = Callable[[str], str]


@pytest.fixture(autouse=True)
async def connections() -> AsyncIterator[None]:
    yield
    await close_connections()


@pytest.fixture(params=["at once", "awaited"])
def way(request: pytest.FixtureRequest, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> Way:
    return Way(async_ledger, True) if request.param == "awaited" else Way(ledger, False)


def agent_of(way: Way, model: BaseChatModel, *, ours: Any = OURS, **options: Any) -> Any:
    return create_agent(model, middleware=[way.ledger.langchain_middleware(**ours)], **options)


class HomeMade(BaseChatModel):
    """A model of somebody's own, which LangChain knows nothing of."""

    url: str
    model: str = MODEL
    max_tokens: int | None = None
    fails: bool = False

    @property
    def _llm_type(self) -> str:
        return "home-made"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": self.model, "ls_model_type": "chat"}

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[each.name for each in tools], **kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        sent = {"model": self.model, "max_tokens": self.max_tokens, "messages": [each.text for each in messages]}
        answer = httpx2.post(f"{self.url}/chat/completions", json=sent)
        answer.raise_for_status()
        body = answer.json()
        usage = {
            "input_tokens": body["usage"]["prompt_tokens"],
            "output_tokens": body["usage"]["completion_tokens"],
            "total_tokens": body["usage"]["total_tokens"],
        }
        said = AIMessage(body["choices"][0]["message"]["content"], usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=said)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        for word in ("London", " is"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))
        if self.fails:
            raise ConnectionResetError("cut")


# --- models with a client inside that is wrapped ---


async def test_what_an_agent_sends_is_the_same_to_the_byte(
    way: Way, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(tool_call_body())
    provider.json(chat_body())
    options: Any = {"tools": [get_capital], "system_prompt": "Answer briefly."}
    await way.invoke(create_agent(chat_model(provider), **options), ASKED)
    provider.json(tool_call_body())
    provider.json(chat_body())
    provider.replies.pop(0)
    answer = await way.invoke(agent_of(way, chat_model(provider), **options), ASKED)
    assert answer["messages"][-1].content == "Paris"
    bare, guarded = provider.asked[:2], provider.asked[2:]
    assert [each.content for each in guarded] == [each.content for each in bare]
    assert [each["requires"] for each in granting.sent("/reservations")] == [["tools"], ["tools"]]
    used = [each["usage"]["output_tokens"] for each in granting.sent("/settle")]
    assert used == [16, 7]
    assert granting.reserved["user"] == "ada"


@pytest.mark.parametrize("number", ["153", "100", "132", "258"])
async def test_a_recorded_answer_is_booked_as_by_a_wrapped_client(
    number: str, way: Way, provider: Provider, granting: GrantingLedger, client: OpenAI, recorded: Recorded
) -> None:
    body = json.loads(recorded(number))
    is_chat = "choices" in body
    provider.json(recorded(number))
    await way.invoke(agent_of(way, chat_model(provider, model=body["model"], use_responses_api=not is_chat)), ASKED)
    if is_chat:
        client.chat.completions.create(model=body["model"], messages=[{"role": "user", "content": QUESTION}])
    else:
        client.responses.create(model=body["model"], input=QUESTION)
    ours, theirs = granting.sent("/settle")
    assert {**ours, "measured": None, "idempotency_key": ""} == {**theirs, "measured": None, "idempotency_key": ""}
    assert granting.sent("/reservations")[0]["input_tokens"] == granting.sent("/reservations")[1]["input_tokens"]


async def test_a_stream_is_booked_with_its_figures(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    agent = agent_of(way, chat_model(provider))  # LangChain would not ask another address for the usage
    parts = await way.stream(agent, ASKED, stream_mode="messages")
    assert "".join(message.content for message, _ in parts) == "London"
    settled = granting.settled
    assert (settled["usage"]["output_tokens"], "estimated" in settled) == (9, False)
    assert 0 <= settled["measured"]["first_token_ms"] <= settled["measured"]["latency_ms"]


async def test_an_agent_of_anthropic_is_guarded(
    way: Way, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.json(recorded("001"))
    granting.most_output = 900
    await way.invoke(agent_of(way, anthropic_model(provider, max_tokens=700)), ASKED)
    assert (granting.reserved["provider"], provider.asked[0].body["max_tokens"]) == ("anthropic", 700)
    used = json.loads(recorded("001"))["usage"]
    assert granting.settled["usage"]["output_tokens"] == used["output_tokens"]
    provider.json({"error": {"type": "overloaded_error", "message": "no"}}, 529)
    provider.replies.pop(0)
    with pytest.raises(anthropic.APIStatusError):
        await way.invoke(agent_of(way, anthropic_model(provider, max_tokens=700)), ASKED)
    assert [each["reason"] for each in granting.sent("/release")] == ["the provider answered 529"]


async def test_what_fits_is_sent_as_the_limit(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    granting.most_output = 1_000
    await way.invoke(agent_of(way, chat_model(provider)), ASKED)
    assert provider.asked[0].body["max_completion_tokens"] == 1_000


async def test_a_stand_in_is_called(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    granting.stand_in = "gpt-5.4-mini"
    await way.invoke(agent_of(way, chat_model(provider), ours={**OURS, "apply": ["model_downgrade"]}), ASKED)
    assert provider.asked[0].body["model"] == "gpt-5.4-mini"
    assert granting.reserved["apply"] == ["model_downgrade"]


class City(BaseModel):
    """A city."""

    name: str


async def test_structured_output_is_booked(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body('{"name": "London"}'))
    agent = agent_of(way, chat_model(provider), response_format=ProviderStrategy(City))
    assert (await way.invoke(agent, ASKED))["structured_response"] == City(name="London")
    assert granting.reserved["requires"] == ["structured_output"]
    provider.json(tool_call_body(name="City", arguments='{"name": "London"}'))
    provider.replies.pop(0)
    agent = agent_of(way, chat_model(provider), response_format=ToolStrategy(City))
    assert (await way.invoke(agent, ASKED))["structured_response"] == City(name="London")
    assert granting.reserved["requires"] == ["tools"]
    assert len(granting.sent("/settle")) == 2


async def test_retries_of_the_sdk_are_one_call(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    provider.json(chat_body())
    await way.invoke(agent_of(way, chat_model(provider, max_retries=2)), ASKED)
    assert len(provider.asked) == 2
    assert granting.settled["measured"]["retries"] == 1


async def test_a_denial_is_raised_and_nothing_is_sent(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 200
    for model in (chat_model(provider, max_tokens=300, max_retries=3), HomeMade(url=provider.url, max_tokens=300)):
        with pytest.raises(BudgetExceeded) as denied:
            await way.invoke(agent_of(way, model), ASKED)
        assert denied.value.fits is not None
        assert denied.value.fits.max_output_tokens == 200
    assert (provider.asked, len(granting.sent("/reservations"))) == ([], 2)


async def test_a_wrapped_client_inside_is_counted_once(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    model: Any = chat_model(provider)
    if way.is_awaited:
        model.root_async_client = way.ledger.wrap(model.root_async_client, **OURS)
        model.async_client = model.root_async_client.chat.completions
    else:
        model.root_client = way.ledger.wrap(model.root_client, **OURS)
        model.client = model.root_client.chat.completions
    await way.invoke(agent_of(way, model), ASKED)
    assert len(granting.sent("/reservations")) == len(granting.sent("/settle")) == 1


@pytest.mark.parametrize("is_home_made", [False, True])
async def test_callbacks_besides_count_nothing_twice(
    is_home_made: bool, way: Way, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    granting.most_output = 1_000
    model = HomeMade(url=provider.url) if is_home_made else chat_model(provider)
    handler = way.ledger.langchain_handler(**OURS)
    await way.invoke(agent_of(way, model), ASKED, config={"callbacks": [handler]})
    held = [each["max_output_tokens"] for each in granting.sent("/reservations")]
    assert held == [128_000, 1_000]  # the first of which does not fit
    assert granting.settled["usage"]["output_tokens"] == 7


# --- any other model ---


async def test_any_other_model_is_guarded(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    granting.most_output, granting.stand_in = 1_000, "gpt-5.4-mini"
    model = HomeMade(url=provider.url)
    answer = await way.invoke(agent_of(way, model, tools=[get_capital], system_prompt="Be brief."), ASKED)
    assert answer["messages"][-1].content == "Paris"
    sent = provider.asked[0].body
    assert (sent["model"], sent["max_tokens"]) == ("gpt-5.4-mini", 1_000)
    assert (model.model, model.max_tokens) == (MODEL, None)
    reserved = granting.reserved
    assert (reserved["provider"], reserved["model"], reserved["requires"]) == ("openai", MODEL, ["tools"])
    assert 40 <= reserved["input_tokens"] <= 90
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_of_any_other_model_a_failure_is_told_apart(
    way: Way, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": "no"}, 429)
    with pytest.raises(httpx2.HTTPStatusError):
        await way.invoke(agent_of(way, HomeMade(url=provider.url)), ASKED)
    assert granting.released["reason"] == "the provider answered 429"
    granting.requests.clear()
    provider.replies[0].status = 500
    with pytest.raises(httpx2.HTTPStatusError):
        await way.invoke(agent_of(way, HomeMade(url=provider.url, max_tokens=300)), ASKED)
    assert granting.settled["usage"]["output_tokens"] == 300


async def test_of_any_other_model_a_stream_is_counted(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    agent = agent_of(way, HomeMade(url=provider.url))
    parts = await way.stream(agent, ASKED, stream_mode="messages")
    assert "".join(message.content for message, _ in parts) == "London is"
    assert (granting.settled["estimated"], granting.settled["usage"]["output_tokens"]) == (True, 2)
    assert "first_token_ms" in granting.settled["measured"]
    granting.requests.clear()
    with pytest.raises(ConnectionResetError):
        await way.stream(agent_of(way, HomeMade(url=provider.url, fails=True)), ASKED, stream_mode="messages")
    settled = granting.settled
    assert (settled["usage"]["output_tokens"], settled["measured"]["error_kind"]) == (2, "cut_connection")


async def test_what_fails_before_the_model_is_called_releases(
    way: Way, provider: Provider, granting: GrantingLedger
) -> None:
    with pytest.raises(ValueError, match="takes no tools"):
        await way.invoke(agent_of(way, _WithoutTools(url=provider.url), tools=[get_capital]), ASKED)
    assert granting.released["reason"] == "not sent"


class _WithoutTools(HomeMade):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        raise ValueError("this model takes no tools")


# --- both ---


@pytest.mark.parametrize("is_home_made", [False, True])
async def test_an_agent_that_is_cancelled_is_an_estimate(
    is_home_made: bool, async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    provider.replies[0].withheld = True
    model = _Awaited(url=provider.url, max_tokens=300) if is_home_made else chat_model(provider, max_tokens=300)
    calling = asyncio.ensure_future(agent_of(Way(async_ledger, True), model).ainvoke(ASKED))
    while not provider.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, 300)
    assert settled["measured"]["error_kind"] == "cancelled"


class _Awaited(HomeMade):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        async with httpx2.AsyncClient() as connection:
            await connection.post(self.url, json={})
        raise AssertionError("it is canceled before")


async def test_two_users_are_told_apart_at_once(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    agent = agent_of(Way(async_ledger, True), chat_model(provider), ours={"agent_type": "data_agent"})

    async def ask(user: str) -> None:
        with async_ledger.context(user=user, tags={"for": user}):
            await asyncio.gather(agent.ainvoke(ASKED), agent.ainvoke(ASKED))

    await asyncio.gather(*map(ask, ("ada", "bob")))
    reserved = sorted((each["user"], each["tags"]["for"]) for each in granting.sent("/reservations"))
    assert reserved == [("ada", "ada")] * 2 + [("bob", "bob")] * 2


def test_threads_of_an_agent_have_the_context(
    ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    agent = agent_of(Way(ledger, False), chat_model(provider), ours={"agent_type": "data_agent"})
    with ledger.context(user="bob"):
        agent.batch([ASKED] * 3)
    assert [each["user"] for each in granting.sent("/reservations")] == ["bob"] * 3


async def test_calls_of_a_run_are_the_runs(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    middleware = way.ledger.attach("77").langchain_middleware(agent_type="data_agent")
    await way.invoke(create_agent(chat_model(provider), middleware=[middleware]), ASKED)
    assert granting.reserved["run_id"] == "77"


async def test_the_other_way_is_refused(
    way: Way, provider: Provider, granting: GrantingLedger, ledger: TokenLedger
) -> None:
    other = Way(ledger, not way.is_awaited)
    with pytest.raises(ConfigurationError, match="without await" if way.is_awaited else "was awaited"):
        await other.invoke(agent_of(way, chat_model(provider)), ASKED)
    assert (provider.asked, granting.requests) == ([], [])


def test_langchain_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import sys; from token_ledger_sdk import AsyncTokenLedger, ConfigurationError, TokenLedger;"
        "ledger = TokenLedger('http://x', 'tl_test_1_secret');"
        "print([name for name in sys.modules if name.startswith('lang')]);"
        "sys.modules['langchain'] = sys.modules['langchain_core'] = None\n"
        "for make in (ledger.langchain_middleware, ledger.langchain_handler):\n"
        "    try: make()\n"
        "    except ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = "LangChain is not installed here: pip install 'token-ledger-sdk[langchain]'\n"
    assert done.stdout == f"[]\n{told}{told}"
