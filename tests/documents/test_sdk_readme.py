"""What the SDK's README shows, as programs of their own, before a service and a provider."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sdk.tests.wrapped.provider import Provider, running_provider
from sdk.tests.wrapped.test_anthropic_streams import message_stream
from tests.api.world import fresh
from tests.documents.pages import blocks
from tests.faults.processes import PEPPER, ServiceProcess
from tests.storage.conftest import shared_url
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings

__all__ = ["shared_url"]

OPENAI_STREAM = (
    'data: {"id":"chatcmpl-2","object":"chat.completion.chunk","model":"gpt-5.4",'
    '"choices":[{"index":0,"delta":{"content":"London"},"finish_reason":"stop"}],"usage":null}\n\n'
    'data: {"id":"chatcmpl-2","object":"chat.completion.chunk","model":"gpt-5.4","choices":[],'
    '"usage":{"prompt_tokens":14,"completion_tokens":7,"total_tokens":21}}\n\n'
    "data: [DONE]"
)
SHOWN = {"OpenAI": ("gpt-5.4", OPENAI_STREAM), "Anthropic": ("claude-sonnet-4-6", message_stream("Lon", "don"))}
"""The clients whose guarded call is shown, with the model that is called and what it answers."""


RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.4", "status": "completed",
    "output": [{"id": "m", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "A storm.", "annotations": []}]}],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "usage": {"input_tokens": 14, "output_tokens": 3, "total_tokens": 17,
              "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}  # fmt: skip


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        yield made


async def printed(shared_url: str, provider: Provider, tmp_path: Path, program: str) -> str:
    """Run a program before a service and a provider; returns what it prints."""
    process = ServiceProcess(shared_url, tmp_path, {}).start()
    try:
        await process.ready(60)
        _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), shared_url, fresh("sdk-readme"), "UTC")
        told = {"TOKEN_LEDGER_URL": process.url, "TOKEN_LEDGER_KEY": key, "XDG_CACHE_HOME": str(tmp_path)}
        asked = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
        asked |= {"ANTHROPIC_BASE_URL": provider.root, "ANTHROPIC_API_KEY": "sk"}
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program],
            env={**os.environ, **told, **asked},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        process.end()
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def shown(words: str) -> str:
    """Return the program of the SDK's README that has these words in it."""
    (found,) = (block.text for block in blocks("sdk/README.md") if words in block.text)
    return found


@pytest.mark.parametrize("library", SHOWN)
async def test_a_newcomer_guards_a_call(library: str, shared_url: str, provider: Provider, tmp_path: Path) -> None:
    model, stream = SHOWN[library]
    provider.stream(stream)
    program = f"{shown(f'ledger.wrap({library}()')}\nprint(answer)\n"
    assert await printed(shared_url, provider, tmp_path, program) == "London\n"
    assert provider.asked[0].body["model"] == model


async def test_a_newcomer_tests_an_agent(tmp_path: Path) -> None:
    (tmp_path / "test_agent.py").write_text(shown("def test_ada_is_denied_and_bob_is_not"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_agent.py"]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


CALL_THE_TOOL = """
import asyncio
from mcp import Client

async def call():
    async with Client(server) as agent:
        return (await agent.call_tool("weather", {"city": "Ulm"})).structured_content

print(summary, asyncio.run(call()))
"""


async def test_a_newcomer_guards_a_function_and_a_tool(shared_url: str, provider: Provider, tmp_path: Path) -> None:
    provider.json(RESPONSE)
    program = shown("@ledger.guard(") + CALL_THE_TOOL
    assert await printed(shared_url, provider, tmp_path, program) == "A storm. {'result': 'rain in Ulm'}\n"
    assert provider.asked[0].body["max_output_tokens"] == 500


async def test_a_newcomer_caches_a_tool(shared_url: str, provider: Provider, tmp_path: Path) -> None:
    program = (
        shown("@run.tool(timeout_seconds")
        + "\nprint(rates, fees, again, new, kept.hits, kept.misses, kept.invalidated)\n"
    )
    assert await printed(shared_url, provider, tmp_path, program) == "5 % none 5 % 6 % 1 3 2\n"


@pytest.mark.parametrize("words", ["ledger.wrap(MultiProvider()", "ledger.pydantic_ai_capability("])
async def test_a_newcomer_guards_an_agent(words: str, shared_url: str, provider: Provider, tmp_path: Path) -> None:
    provider.json(RESPONSE)
    program = f"{shown(words)}\nprint(answer)\n"
    assert await printed(shared_url, provider, tmp_path, program) == "A storm.\n"
    assert provider.asked[0].body["model"] == "gpt-5.4"


CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "London"}}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21},
}  # fmt: skip


@pytest.mark.parametrize("words", ["ledger.langchain_middleware(agent_type", "ledger.langchain_handler(user"])
async def test_a_newcomer_guards_langchain(words: str, shared_url: str, provider: Provider, tmp_path: Path) -> None:
    provider.json(CHAT)
    assert await printed(shared_url, provider, tmp_path, f"{shown(words)}\nprint(answer)\n") == "London\n"
    assert provider.asked[0].body["model"] == "gpt-5.4"


ASK_THE_APP = """
import asyncio, httpx2

async def ask():
    transport = httpx2.ASGITransport(app=app)
    async with connected(app), httpx2.AsyncClient(transport=transport, base_url="http://app") as browser:
        for user in ("ada", "bob"):
            print((await browser.get("/ask", params={"question": "What?", "user": user})).text)
        print((await browser.get("/ask", params={"question": "What else?", "user": ""})).text)

asyncio.run(ask())
"""


async def test_a_newcomer_guards_a_web_application(shared_url: str, provider: Provider, tmp_path: Path) -> None:
    provider.stream(OPENAI_STREAM)
    done = await printed(shared_url, provider, tmp_path, shown("EventSourceResponse") + ASK_THE_APP)
    answered = 'event: token\ndata: "London"\n\nevent: done\ndata: {}\n\n\n'
    assert done.startswith(answered * 2 + "event: error\ndata: ")
    assert len(provider.asked) == 1
