"""Chat models of LangChain before the local provider, called in both ways: at once, and awaited."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from token_ledger_sdk import AsyncTokenLedger, TokenLedger

from .conftest import KEY
from .provider import AsyncLateAnswers, LateAnswers, Provider

MODEL = "gpt-5.4"
QUESTION = "What is the capital of the UK?"
ASKED: Any = {"messages": [{"role": "user", "content": QUESTION}]}


@tool
def get_capital(of: str) -> str:
    """Return the capital of a country."""
    return f"the capital of {of}"


_connections: list[httpx2.Client | httpx2.AsyncClient] = []


async def close_connections() -> None:
    """Close the connections of all models: LangChain would keep those that it makes by itself."""
    while _connections:
        each = _connections.pop()
        if isinstance(each, httpx2.Client):
            each.close()
        else:
            await each.aclose()


def chat_model(provider: Provider, **options: Any) -> ChatOpenAI:
    """Return a model of OpenAI that tries once."""
    plain, awaited = (
        httpx2.Client(transport=LateAnswers(provider)),
        httpx2.AsyncClient(transport=AsyncLateAnswers(provider)),
    )
    _connections.extend((plain, awaited))
    given = {"model": MODEL, "base_url": provider.url, "api_key": KEY, "max_retries": 0, **options}
    return ChatOpenAI(**given, http_client=plain, http_async_client=awaited)


def anthropic_model(provider: Provider, **options: Any) -> ChatAnthropic:
    """Return a model of Anthropic that tries once."""
    address = provider.url.removesuffix("/v1")
    given = {"model": "claude-sonnet-4-6", "base_url": address, "api_key": KEY, "max_retries": 0, **options}
    return ChatAnthropic(**given)


def tool_call_body(identifier: str = "chatcmpl-0", **function: Any) -> dict[str, Any]:
    """Return an answer of the chat API that calls a tool."""
    called = {"name": "get_capital", "arguments": json.dumps({"of": "UK"}), **function}
    message = {
        "role": "assistant", "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": called}],
    }  # fmt: skip
    return {
        "id": identifier, "object": "chat.completion", "created": 1, "model": "gpt-5.4-2026-03-05",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 16, "total_tokens": 76},
    }  # fmt: skip


@dataclass
class Way:
    """One of the two ways to call, and the client of the ledger that guards it."""

    ledger: TokenLedger | AsyncTokenLedger
    is_awaited: bool

    async def invoke(self, runnable: Any, given: Any, **options: Any) -> Any:
        """Call a model or an agent."""
        if self.is_awaited:
            return await runnable.ainvoke(given, **options)
        return runnable.invoke(given, **options)

    async def stream(
        self, runnable: Any, given: Any, *, ends: Callable[[Any], bool] = lambda part: False, **options: Any
    ) -> list[Any]:
        """Return the parts of an answer, up to the one that ends it; then it is closed."""
        parts: list[Any] = []
        if self.is_awaited:
            stream = runnable.astream(given, **options)
            async for part in stream:
                parts.append(part)
                if ends(part):
                    break
            await stream.aclose()
            return parts
        plain = runnable.stream(given, **options)
        for part in plain:
            parts.append(part)
            if ends(part):
                break
        plain.close()
        return parts
