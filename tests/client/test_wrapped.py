"""Wrapped clients against a running service: what their budget is worth, and what is booked."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic, AsyncAnthropicBedrock, AsyncAnthropicVertex
from google import genai
from google.genai.client import AsyncClient
from openai import AsyncOpenAI
from token_ledger_sdk import BudgetExceeded

from sdk.tests.wrapped.provider import AsyncLateAnswers, Provider, Reply
from tests.client.conftest import Client

MODEL = "gpt-5.4-mini"
MESSAGES: list[Any] = [{"role": "user", "content": "What is the capital of the UK?"}]
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "London"}}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21},
}  # fmt: skip
BEGUN = (
    'data: {"id":"chatcmpl-2","object":"chat.completion.chunk","model":"gpt-5.4-mini",'
    '"choices":[{"index":0,"delta":{"content":"London"}}],"usage":null}'
)


@pytest.fixture
async def bare(provider: Provider) -> AsyncIterator[AsyncOpenAI]:
    connections = httpx2.AsyncClient(transport=AsyncLateAnswers(provider))
    async with AsyncOpenAI(base_url=provider.url, api_key="sk", max_retries=0, http_client=connections) as made:
        yield made


async def ask(guarded: AsyncOpenAI, **options: Any) -> Any:
    return await guarded.chat.completions.create(model=MODEL, messages=MESSAGES, **options)


async def test_a_call_without_a_limit_gets_what_fits(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    await client.budget(tokens=1_014)
    provider.json(ANSWER)
    guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent")
    await ask(guarded)
    assert provider.asked[0].body["max_completion_tokens"] == 1_000
    (event,) = await client.booked()
    assert (event["input_tokens"], event["output_tokens"], event["estimated"]) == (14, 7, False)
    assert json.loads(event["details"])["finish_reason"] == "stop"
    assert await client.holds() == {"settled": 1}


async def test_a_model_with_room_is_sent_no_limit(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    provider.json(ANSWER)
    await ask(client.ledger.wrap(bare, user="ada", agent_type="data_agent"))
    assert "max_completion_tokens" not in provider.asked[0].body
    (row,) = await client.world.rows("select max_output_tokens from reservations")
    assert row["max_output_tokens"] == 128_000


async def test_a_call_that_does_not_fit_is_denied(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    await client.budget(tokens=200)
    guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent", limit_output=False)
    with pytest.raises(BudgetExceeded) as denied:
        await ask(guarded)
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 186
    assert provider.asked == []


async def test_refusals_of_the_provider_cost_nothing(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    await client.budget(tokens=1_014)
    provider.json({"error": {"message": "slow down"}}, 429)
    guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent")
    for _ in range(3):
        with pytest.raises(openai.RateLimitError):
            await ask(guarded, max_completion_tokens=1_000)
    assert (await client.holds(), await client.booked()) == ({"released": 3}, [])
    reasons = await client.world.rows("select end_reason from reservations")
    assert [row["end_reason"] for row in reasons] == ["the provider answered 429"] * 3


async def test_an_attempt_that_timed_out_is_a_part(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    provider.json(ANSWER)
    provider.json(ANSWER)
    provider.replies[0].late = True
    guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent")
    await ask(guarded.with_options(max_retries=1), max_completion_tokens=100)
    part, rest = await client.booked()
    assert (part["output_tokens"], part["estimated"], part["failed"]) == (100, True, True)
    assert json.loads(part["details"])["estimate_rule"] == "input counted, output limit"
    assert (rest["output_tokens"], rest["estimated"], json.loads(rest["details"])["retries"]) == (7, False, 1)


async def test_a_cut_stream_is_an_estimate(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    provider.stream(BEGUN, cut_after=1)
    guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent")
    with pytest.raises(openai.APIConnectionError):
        async for _ in await ask(guarded, stream=True):
            pass
    (event,) = await client.booked()
    assert (event["input_tokens"], event["output_tokens"], event["estimated"]) == (14, 1, True)
    assert json.loads(event["details"])["estimate_rule"] == "input counted, output from text (tiktoken)"


async def test_two_users_share_a_client_and_not_a_budget(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    body = {"idempotency_key": "b", "name": "each", "selector": {"user": "ada"}, "limits": {"tokens": 100}}
    await client.world.made("/v1/budgets", {**body, "window": "total"})
    provider.json(ANSWER)
    guarded = client.ledger.wrap(bare, agent_type="data_agent")

    async def call(user: str) -> bool:
        with client.ledger.context(user=user):
            try:
                await ask(guarded, max_completion_tokens=500)
            except BudgetExceeded:
                return False
            return True

    assert await asyncio.gather(*(call(user) for user in ("ada", "bob", "ada", "bob"))) == [False, True, False, True]
    assert {event["user_id"] for event in await client.booked()} == {"bob"}


async def test_leased_calls_ask_for_no_hold_of_their_own(client: Client, provider: Provider, bare: AsyncOpenAI) -> None:
    provider.json(ANSWER)
    async with client.ledger.run(user="ada") as run:
        guarded = run.wrap(bare, agent_type="data_agent", lease_calls=10)
        for number in range(5):
            provider.replies[0].parts = [json.dumps({**ANSWER, "id": f"chatcmpl-{number}"}).encode()]
            await ask(guarded, max_completion_tokens=100)
        provider.json({"error": {"message": "no"}}, 429)
        provider.replies.pop(0)
        with pytest.raises(openai.RateLimitError):
            await ask(guarded, max_completion_tokens=100)
    assert sum(path == "/v1/reservations" for path in client.network.sent) == 0
    (lease,) = await client.world.rows("select end_reason from reservations")
    assert lease["end_reason"] == "not needed; the provider answered 429 (1)"
    assert [event["output_tokens"] for event in await client.booked()] == [7] * 5
    assert "held" not in await client.holds()


async def test_leased_calls_are_booked_when_the_client_is_closed(
    client: Client, provider: Provider, bare: AsyncOpenAI
) -> None:
    provider.json(ANSWER)
    async with client.ledger:
        guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent", lease_calls=10)
        await ask(guarded, max_completion_tokens=100)
    assert [event["output_tokens"] for event in await client.booked()] == [7]
    assert "held" not in await client.holds()


# --- Anthropic ---


CLAUDE = "claude-sonnet-4-6"
GIVEN: Any = {"model": CLAUDE, "messages": MESSAGES, "max_tokens": 100}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "London"}],
    "usage": {"input_tokens": 4, "cache_creation_input_tokens": 10, "output_tokens": 7},
}  # fmt: skip


@pytest.fixture
async def claude(client: Client, provider: Provider) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=provider.root, api_key="sk", max_retries=0) as made:
        yield client.ledger.wrap(made, user="ada", agent_type="data_agent")


async def test_a_message_is_held_and_booked_at_its_price(
    client: Client, provider: Provider, claude: AsyncAnthropic
) -> None:
    provider.json(MESSAGE)
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    await claude.messages.create(**GIVEN, system=system)
    (event,) = await client.booked()
    assert (event["input_tokens"], event["cache_write_5m_tokens"], event["output_tokens"]) == (14, 10, 7)
    # In nano-dollars: 4 tokens at 3 $, 10 written to the cache at 3.75 $, and 7 at 15 $ a million.
    assert event["cost_nanos"] == 4 * 3_000 + 10 * 3_750 + 7 * 15_000
    (row,) = await client.world.rows("select max_output_tokens from reservations")
    assert row["max_output_tokens"] == 100


async def test_a_message_that_does_not_fit_is_denied(
    client: Client, provider: Provider, claude: AsyncAnthropic
) -> None:
    await client.budget(tokens=60)
    with pytest.raises(BudgetExceeded) as denied:
        await claude.with_options(max_retries=3).messages.create(**GIVEN)
    assert denied.value.fits is not None
    assert 30 <= (denied.value.fits.max_output_tokens or 0) < 60
    assert provider.asked == []


async def test_a_message_that_is_refused_costs_nothing(
    client: Client, provider: Provider, claude: AsyncAnthropic
) -> None:
    provider.json({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, 529)
    with pytest.raises(Exception, match="overloaded_error"):
        await claude.messages.create(**GIVEN)
    assert (await client.holds(), await client.booked()) == ({"released": 1}, [])


async def test_results_of_a_batch_are_booked_once(client: Client, provider: Provider, claude: AsyncAnthropic) -> None:
    results = f"{provider.root}/v1/messages/batches/msgbatch_1/results"
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}}
    provider.json({"id": "msgbatch_1", "processing_status": "ended", "results_url": results})
    provider.replies.append(Reply([json.dumps(line).encode()], content_type="application/x-jsonl"))
    provider.replies += provider.replies
    for _ in range(2):
        assert [each.custom_id async for each in await claude.messages.batches.results("msgbatch_1")] == ["a"]
    (event,) = await client.booked()
    assert (event["user_id"], event["output_tokens"], event["service_tier"]) == ("ada", 7, "batch")
    assert event["cost_nanos"] == (4 * 3_000 + 10 * 3_750 + 7 * 15_000) / 2


BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLOUDS = [
    # In nano-dollars a token: a region of Bedrock's costs a tenth more.
    (BEDROCK, ("aws", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"), (3_300, 16_500)),
    (f"arn:aws:bedrock:us-east-1:1:inference-profile/{BEDROCK}",
     ("aws", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"), (3_300, 16_500)),
    ("claude-sonnet-4-5@20250929", ("google", "claude-sonnet-4-5"), (3_000, 15_000)),
]  # fmt: skip


@pytest.mark.parametrize(("model", "booked", "rates"), CLOUDS)
async def test_claude_in_a_cloud_is_booked_at_that_clouds_price(
    model: str, booked: tuple[str, str], rates: tuple[int, int], client: Client, provider: Provider
) -> None:
    provider.json(MESSAGE | {"model": "claude-sonnet-4-5-20250929", "usage": {"input_tokens": 4, "output_tokens": 7}})
    bare: AsyncAnthropicBedrock | AsyncAnthropicVertex
    if "@" in model:
        bare = AsyncAnthropicVertex(region="us", project_id="p", access_token="t", base_url=provider.root)
    else:
        bare = AsyncAnthropicBedrock(api_key="k", aws_region="us-east-1", base_url=provider.root)
    async with bare:
        await client.ledger.wrap(bare, user="ada", agent_type="a").messages.create(**{**GIVEN, "model": model})
    (event,) = await client.booked()
    assert ((event["provider"], event["model"]), event["unpriced"]) == (booked, False)
    assert event["cost_nanos"] == 4 * rates[0] + 7 * rates[1]
    (hold,) = await client.world.rows("select provider, model from reservations")
    assert (hold["provider"], hold["model"]) == booked


# --- Gemini ---


GEMINI = "gemini-2.5-flash"
SAID = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "London"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 14, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
                      "thoughtsTokenCount": 2, "totalTokenCount": 21},
    "modelVersion": GEMINI, "responseId": "resp_1",
}  # fmt: skip


@pytest.fixture
async def gemini(client: Client, provider: Provider) -> AsyncIterator[AsyncClient]:
    bare = genai.Client(api_key="k", http_options={"base_url": provider.root})
    guarded = client.ledger.wrap(bare, user="ada", agent_type="data_agent")
    async with guarded.aio as made:
        yield made


async def test_content_is_held_and_booked_at_its_price(client: Client, provider: Provider, gemini: AsyncClient) -> None:
    await client.budget(tokens=1_010)
    provider.json(SAID)
    await gemini.models.generate_content(model=GEMINI, contents="What is the capital of the UK?")
    sent = provider.asked[0].body["generationConfig"]["maxOutputTokens"]
    assert 1_000 <= sent < 1_010  # what fits
    (event,) = await client.booked()
    assert (event["input_tokens"], event["cache_read_tokens"], event["output_tokens"]) == (14, 4, 7)
    assert event["reasoning_tokens"] == 2
    # In nano-dollars: 10 tokens at 0.30 $, 4 of the cache at 0.03 $, and 7 at 2.50 $ a million.
    assert event["cost_nanos"] == 10 * 300 + 4 * 30 + 7 * 2_500


async def test_content_that_is_refused_costs_nothing(client: Client, provider: Provider, gemini: AsyncClient) -> None:
    provider.json({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, 503)
    with pytest.raises(Exception, match="overloaded"):
        await gemini.models.generate_content(model=GEMINI, contents="x")
    assert (await client.holds(), await client.booked()) == ({"released": 1}, [])
