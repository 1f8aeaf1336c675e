"""Wrapped clients correct their counts by what they were charged; guarded functions say their own."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI, OpenAI

from token_ledger_sdk import AsyncTokenLedger, TokenLedger
from token_ledger_sdk.tokens import count_tokens

from .conftest import GrantingLedger
from .provider import Provider
from .test_openai_calls import chat_body

MESSAGES: list[Any] = [{"role": "user", "content": "It was a dark and stormy night; the rain fell. " * 500}]


def charging(provider: Provider, tokens: int) -> None:
    provider.replies.clear()
    usage = {"prompt_tokens": tokens, "completion_tokens": 7, "total_tokens": tokens + 7}
    provider.json({**chat_body(), "model": "mistral-large", "usage": usage})


def test_the_next_call_is_held_as_the_one_before_was_charged(
    client: OpenAI, provider: Provider, granting: GrantingLedger
) -> None:
    plain, _ = count_tokens(MESSAGES, "mistral-large")
    charging(provider, round(1.4 * plain))
    for _ in range(3):
        client.chat.completions.create(model="mistral-large", messages=MESSAGES)
    held = [body["input_tokens"] for body in granting.sent("/reservations")]
    assert held[0] == plain
    assert abs(held[2] - 1.4 * plain) < 0.03 * plain
    assert abs(count_tokens(MESSAGES, "mistral-large")[0] - held[2]) < 0.03 * plain


async def test_the_asynchronous_client_learns_alike(
    async_ledger: AsyncTokenLedger, provider: Provider, granting: GrantingLedger
) -> None:
    plain, _ = count_tokens(MESSAGES, "mistral-large")
    charging(provider, round(0.7 * plain))
    async with AsyncOpenAI(base_url=provider.url, api_key="sk") as bare:
        client = async_ledger.wrap(bare, user="ada", agent_type="a")
        for _ in range(2):
            await client.chat.completions.create(model="mistral-large", messages=MESSAGES)
    first, second = (body["input_tokens"] for body in granting.sent("/reservations"))
    assert (first, abs(second - 0.7 * plain) < 0.05 * plain) == (plain, True)


def test_a_model_of_openai_is_counted_as_ever(client: OpenAI, provider: Provider, granting: GrantingLedger) -> None:
    charging(provider, 20)
    for _ in range(2):
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    first, second = (body["input_tokens"] for body in granting.sent("/reservations"))
    assert first == second


def test_the_figures_of_a_guarded_function_are_the_callers(ledger: TokenLedger, granting: GrantingLedger) -> None:
    usage = {"prompt_tokens": 9_000, "completion_tokens": 7}
    ask = ledger.guard(
        provider="mistral", model="mistral-large", input_tokens=6_000, max_output_tokens=50, user="ada", agent_type="a"
    )(lambda: {"id": "r", "model": "mistral-large", "usage": usage})
    for _ in range(2):
        ask()
    assert [body["input_tokens"] for body in granting.sent("/reservations")] == [6_000, 6_000]
