"""The example agents: how many lines guard each of them, and that it does the same with them and without."""

from __future__ import annotations

import asyncio
import difflib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from token_ledger_sdk.testing import FakeService

from .wrapped.langchain_models import tool_call_body
from .wrapped.provider import Provider, running_provider
from .wrapped.test_anthropic_streams import message_stream
from .wrapped.test_openai_calls import chat_body
from .wrapped.test_openai_streams import chat_stream

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "one_line"
AGENTS = ["openai_tools", "langgraph_agent", "anthropic_stream", "fastapi_sse"]
MOST_CHANGED_LINES = 2
QUESTION = "What is the capital of the UK?"
ASK_THE_APP = """
import asyncio, sys, httpx2
from {name} import app

async def ask():
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://app") as client:
        for _ in range(2):
            print((await client.get("/ask", params={{"question": sys.argv[1]}})).text)

asyncio.run(ask())
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        yield made


@pytest.fixture
def service() -> FakeService:
    return FakeService()


def script(provider: Provider, agent: str) -> None:
    """Let the provider answer an agent once, from the beginning."""
    provider.replies.clear()
    match agent:
        case "anthropic_stream":
            provider.stream(message_stream("Lon", "don"))
        case "fastapi_sse":
            provider.stream(chat_stream("Lon", "don"))
        case _:
            provider.json(tool_call_body())
            provider.json(chat_body("London"))


async def run(name: str, provider: Provider, service: FakeService, home: Path) -> subprocess.CompletedProcess[str]:
    """Run one form of an agent before the provider and the service."""
    program = ["-c", ASK_THE_APP.format(name=name)] if name.startswith("fastapi") else [str(EXAMPLES / f"{name}.py")]
    root = provider.url.removesuffix("/v1")
    with service.serving() as url:
        told = {"TOKEN_LEDGER_URL": url, "TOKEN_LEDGER_KEY": "tl_test_1_secret", "XDG_CACHE_HOME": str(home)}
        told |= {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk", "PYTHONPATH": str(EXAMPLES)}
        told |= {"ANTHROPIC_BASE_URL": root, "ANTHROPIC_API_KEY": "sk"}
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, *program, QUESTION],
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.mark.parametrize("agent", AGENTS)
def test_at_most_two_lines_guard_an_agent(agent: str) -> None:
    bare, guarded = ((EXAMPLES / f"{name}.py").read_text().splitlines() for name in (agent, f"{agent}_guarded"))
    changed = [line for line in difflib.ndiff(bare, guarded) if line.startswith("+ ")]
    removed = [line for line in difflib.ndiff(bare, guarded) if line.startswith("- ")]
    assert 1 <= len(changed) <= MOST_CHANGED_LINES
    assert len(removed) < len(changed)  # what is changed has a line in both
    assert any("TokenLedger" in line for line in changed)


@pytest.mark.parametrize("agent", AGENTS)
async def test_both_forms_do_the_same(agent: str, provider: Provider, service: FakeService, tmp_path: Path) -> None:
    outcomes, sent = [], []
    for name in (agent, f"{agent}_guarded"):
        script(provider, agent)
        provider.asked.clear()
        done = await run(name, provider, service, tmp_path)
        outcomes.append((done.returncode, done.stdout, done.stderr))
        sent.append([{**each.body, "stream_options": None} for each in provider.asked])
        if name == agent:
            assert service.requests == []
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == 0, outcomes[0][2]
    assert "don" in outcomes[0][1]
    assert sent[0] == sent[1]
    assert len(service.calls) == len(sent[0])
    assert {(call.user, call.agent_type, call.estimated) for call in service.calls} == {("ada", "data_agent", False)}


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_guarded_agent_is_denied(agent: str, provider: Provider, service: FakeService, tmp_path: Path) -> None:
    service.deny({"user": "ada"})
    script(provider, agent)
    done = await run(f"{agent}_guarded", provider, service, tmp_path)
    assert provider.asked == []
    if agent == "fastapi_sse":
        assert done.stdout.startswith("event: error\ndata: ")
    else:
        assert done.returncode == 1
        assert "BudgetExceeded" in done.stderr


async def test_the_app_sends_tokens_and_kept_answers(provider: Provider, service: FakeService, tmp_path: Path) -> None:
    script(provider, "fastapi_sse")
    done = await run("fastapi_sse_guarded", provider, service, tmp_path)
    first, second = ["Lon", "don"], ["London"]
    words = [f'event: token\ndata: "{word}"\n\n' for word in first] + ["event: done\ndata: {}\n\n\n"]
    words += [f'event: token\ndata: "{word}"\n\n' for word in second] + ["event: done\ndata: {}\n\n\n"]
    assert done.stdout == "".join(words)
    assert len(service.calls) == 1
