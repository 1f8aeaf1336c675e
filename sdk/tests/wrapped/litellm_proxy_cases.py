"""litellm's proxy, whose configuration names a module that guards it: users, streams and denials over HTTP.

It runs in the environment of `litellm_cases`, with what the proxy needs besides.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for its prices

import httpx
import litellm
import pytest

from token_ledger_sdk import AsyncTokenLedger

from .conftest import KEY, GrantingLedger
from .provider import Provider
from .test_openai_calls import MESSAGES, chat_body
from .test_openai_streams import chat_stream

pytestmark = pytest.mark.filterwarnings("ignore")  # it warns of itself

CALLBACKS = """
import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth

from house_ledger import ledger

litellm.acompletion = ledger.wrap(litellm.acompletion, agent_type="gateway")
handler = CustomLogger()


async def check_key(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, user_id=api_key.removeprefix("sk-"))
"""
CONFIGURATION = """
model_list:
  - model_name: house
    litellm_params: {{model: openai/gpt-5.4, api_base: "{url}", api_key: "{key}", max_retries: 0}}
litellm_settings:
  callbacks: house_callbacks.handler
  num_retries: 0
general_settings:
  custom_auth: house_callbacks.check_key
"""


@pytest.fixture
async def proxy(
    provider: Provider, async_ledger: AsyncTokenLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The proxy, as its configuration makes it, and a client of it."""
    from litellm.proxy import proxy_server  # here, where what it warns of is ignored

    monkeypatch.setattr(litellm, "acompletion", litellm.acompletion)  # to have it back afterwards
    made = ModuleType("house_ledger")
    made.ledger = async_ledger  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "house_ledger", made)
    monkeypatch.delitem(sys.modules, "house_callbacks", raising=False)
    (tmp_path / "house_callbacks.py").write_text(CALLBACKS)
    configuration = tmp_path / "config.yaml"
    configuration.write_text(CONFIGURATION.format(url=provider.url, key=KEY))
    await proxy_server.initialize(config=str(configuration))
    transport = httpx.ASGITransport(app=proxy_server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://proxy.test", timeout=120) as client:
        yield client


async def ask(proxy: httpx.AsyncClient, user: str = "ada", **more: Any) -> httpx.Response:
    return await proxy.post(
        "/v1/chat/completions",
        json={"model": "house", "messages": MESSAGES, "max_tokens": 300, **more},
        headers={"Authorization": f"Bearer sk-{user}"},
    )


async def test_a_call_is_held_and_booked_for_the_user_whose_key_the_proxy_has_checked(
    proxy: httpx.AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json(chat_body())
    answers = [await ask(proxy, user) for user in ("ada", "bob")]
    assert [each.status_code for each in answers] == [200, 200]
    assert answers[0].json()["choices"][0]["message"]["content"] == "Paris"
    assert [each["user"] for each in granting.sent("/reservations")] == ["ada", "bob"]
    assert (granting.reserved["agent_type"], granting.reserved["model"]) == ("gateway", "gpt-5.4")
    assert granting.reserved["max_output_tokens"] == 300
    assert [each["usage"]["output_tokens"] for each in granting.sent("/settle")] == [7, 7]


async def test_a_stream_is_booked(proxy: httpx.AsyncClient, provider: Provider, granting: GrantingLedger) -> None:
    provider.stream(chat_stream("Lon", "don"))
    answer = await ask(proxy, stream=True)
    assert "don" in answer.text
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert granting.settled["usage"]["output_tokens"] == 9
    assert "estimated" not in granting.settled


async def test_a_denial_is_answered_with_402_and_nothing_is_sent(
    proxy: httpx.AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    granting.most_output = 64
    answer = await ask(proxy)
    assert answer.status_code == 402, answer.text
    assert (len(granting.sent("/reservations")), provider.asked) == (1, [])


async def test_what_the_provider_refuses_costs_nothing(
    proxy: httpx.AsyncClient, provider: Provider, granting: GrantingLedger
) -> None:
    provider.json({"error": {"message": "slow down"}}, 429)
    assert (await ask(proxy)).status_code == 429
    assert granting.released["reason"] == "the provider answered 429"
