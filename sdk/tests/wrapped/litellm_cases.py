"""Functions of litellm, guarded, against a provider's wire format.

They run in an environment of their own, `make test-system` makes it: litellm contradicts requirements of others. So the
name of this file is not one that pytest finds by itself.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for its prices

import httpx
import litellm
import pytest
from litellm.caching import caching_handler

from token_ledger_sdk import AsyncTokenLedger, BudgetExceeded, TokenLedger
from token_ledger_sdk.testing import FakeService

from . import failing_calls
from .conftest import KEY, GrantingLedger
from .failing_calls import AwaitedFailingCalls, FailingCalls
from .leased_calls import CALLS, answers, check_leased, streams
from .provider import Provider
from .test_openai_calls import MESSAGES, TOOL, chat_body
from .test_openai_streams import chat_stream, text_tokens

Recorded = Callable[[str], str]
pytestmark = pytest.mark.filterwarnings("ignore")  # it warns of itself


class Caller:
    """Calls one of the two functions, as its users do."""

    def __init__(self, *, is_async: bool, provider: Provider, ledgers: tuple[TokenLedger, AsyncTokenLedger]) -> None:
        self.is_async = is_async
        self.provider = provider
        self.ledger: Any = ledgers[is_async]
        self.said: dict[str, Any] = {"user": "ada", "agent_type": "data_agent"}
        self.options: dict[str, Any] = {"api_base": provider.url, "api_key": KEY, "max_retries": 0}
        self.model = "openai/gpt-5.4"

    def function(self, name: str = "completion") -> Any:
        return self.ledger.wrap(getattr(litellm, f"a{name}" if self.is_async else name), **self.said)

    async def __call__(self, **options: Any) -> Any:
        given = {"model": self.model, "messages": MESSAGES, **self.options, **options}
        called = self.function()(**given)
        return await called if self.is_async else called

    async def chunks(self, *, until: str | None = None, **options: Any) -> list[Any]:
        stream, found = await self(stream=True, **options), []
        if self.is_async:
            async for chunk in stream:
                found.append(chunk)
                if chunk.choices[0].delta.content == until is not None:
                    await stream.aclose()
                    break
        else:
            for chunk in stream:
                found.append(chunk)
                if chunk.choices[0].delta.content == until is not None:
                    stream.close()
                    break
        return found


@pytest.fixture(params=["sync", "async"])
def call(
    request: pytest.FixtureRequest, provider: Provider, ledger: TokenLedger, async_ledger: AsyncTokenLedger
) -> Caller:
    return Caller(is_async=request.param == "async", provider=provider, ledgers=(ledger, async_ledger))


async def test_a_call_is_held_and_booked(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    answer = await call(max_tokens=300)
    assert answer.choices[0].message.content == "Paris"
    reserved = granting.reserved
    assert (reserved["user"], reserved["agent_type"], reserved["provider"]) == ("ada", "data_agent", "openai")
    assert (reserved["model"], reserved["max_output_tokens"]) == ("gpt-5.4", 300)
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (20, 7)
    assert (settled["response_id"], settled["measured"]["finish_reason"]) == ("chatcmpl-1", "stop")


@pytest.mark.parametrize("number", ["153", "132"])
async def test_recorded_answers_are_booked_as_the_wrapped_client_does(
    number: str, call: Caller, provider: Provider, granting: GrantingLedger, recorded: Recorded, client: Any
) -> None:
    provider.json(recorded(number))
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    await call()
    by_client, by_function = granting.sent("/settle")
    assert by_function["usage"] == by_client["usage"]


async def test_arguments_may_stand_in_their_order(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    called = call.function()("openai/gpt-5.4", MESSAGES, **call.options)
    await called if call.is_async else called
    assert granting.reserved["model"] == "gpt-5.4"
    assert granting.reserved["input_tokens"] >= 12


async def test_other_providers_are_named_and_booked(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    usage = {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    provider.json(
        {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
         "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": usage}
    )  # fmt: skip
    call.model = "anthropic/claude-sonnet-4-6"
    await call()
    assert (granting.reserved["provider"], granting.reserved["model"]) == ("anthropic", "claude-sonnet-4-6")
    booked = granting.settled["usage"]
    assert (booked["input_tokens"], booked["output_tokens"]) == (10, 6)
    assert (booked["cache_read_tokens"], booked["cache_write_5m_tokens"]) == (3, 2)


async def test_tools_and_schemas_are_required(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    tool = {"id": "c", "type": "function", "function": {"name": "get_capital", "arguments": "{}"}}
    provider.json(chat_body("", "tool_calls", tool_calls=[tool]))
    await call(tools=[TOOL], response_format={"type": "json_object"})
    assert granting.reserved["requires"] == ["tools", "structured_output"]
    assert granting.settled["measured"]["finish_reason"] == "tool_calls"


async def test_embeddings_are_booked(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(
        {"object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 5, "total_tokens": 5},
         "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}
    )  # fmt: skip
    called = call.function("embedding")(model="openai/text-embedding-3-small", input=["one two"], **call.options)
    await called if call.is_async else called
    assert (granting.reserved["max_output_tokens"], granting.settled["usage"]["input_tokens"]) == (0, 5)


async def test_responses_are_booked(
    call: Caller, provider: Provider, granting: GrantingLedger, recorded: Recorded
) -> None:
    provider.json(recorded("251"))
    called = call.function("responses")(model="openai/gpt-5.4", input="x", **call.options)
    await called if call.is_async else called
    assert granting.settled["usage"]["reasoning_tokens"] > 0


# --- streams ---


async def test_a_stream_is_booked(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    chunks = await call.chunks()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "London"
    settled = granting.settled
    assert (settled["usage"]["input_tokens"], settled["usage"]["output_tokens"]) == (21, 9)
    assert ("estimated" in settled, settled["measured"]["finish_reason"]) == (False, "stop")
    assert "first_token_ms" in settled["measured"]


async def test_a_function_that_is_wrapped_twice_makes_one_call(
    call: Caller, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("Lon", "don"))
    twice = call.ledger.wrap(call.function(), **call.said)
    stream: Any = twice(model=call.model, messages=MESSAGES, stream=True, **call.options)
    chunks = [chunk async for chunk in await stream] if call.is_async else [*stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "London"
    assert len(granting.sent("/reservations")) == 1
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_a_stream_keeps_its_type(call: Caller, provider: Provider) -> None:
    provider.stream(chat_stream("London"))
    assert isinstance(await call(stream=True), litellm.CustomStreamWrapper)


async def test_a_stream_that_is_closed_early_is_counted(
    call: Caller, provider: Provider, granting: GrantingLedger
) -> None:
    may_go_on, sent = threading.Event(), count()
    provider.stream(chat_stream("London", " is", " the", " capital"))
    provider.replies[0].between = lambda: next(sent) < 3 or may_go_on.wait(60)
    await call.chunks(until=" is")
    may_go_on.set()
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok")) == (True, "ok")
    assert text_tokens("London is") <= settled["usage"]["output_tokens"] <= text_tokens("London is the")


# --- failures ---

BODIES: Any = {"answer": chat_body(), "begun": (chat_stream("London", " is", usage=False), 2)}


async def _call(call: Caller, stream: bool, url: str | None) -> None:
    options = {"max_tokens": 300, "timeout": 60, **({} if url is None else {"api_base": f"{url}/v1"})}
    await (call.chunks(**options) if stream else call(**options))


def _caller(call: Caller) -> failing_calls.Caller:
    return failing_calls.Caller(call=partial(_call, call), **BODIES)


class TestAtOnce(FailingCalls):
    test_a_call_that_times_out_is_an_estimate = None  # its connections are its own

    @pytest.fixture
    def caller(self, provider: Provider, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> failing_calls.Caller:
        return _caller(Caller(is_async=False, provider=provider, ledgers=(ledger, async_ledger)))


class TestAwaited(AwaitedFailingCalls):
    test_a_call_that_times_out_is_an_estimate = None  # its connections are its own

    @pytest.fixture
    def caller(self, provider: Provider, ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> failing_calls.Caller:
        return _caller(Caller(is_async=True, provider=provider, ledgers=(ledger, async_ledger)))


async def test_an_answer_of_its_own_cache_costs_nothing(
    call: Caller, provider: Provider, granting: GrantingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its cache asks its proxy, which needs far more than the library, whether streams are held back there.
    monkeypatch.setattr(caching_handler, "_should_defer_streaming_cache_hit_callbacks", lambda *given, **named: False)
    monkeypatch.setattr(litellm, "cache", litellm.Cache())
    provider.json(chat_body())
    await call(caching=True)
    while (await call(caching=True))._hidden_params.get("cache_hit") is not True:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # it keeps an answer in the background
    assert granting.sent("/release")[-1]["reason"] == "not sent"
    assert len(granting.sent("/settle")) == len(provider.asked)


# --- what is sent ---


async def test_what_is_sent_is_the_same_to_the_byte(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    provider.json(chat_body())
    given = {"model": call.model, "messages": MESSAGES, "tools": [TOOL], "temperature": 0.5, **call.options}
    await litellm.acompletion(**given) if call.is_async else litellm.completion(**given)
    await call(tools=[TOOL], temperature=0.5)
    plain, guarded = provider.asked
    assert guarded.content == plain.content


async def test_what_fits_is_held_and_sent(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    granting.most_output = 1_000
    provider.json(chat_body())
    await call()
    body = provider.asked[0].body
    assert 1_000 in (body.get("max_completion_tokens"), body.get("max_tokens"))


async def test_a_stand_in_is_called(call: Caller, provider: Provider, granting: GrantingLedger) -> None:
    granting.stand_in = "gpt-5.4-mini"
    call.said["apply"] = ["model_downgrade"]
    provider.json(chat_body())
    await call()
    assert provider.asked[0].body["model"] == "gpt-5.4-mini"


async def test_two_users_share_a_function(
    provider: Provider, granting: GrantingLedger, ledger: TokenLedger, async_ledger: AsyncTokenLedger
) -> None:
    provider.json(chat_body())
    call = Caller(is_async=True, provider=provider, ledgers=(ledger, async_ledger))
    call.said = {"agent_type": "chat"}

    async def ask(user: str) -> None:
        with async_ledger.context(user=user):
            for _ in range(3):
                await call()

    await asyncio.gather(ask("ada"), ask("bob"))
    assert sorted(each["user"] for each in granting.sent("/reservations")) == ["ada"] * 3 + ["bob"] * 3


# --- the router, which its proxy calls models with ---


@pytest.fixture
def router(provider: Provider, async_ledger: AsyncTokenLedger, monkeypatch: pytest.MonkeyPatch) -> litellm.Router:
    monkeypatch.setattr(litellm, "acompletion", async_ledger.wrap(litellm.acompletion, agent_type="gateway"))
    named = {"model": "openai/gpt-5.4", "api_key": KEY, "api_base": provider.url, "max_retries": 0}
    other = {**named, "model": "openai/gpt-5.4-mini"}
    models = [{"model_name": name, "litellm_params": given} for name, given in (("house", named), ("spare", other))]
    return litellm.Router(model_list=models, fallbacks=[{"house": ["spare"]}], num_retries=0)


async def test_calls_of_a_proxy_are_those_of_its_users(
    router: litellm.Router, provider: Provider, granting: GrantingLedger, async_ledger: AsyncTokenLedger
) -> None:
    provider.json(chat_body())
    told: Any = {"user_api_key_user_id": "bob", "user_api_key_team_id": "search"}
    await router.acompletion(model="house", messages=MESSAGES, metadata=told)
    assert (granting.reserved["user"], granting.reserved["model"]) == ("bob", "gpt-5.4")
    with async_ledger.context(user="ada"):
        await router.acompletion(model="house", messages=MESSAGES, metadata=told)
    assert granting.reserved["user"] == "ada"
    assert len(granting.sent("/settle")) == 2


async def test_each_deployment_that_is_fallen_back_to_is_held_for_itself(
    router: litellm.Router, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "no"}}, 429)
    provider.json(chat_body())
    await router.acompletion(model="house", messages=MESSAGES, metadata={"user_api_key_user_id": "bob"})
    assert [each["model"] for each in granting.sent("/reservations")] == ["gpt-5.4", "gpt-5.4-mini"]
    assert (len(granting.sent("/release")), len(granting.sent("/settle"))) == (1, 1)


async def test_a_stream_of_a_router_is_booked(
    router: litellm.Router, provider: Provider, granting: GrantingLedger
) -> None:
    provider.stream(chat_stream("Lon", "don"))
    stream: Any = await router.acompletion(
        model="house", messages=MESSAGES, metadata={"user_api_key_user_id": "bob"}, stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "London"
    assert granting.settled["usage"]["output_tokens"] == 9


async def test_a_denial_leaves_the_router_and_is_not_tried_again(
    provider: Provider, granting: GrantingLedger, async_ledger: AsyncTokenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "acompletion", async_ledger.wrap(litellm.acompletion, user="ada", agent_type="a"))
    named = {"model": "openai/gpt-5.4", "api_key": KEY, "api_base": provider.url}
    router = litellm.Router(model_list=[{"model_name": "house", "litellm_params": named}])
    granting.most_output = 64
    with pytest.raises(BudgetExceeded) as denied:
        await router.acompletion(model="house", messages=MESSAGES, max_tokens=300)
    assert denied.value.status_code == 402
    assert (len(granting.sent("/reservations")), provider.asked) == (1, [])


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_calls_that_follow_each_other_closely_draw_from_leases(
    is_async: bool, is_stream: bool, provider: Provider
) -> None:
    service = FakeService()
    if is_stream:
        streams(provider)
    else:
        answers(provider, chat_body())
    async with service.async_client(flush_seconds=1) as awaited:
        with service.client(flush_seconds=1) as ledger:
            call = Caller(is_async=is_async, provider=provider, ledgers=(ledger, awaited))
            for _ in range(CALLS):
                if is_stream:
                    await call.chunks(max_tokens=300)
                else:
                    await call(max_tokens=300)
    check_leased(service, output_tokens=9 if is_stream else 7)


def test_what_can_not_be_wrapped_is_said(ledger: TokenLedger, async_ledger: AsyncTokenLedger) -> None:
    for wrong, function in ((ledger, litellm.acompletion), (async_ledger, litellm.completion), (ledger, litellm.Cache)):
        with pytest.raises(TypeError):
            wrong.wrap(function)


def test_it_needs_the_older_httpx() -> None:
    assert httpx.__version__ < "1"
