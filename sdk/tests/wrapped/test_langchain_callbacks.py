"""Chat models of LangChain, guarded by callbacks: what is held, booked and raised, at once and awaited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph
from openai import OpenAI
from pydantic import BaseModel

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, ConfigurationError, TokenLedger

from .conftest import GrantingLedger
from .langchain_models import (
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


@pytest.fixture
def config(way: Way) -> Any:
    return {"callbacks": [way.ledger.langchain_handler(**OURS)]}


async def test_a_call_is_held_and_booked(way: Way, config: Any, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    answer = await way.invoke(chat_model(provider, max_tokens=300), QUESTION, config=config)
    assert answer.content == "Paris"
    reserved = granting.reserved
    assert (reserved["user"], reserved["agent_type"], reserved["provider"]) == ("ada", "data_agent", "openai")
    assert (reserved["model"], reserved["max_output_tokens"]) == (MODEL, 300)
    assert 12 <= reserved["input_tokens"] <= 16
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], settled["model"]) == ("chatcmpl-1", "gpt-5.4-2026-03-05")
    assert (settled["measured"]["finish_reason"], "estimated" in settled) == ("stop", False)


@pytest.mark.parametrize("number", ["153", "100", "132", "258"])
async def test_a_recorded_answer_is_booked_as_by_a_wrapped_client(
    number: str, way: Way, config: Any, provider: Provider, granting: GrantingLedger, client: OpenAI, recorded: Recorded
) -> None:
    body = json.loads(recorded(number))
    is_chat = "choices" in body
    provider.json(recorded(number))
    await way.invoke(chat_model(provider, model=body["model"], use_responses_api=not is_chat), QUESTION, config=config)
    if is_chat:
        client.chat.completions.create(model=body["model"], messages=[{"role": "user", "content": QUESTION}])
    else:
        client.responses.create(model=body["model"], input=QUESTION)
    ours, theirs = granting.sent("/settle")
    assert ours["usage"] == theirs["usage"]
    assert (ours.get("model"), ours.get("service_tier")) == (theirs.get("model"), theirs.get("service_tier"))


async def test_a_recorded_answer_of_anthropic_is_booked(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    body = json.loads(recorded("001"))
    provider.json(recorded("001"))
    await way.invoke(anthropic_model(provider, max_tokens=700), QUESTION, config=config)
    assert (granting.reserved["provider"], granting.reserved["max_output_tokens"]) == ("anthropic", 700)
    used = body["usage"]
    cached = used.get("cache_read_input_tokens") or 0
    written = used.get("cache_creation_input_tokens") or 0
    settled = granting.settled["usage"]
    assert settled["input_tokens"] == used["input_tokens"] + cached + written
    assert (settled["output_tokens"], settled["cache_read_tokens"]) == (used["output_tokens"], cached)


async def test_a_stream_is_booked(way: Way, config: Any, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    chunks = await way.stream(chat_model(provider, stream_usage=True), QUESTION, config=config)
    assert "".join(chunk.content for chunk in chunks) == "London"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (21, 9)
    assert 0 <= settled["measured"]["first_token_ms"] <= settled["measured"]["latency_ms"]
    assert "estimated" not in settled


async def test_a_stream_without_figures_is_counted(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", usage=False))
    await way.stream(chat_model(provider), QUESTION, config=config)  # LangChain asks other addresses for no usage
    assert "stream_options" not in provider.asked[0].body
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, 1)
    assert settled["measured"]["estimate_rule"] == "input counted, output from text (tiktoken)"


async def test_a_stream_that_is_closed_early_is_counted(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is", " the", " capital"))
    await way.stream(
        chat_model(provider, stream_usage=True), QUESTION, ends=lambda chunk: chunk.content == " is", config=config
    )
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok"), settled["usage"]["output_tokens"]) == (True, "ok", 2)
    assert settled["measured"]["error_kind"] == "closed_early"


async def test_a_stream_that_is_cut_is_counted(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("London", " is"), cut_after=3)
    with pytest.raises(openai.APIConnectionError):
        await way.stream(chat_model(provider, stream_usage=True), QUESTION, config=config)
    settled = granting.settled
    assert (settled["estimated"], settled["outcome"], settled["usage"]["output_tokens"]) == (True, "error", 2)
    assert settled["measured"]["error_kind"] == "cut_connection"


async def test_a_recorded_stream_of_anthropic_is_booked(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.stream(recorded("021"))
    await way.stream(anthropic_model(provider), QUESTION, config=config)
    usage = granting.settled["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], "estimated" in granting.settled) == (20, 5, False)


async def test_a_tool_call_is_booked(way: Way, config: Any, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(tool_call_body())
    answer = await way.invoke(chat_model(provider).bind_tools([get_capital]), QUESTION, config=config)
    assert answer.tool_calls[0]["args"] == {"of": "UK"}
    assert granting.reserved["requires"] == ["tools"]
    assert 40 <= granting.reserved["input_tokens"] <= 80
    assert granting.settled["usage"]["output_tokens"] == 16


class City(BaseModel):
    """A city."""

    name: str


async def test_structured_output_is_booked(way: Way, config: Any, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body('{"name": "London"}'))
    model = chat_model(provider).with_structured_output(City, method="json_schema")
    assert await way.invoke(model, QUESTION, config=config) == City(name="London")
    assert granting.reserved["requires"] == ["structured_output"]
    assert granting.settled["usage"]["output_tokens"] == 7


async def test_structured_output_that_does_not_fit_is_booked(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body('{"town": "London"}'))
    model = chat_model(provider).with_structured_output(City, method="json_schema")
    with pytest.raises(ValueError, match="name"):
        await way.invoke(model, QUESTION, config=config)
    assert granting.settled["usage"]["output_tokens"] in (7, 128_000)


async def test_a_picture_requires_vision(way: Way, config: Any, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}
    await way.invoke(chat_model(provider), [HumanMessage([{"type": "text", "text": "What?"}, picture])], config=config)
    assert granting.reserved["requires"] == ["vision"]


# --- denials ---


async def test_a_denial_is_raised_and_nothing_is_sent(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    granting.most_output = 200
    with pytest.raises(BudgetExceeded) as denied:
        await way.invoke(chat_model(provider, max_tokens=300, max_retries=3), QUESTION, config=config)
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 200
    assert provider.asked == []
    assert len(granting.sent("/reservations")) == 1


async def test_a_call_without_a_limit_is_denied_and_not_cut(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 200
    with pytest.raises(BudgetExceeded):
        await way.stream(chat_model(provider), QUESTION, config=config)
    assert provider.asked == []


async def test_a_denied_prompt_takes_back_those_before_it(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    handler, model = config["callbacks"][0], chat_model(provider, max_tokens=300)
    granting.script = []
    first = [HumanMessage("one")]
    granted = granting.answer

    def answer_once(request: Any) -> Any:
        if request.url.path.endswith("/reservations") and len(granting.sent("/reservations")) > 1:
            granting.most_output = 1
        return granted(request)

    granting.answer = answer_once  # type: ignore[method-assign]
    with pytest.raises(BudgetExceeded):
        if way.is_awaited:
            await model.agenerate([first, first], callbacks=[handler])
        else:
            model.generate([first, first], callbacks=[handler])
    assert granting.released["reason"] == "not sent"
    assert provider.asked == []


async def test_a_directive_is_not_asked_for(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    handler = way.ledger.langchain_handler(**OURS, apply=["model_downgrade"])
    await way.invoke(chat_model(provider), QUESTION, config={"callbacks": [handler]})
    assert "apply" not in granting.reserved


async def test_the_other_way_is_refused(
    way: Way, config: Any, provider: Provider, ledger: TokenLedger, async_ledger: AsyncTokenLedger
) -> None:
    provider.json(chat_body())
    other = Way(ledger, not way.is_awaited)
    for call in (other.invoke, other.stream):
        with pytest.raises(ConfigurationError, match="without await" if way.is_awaited else "was awaited"):
            await call(chat_model(provider), QUESTION, config=config)
    assert provider.asked == []


# --- failures ---


async def test_of_attempts_that_are_not_seen_the_last_one_counts(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    with pytest.raises(openai.RateLimitError):
        await way.invoke(chat_model(provider, max_tokens=300, max_retries=2), QUESTION, config=config)
    assert len(provider.asked) == 3
    assert granting.released["reason"] == "the provider answered 429"
    granting.requests.clear()
    provider.replies.clear()
    provider.json({"error": {"message": "no"}}, 500)
    with pytest.raises(openai.InternalServerError):
        await way.invoke(chat_model(provider, max_tokens=300, max_retries=2), QUESTION, config=config)
    assert granting.settled["usage"]["output_tokens"] == 300


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("part_of", ["nothing", "a chain"])
async def test_a_call_that_is_cancelled_is_an_estimate(
    part_of: str, async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    provider.replies[0].withheld = True
    model: Any = chat_model(provider, max_tokens=300)
    called = model if part_of == "nothing" else RunnableLambda(str) | model
    config: Any = {"callbacks": [async_ledger.langchain_handler(**OURS)]}
    calling = asyncio.ensure_future(called.ainvoke(QUESTION, config=config))
    await until(lambda: provider.asked)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    if part_of == "nothing":
        await until(lambda: granting.sent("/settle"))
    settled = granting.settled
    assert (settled["estimated"], settled["usage"]["output_tokens"]) == (True, 300)
    assert settled["measured"]["error_kind"] == "cancelled"


async def test_what_comes_from_a_cache_of_langchain_costs_nothing(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    model = chat_model(provider, cache=InMemoryCache())
    for _ in range(2):
        await way.invoke(model, QUESTION, config=config)
    assert len(provider.asked) == 1
    assert [each["reason"] for each in granting.sent("/release")] == ["not sent"]
    assert len(granting.sent("/settle")) == 1


# --- whose calls they are ---


async def test_two_users_are_told_apart_at_once(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    model = chat_model(provider).with_config(callbacks=[async_ledger.langchain_handler(agent_type="data_agent")])

    async def ask(user: str) -> None:
        with async_ledger.context(user=user, cost_center=f"cc-{user}", tags={"for": user}):
            await model.abatch([f"{user}?", f"{user}!"])

    await asyncio.gather(*map(ask, ("ada", "bob")))
    reserved = [(each["user"], each["cost_center"], each["tags"]) for each in granting.sent("/reservations")]
    assert sorted(reserved, key=str) == [
        ("ada", "cc-ada", {"for": "ada"}), ("ada", "cc-ada", {"for": "ada"}),
        ("bob", "cc-bob", {"for": "bob"}), ("bob", "cc-bob", {"for": "bob"}),
    ]  # fmt: skip


def test_threads_that_langchain_starts_have_the_context(
    ledger: TokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    model = chat_model(provider).with_config(callbacks=[ledger.langchain_handler(agent_type="data_agent")])

    def ask(user: str) -> None:
        with ledger.context(user=user):
            model.batch([f"{user} {number}" for number in range(4)])

    with ThreadPoolExecutor(2) as threads:
        [*threads.map(ask, ("ada", "bob"))]
    assert sorted(each["user"] for each in granting.sent("/reservations")) == ["ada"] * 4 + ["bob"] * 4
    assert len(granting.sent("/settle")) == 8


async def test_calls_of_a_run_are_the_runs(way: Way, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    handler = way.ledger.attach("77").langchain_handler(agent_type="data_agent")
    with way.ledger.context(user="bob"):
        await way.invoke(chat_model(provider), QUESTION, config={"callbacks": [handler]})
    assert granting.reserved["run_id"] == "77"


async def test_a_graph_goes_through_its_callbacks(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    model = chat_model(provider)

    def sync_node(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def async_node(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    for name in ("one", "two"):
        graph.add_node(name, async_node if way.is_awaited else sync_node)
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    await way.invoke(graph.compile(), {"messages": [("user", QUESTION)]}, config=config)
    assert len(granting.sent("/reservations")) == len(granting.sent("/settle")) == 2
    granting.most_output = 1
    with pytest.raises(BudgetExceeded):
        await way.invoke(graph.compile(), {"messages": [("user", QUESTION)]}, config=config)
    assert len(provider.asked) == 2


# --- counted once ---


def wrapped_model(way: Way, provider: Provider, **options: Any) -> Any:
    """Return a model whose client is wrapped already."""
    model: Any = chat_model(provider, **options)
    if way.is_awaited:
        model.root_async_client = way.ledger.wrap(model.root_async_client, **OURS)
        model.async_client = model.root_async_client.chat.completions
    else:
        model.root_client = way.ledger.wrap(model.root_client, **OURS)
        model.client = model.root_client.chat.completions
    return model


async def test_a_wrapped_client_inside_is_counted_once(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    model = wrapped_model(way, provider)
    await way.invoke(model, QUESTION, config=config)
    assert len(granting.sent("/reservations")) == 1
    assert granting.settled["usage"]["output_tokens"] == 7
    await way.invoke(model, QUESTION)  # without callbacks it guards itself
    assert len(granting.sent("/settle")) == 2


async def test_a_wrapped_client_inside_counts_its_streams_and_attempts(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "slow down"}}, 500)
    provider.stream(chat_stream("Lon", "don"))
    chunks = await way.stream(wrapped_model(way, provider, max_retries=1), QUESTION, config=config)
    assert "".join(chunk.content for chunk in chunks) == "London"
    assert len(granting.sent("/reservations")) == 1
    part, rest = granting.sent("/settle")
    assert (part["estimated"], part["usage"]["output_tokens"], rest["usage"]["output_tokens"]) == (True, 128_000, 9)


async def test_a_wrapped_client_within_the_reading_of_a_stream_is_counted_by_itself(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger, client: OpenAI
) -> None:
    provider.stream(chat_stream("Lon", "don"))
    asked: list[object] = []

    def ask(chunk: Any) -> bool:
        if not asked:
            provider.replies.insert(0, provider.replies[0])
            asked.append(client.chat.completions.create(model=MODEL, messages=[], stream=True).close())
        return False

    await way.stream(chat_model(provider, stream_usage=True), QUESTION, ends=ask, config=config)
    assert len(granting.sent("/reservations")) == 2


async def test_two_handlers_count_once(way: Way, config: Any, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    model = chat_model(provider, callbacks=[way.ledger.langchain_handler(**OURS)])
    await way.invoke(model, QUESTION, config=config)
    assert len(granting.sent("/reservations")) == len(granting.sent("/settle")) == 1


async def test_nothing_is_kept_of_calls_that_have_ended(
    way: Way, config: Any, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    provider.json({"error": {"message": "no"}}, 400)
    for _ in range(2):
        try:
            await way.invoke(chat_model(provider), QUESTION, config=config)
        except openai.BadRequestError:
            granting.most_output = 1
    with pytest.raises(BudgetExceeded):
        await way.invoke(chat_model(provider), QUESTION, config=config)
    assert config["callbacks"][0]._open == {}
