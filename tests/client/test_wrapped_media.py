"""Images and audio of a wrapped client against a running service: at published prices, within a budget of money."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI
from token_ledger_sdk import BudgetExceeded, UnknownModel

from sdk.tests.wrapped.provider import Provider, Reply
from sdk.tests.wrapped.recordings import recording
from tests.client.conftest import Client

IMAGE = {
    "created": 1, "data": [{"b64_json": "eA=="}],
    "usage": {
        "input_tokens": 10, "output_tokens": 1_056, "total_tokens": 1_066,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 1_056},
    },
}  # fmt: skip


@pytest.fixture
async def guarded(client: Client, provider: Provider) -> AsyncIterator[AsyncOpenAI]:
    connections = httpx2.AsyncClient(verify=False)
    async with AsyncOpenAI(base_url=provider.url, api_key="sk", max_retries=0, http_client=connections) as made:
        yield client.ledger.wrap(made, user="ada", agent_type="data_agent")


async def draw(guarded: AsyncOpenAI, **said: Any) -> Any:
    options: Any = {"model": "gpt-image-1.5", "prompt": "a cat", "quality": "medium", "size": "1024x1024", **said}
    return await guarded.images.generate(**options)


async def test_each_is_booked_at_its_price(client: Client, provider: Provider, guarded: AsyncOpenAI) -> None:
    provider.json(IMAGE)
    provider.replies.append(Reply([b"ID3"], content_type="audio/mpeg"))
    provider.json({"text": "Hello", "usage": {"type": "duration", "seconds": 100}})
    await draw(guarded)
    await guarded.audio.speech.create(model="tts-1", input="a" * 1_000, voice="alloy")
    await guarded.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording(100)))
    events = await client.booked()
    # 10 tokens at 5 and 1,056 at 32 dollars a million; 1,000 characters at 15; 100 seconds at 0.36 an hour
    assert [event["cost_nanos"] for event in events] == [50_000 + 33_792_000, 15_000_000, 10_000_000]
    assert [(event["unpriced"], event["estimated"]) for event in events] == [(False, False)] * 3
    assert await client.holds() == {"settled": 3}
    await client.is_sound()


async def test_an_image_is_held_at_the_rate_of_images(client: Client, provider: Provider, guarded: AsyncOpenAI) -> None:
    await client.budget(cost="0.034")
    provider.json(IMAGE)
    with pytest.raises(BudgetExceeded):  # 0.034144 dollars
        await draw(guarded)
    assert provider.asked == []
    await draw(guarded, quality="low")


async def test_an_image_of_a_model_without_a_price_is_refused(
    client: Client, provider: Provider, guarded: AsyncOpenAI
) -> None:
    with pytest.raises(UnknownModel):
        await draw(guarded, model="house-painter")
    assert provider.asked == []
