"""Calls of a run that had no hold, booked afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from token_ledger_sdk import AsyncTokenLedger, TokenLedger, Usage, UsageMissing
from token_ledger_sdk.testing import FakeService

OURS: Any = {"agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4"}
RESPONSE = {"id": "resp_1", "model": "gpt-5.4", "usage": {"prompt_tokens": 30, "completion_tokens": 5}}


def test_it_is_booked_on_the_run_although_there_is_no_room(
    token_ledger: TokenLedger, ledger_service: FakeService
) -> None:
    ledger_service.budget("cap", tokens=10)
    with token_ledger.run(user="ada") as run:
        run.track_usage(RESPONSE, **OURS)
        run.track_usage(Usage(1, 1), outcome="error", **OURS)
    first, second = ledger_service.calls
    assert (first.usage.input_tokens, first.usage.output_tokens, first.run_id) == (30, 5, run.run_id)
    assert second.usage == Usage(1, 1)


async def test_it_is_booked_also_asynchronously(
    async_token_ledger: AsyncTokenLedger, ledger_service: FakeService
) -> None:
    async with async_token_ledger.run(user="ada") as run:
        await run.track_usage(RESPONSE, **OURS)
    assert [each.usage.input_tokens for each in ledger_service.calls] == [30]


def test_it_waits_for_a_service_that_is_away(ledger_service: FakeService) -> None:
    with ledger_service.client(flush_seconds=100_000) as ledger:
        with ledger.run(user="ada") as run:
            ledger_service.fail(503, 1)
            run.track_usage(RESPONSE, **OURS)
            assert ledger_service.calls == []
            ledger_service._failures.clear()
        ledger.flush()
    assert len(ledger_service.calls) == 1


def test_a_response_without_counts_is_told(token_ledger: TokenLedger, ledger_service: FakeService) -> None:
    with token_ledger.run(user="ada") as run, pytest.raises(UsageMissing):
        run.track_usage({"id": "resp_1"}, **OURS)
    assert ledger_service.calls == []


@pytest.mark.parametrize("missing", ["provider", "model"])
def test_what_was_called_must_be_said(missing: str, token_ledger: TokenLedger) -> None:
    said = {name: value for name, value in OURS.items() if name != missing}
    with token_ledger.run(user="ada") as run, pytest.raises(TypeError, match="provider=… and model=…"):
        run.track_usage(RESPONSE, **said)
