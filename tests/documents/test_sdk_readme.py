"""The guarded call that the SDK's README shows, as a program of its own, before a service and a provider."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from sdk.tests.wrapped.provider import Provider, running_provider
from tests.documents.pages import blocks
from tests.faults.processes import PEPPER, ServiceProcess
from tests.storage.conftest import shared_url
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings

__all__ = ["shared_url"]

STREAM = (
    'data: {"id":"chatcmpl-2","object":"chat.completion.chunk","model":"gpt-5.4",'
    '"choices":[{"index":0,"delta":{"content":"London"},"finish_reason":"stop"}],"usage":null}\n\n'
    'data: {"id":"chatcmpl-2","object":"chat.completion.chunk","model":"gpt-5.4","choices":[],'
    '"usage":{"prompt_tokens":14,"completion_tokens":7,"total_tokens":21}}\n\n'
    "data: [DONE]"
)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        made.stream(STREAM)
        yield made


async def test_a_newcomer_guards_a_call(shared_url: str, provider: Provider, tmp_path: Path) -> None:
    (shown,) = (block.text for block in blocks("sdk/README.md") if "ledger.wrap(OpenAI()" in block.text)
    process = ServiceProcess(shared_url, tmp_path, {}).start()
    try:
        await process.ready(60)
        _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), shared_url, "sdk-readme", "UTC")
        told = {"TOKEN_LEDGER_URL": process.url, "TOKEN_LEDGER_KEY": key, "XDG_CACHE_HOME": str(tmp_path)}
        asked = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk"}
        program = f"{shown}\nprint(answer)\n"
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program],
            env={**os.environ, **told, **asked},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("London\n", "")
        assert provider.asked[0].body["model"] == "gpt-5.4"
    finally:
        process.end()
