"""The stage of a run is a tag of the calls that are made after it was marked."""

from __future__ import annotations

from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from token_ledger_sdk import AsyncTokenLedger, TokenLedger, Usage
from token_ledger_sdk.guard.stages import RunStages
from token_ledger_sdk.testing import FakeService

from ..wrapped.provider import Provider, running_provider

OURS: Any = {"agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4"}
CALL: Any = {**OURS, "input_tokens": 30, "max_output_tokens": 10}
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "London"}}],
    "usage": {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21},
}  # fmt: skip
ASKED: Any = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Which?"}], "max_completion_tokens": 9}


@pytest.fixture
def provider() -> Any:
    with running_provider() as made:
        for number in (1, 2):
            made.json({**ANSWER, "id": f"chatcmpl-{number}"})
        yield made


def _tags(service: FakeService) -> list[Any]:
    return [dict(call.tags) for call in service.calls]


def test_every_kind_of_call_has_it(token_ledger: TokenLedger, ledger_service: FakeService, provider: Provider) -> None:
    bare = OpenAI(base_url=provider.url, api_key="sk", max_retries=0)
    with token_ledger.run(user="ada") as run, bare:
        client = run.wrap(bare, agent_type="data_agent", tags={"team": "core"})
        client.chat.completions.create(**ASKED)
        run.mark("research")
        client.chat.completions.create(**ASKED)
        with run.reserve(**CALL) as hold:
            hold.settle(Usage(1, 1))
        with run.lease(calls=2, **CALL) as leases, leases.reserve() as call:
            call.settle(Usage(1, 1))
        run.track_usage(Usage(1, 1), **OURS)
        run.tool(agent_type="data_agent")(lambda: "found")()
        run.mark("writing")
        with run.reserve(**CALL) as hold:
            hold.settle(Usage(1, 1))
        run.mark(None)
        with run.reserve(**CALL) as hold:
            hold.settle(Usage(1, 1))
    research = {"stage": "research"}
    assert _tags(ledger_service) == [
        {"team": "core"}, {"team": "core", **research}, research, research, research, research, {"stage": "writing"},
        {},
    ]  # fmt: skip


async def test_it_is_so_asynchronously(
    async_token_ledger: AsyncTokenLedger, ledger_service: FakeService, provider: Provider
) -> None:
    async with (
        AsyncOpenAI(base_url=provider.url, api_key="sk", max_retries=0) as bare,
        async_token_ledger.run(user="ada") as run,
    ):
        run.mark("research")
        async with run.sub_run() as part, await part.reserve(**CALL) as hold:
            await hold.settle(Usage(1, 1))
        await run.wrap(bare, agent_type="data_agent").chat.completions.create(**ASKED)
    async with async_token_ledger.attach(run.run_id) as again:
        await again.track_usage(Usage(1, 1), **OURS)
    assert _tags(ledger_service) == [{}, {"stage": "research"}, {}]


def test_a_tag_of_the_calls_own_and_a_full_set_of_tags_stay_as_they_are() -> None:
    stages = RunStages()
    stages.mark("1", "research")
    own, full = {"stage": "mine"}, {str(number): "tag" for number in range(8)}
    assert stages.tagged("1", own) is own
    assert stages.tagged("1", full) is full
    for run_id in ("2", None):
        assert stages.tagged(run_id, {}) == {}
    assert stages.tagged("1", {"team": "core"}) == {"team": "core", "stage": "research"}


@pytest.mark.parametrize("stage", ["", "  "])
def test_a_blank_stage_is_refused(stage: str, token_ledger: TokenLedger) -> None:
    with token_ledger.run(user="ada") as run, pytest.raises(ValueError, match="blank"):
        run.mark(stage)
