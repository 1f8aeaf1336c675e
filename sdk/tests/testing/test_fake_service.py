"""The fake service in tests of code that uses the SDK: budgets that deny, a clock, what was booked, both clients."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

from token_ledger_sdk import (
    AsyncTokenLedger,
    BudgetExceeded,
    NotAllocated,
    ReservationNotOpen,
    RunCancelled,
    TenantStopped,
    TokenLedger,
    ToolCall,
    Unavailable,
    UnknownModel,
    Unreachable,
    Usage,
)
from token_ledger_sdk.testing import FakeService, ModelPrice
from token_ledger_sdk.testing.service import KEY

from ..wrapped.provider import Provider, running_provider
from ..wrapped.test_openai_calls import MESSAGES, chat_body

CALL: Any = {
    "agent_type": "data", "provider": "openai", "model": "gpt-5.4", "input_tokens": 1_000, "max_output_tokens": 500,
}  # fmt: skip


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as made:
        made.json(chat_body())
        yield made


def test_what_a_call_used_is_recorded(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    with token_ledger.run(user="ada", external_id="thread") as run, run.reserve(**CALL, tags={"team": "core"}) as hold:
        hold.settle(Usage(900, 100), measured={"latency_ms": 12})
    (call,) = ledger_service.calls
    assert (call.user, call.agent_type, call.usage, call.cost) == ("ada", "data", Usage(900, 100), Decimal("0.0013"))
    assert (call.tags, call.measured, call.run_id) == ({"team": "core"}, {"latency_ms": 12}, run.run_id)
    assert [(each.state, each.external_id) for each in ledger_service.runs] == [("closed", "thread")]
    assert [each.state for each in ledger_service.holds] == ["settled"]


def test_a_budget_denies_what_has_no_room(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    ledger_service.budget("each user", tokens=2_000, select={"user": "*"})
    token_ledger.reserve(user="ada", **CALL)
    token_ledger.reserve(user="bob", **CALL)
    with pytest.raises(BudgetExceeded) as denied:
        token_ledger.reserve(user="ada", **{**CALL, "input_tokens": 300})
    assert denied.value.fits is not None
    assert denied.value.fits.max_output_tokens == 200
    assert [(each.budget, each.subject) for each in denied.value.refusals] == [("each user", {"user": "ada"})]
    assert [each.code for each in ledger_service.denials] == ["budget_exceeded"]


@pytest.mark.parametrize("used", [False, True])
def test_a_budget_denies_on_demand(used: bool, ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    budget = ledger_service.budget("cap", cost="5", select={"agent_type": ["data", "plan"]})
    if used:
        token_ledger.reserve(user="ada", **CALL)
    budget.deny()
    with pytest.raises(BudgetExceeded):
        token_ledger.reserve(user="ada", **CALL)
    token_ledger.reserve(user="ada", **{**CALL, "agent_type": "other"})
    budget.allow()
    token_ledger.reserve(user="ada", **CALL)


def test_every_call_is_denied_on_demand(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    denying = ledger_service.deny()
    with pytest.raises(BudgetExceeded) as denied:
        token_ledger.reserve(user="ada", **{**CALL, "input_tokens": 0, "max_output_tokens": 0})
    assert denied.value.fits is None
    denying.allow()
    token_ledger.reserve(user="ada", **CALL)


def test_holds_expire_and_windows_end_by_the_clock(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    ledger_service.budget("a day", tokens=2_000, window="day")
    hold = token_ledger.reserve(user="ada", **CALL, ttl_seconds=60)
    ledger_service.clock.advance(61)
    with pytest.raises(ReservationNotOpen):
        hold.release()
    assert hold.settle(Usage(900, 1_000)).late
    with pytest.raises(BudgetExceeded):
        token_ledger.reserve(user="ada", **CALL)
    ledger_service.clock.advance(24 * 3_600)
    token_ledger.reserve(user="ada", **CALL)


def test_a_tenant_is_stopped_and_goes_on(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    ledger_service.stop("a leak")
    with pytest.raises(TenantStopped, match="a leak"):
        token_ledger.reserve(user="ada", **CALL)
    ledger_service.resume()
    token_ledger.reserve(user="ada", **CALL)


FAILURES = [(503, Unavailable), (httpx2.ConnectError("away"), Unreachable)]


@pytest.mark.parametrize(("failure", "error"), FAILURES)
def test_an_outage_is_played(
    failure: Any, error: type[Exception], ledger_service: FakeService, token_ledger: TokenLedger
) -> None:
    ledger_service.fail(failure, times=2)
    for _ in range(2):
        with pytest.raises(error):
            token_ledger.reserve(user="ada", **CALL)
    token_ledger.reserve(user="ada", **CALL)


def test_models_have_prices_or_are_unknown() -> None:
    service = FakeService(only_priced=True)
    service.price("openai", "gpt-5.4", ModelPrice(input=Decimal("2.5"), output=Decimal(15)))
    with service.client() as ledger:
        with ledger.reserve(user="ada", **CALL) as hold:
            assert hold.settle(Usage(1_000, 100)).cost == Decimal("0.004")
        with pytest.raises(UnknownModel):
            ledger.reserve(user="ada", **{**CALL, "model": "gpt-99"})


def test_leases_runs_and_reports_work(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    with token_ledger.run(user="ada", preset="job", strict=True) as run:
        assert run.step("plan").iteration == 1
        assert [run.can_afford(**{**CALL, "max_output_tokens": most}) for most in (500, 50_000)] == [True, False]
        with pytest.raises(NotAllocated):
            run.reserve(**{**CALL, "agent_type": "other"})
        with run.lease(**CALL, calls=5) as leases:
            for _ in range(3):
                with leases.reserve() as call:
                    call.settle(Usage(900, 100))
    tool = ToolCall(source="t", user="ada", agent_type="data", tool="search", cost=Decimal("0.005"))
    (result,) = token_ledger.record([tool])
    assert result.status == "booked"
    assert [each.kind for each in ledger_service.calls] == ["llm_call"] * 3 + ["tool_call"]
    assert {each.state for each in ledger_service.holds} == {"released"}


async def test_the_asynchronous_client_is_answered_alike(
    ledger_service: FakeService, async_token_ledger: AsyncTokenLedger
) -> None:
    ledger_service.budget("cap", calls=5)

    async def call() -> bool:
        try:
            async with await async_token_ledger.reserve(user="ada", **CALL) as hold:
                await hold.settle(Usage(1, 1))
        except BudgetExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(call() for _ in range(20)))) == 5
    assert len(ledger_service.calls) == 5


def test_a_wrapped_client_gets_what_fits(
    ledger_service: FakeService, token_ledger: TokenLedger, provider: Provider
) -> None:
    ledger_service.budget("cap", tokens=1_000)
    client = token_ledger.wrap(OpenAI(base_url=provider.url, api_key="sk"), user="ada", agent_type="data")
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    (call,) = ledger_service.calls
    assert (call.usage.output_tokens, call.estimated, call.response_id) == (7, False, "chatcmpl-1")
    assert provider.asked[0].body["max_completion_tokens"] < 1_000


async def test_an_asynchronous_wrapped_client_is_denied(
    ledger_service: FakeService, async_token_ledger: AsyncTokenLedger, provider: Provider
) -> None:
    ledger_service.deny({"user": "ada"})
    async with AsyncOpenAI(base_url=provider.url, api_key="sk") as bare:
        client = async_token_ledger.wrap(bare, agent_type="data")
        for user, is_denied in (("ada", True), ("bob", False)):
            with async_token_ledger.context(user=user):
                try:
                    await client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
                except BudgetExceeded:
                    assert is_denied
                else:
                    assert not is_denied
    assert [each.user for each in ledger_service.calls] == ["bob"]


def test_threads_share_a_service(ledger_service: FakeService, token_ledger: TokenLedger) -> None:
    ledger_service.budget("cap", calls=50)
    denied: list[int] = []

    def work() -> None:
        for _ in range(20):
            try:
                token_ledger.reserve(user="ada", **CALL)
            except BudgetExceeded:
                denied.append(1)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(denied) == 50


def test_another_process_finds_the_service_at_its_address(ledger_service: FakeService, tmp_path: Path) -> None:
    program = (
        "from token_ledger_sdk import TokenLedger, Usage\n"
        "with TokenLedger() as ledger, ledger.reserve(user='ada', agent_type='data', provider='openai',"
        " model='gpt-5.4', input_tokens=10, max_output_tokens=5) as hold:\n"
        "    hold.settle(Usage(10, 3))\n"
    )
    with ledger_service.serving() as url:
        told = {"TOKEN_LEDGER_URL": url, "TOKEN_LEDGER_KEY": KEY, "XDG_CACHE_HOME": str(tmp_path)}
        subprocess.run([sys.executable, "-c", program], env=told, check=True)
    assert [each.usage for each in ledger_service.calls] == [Usage(10, 3)]


def test_the_plug_in_of_pytest_loads_neither_client(tmp_path: Path) -> None:
    """It is loaded with every run of pytest, of whatever tests."""
    code = (
        "import sys; import token_ledger_sdk.pytest_plugin;"
        "print([n for n in ('httpx2', 'token_ledger_sdk.testing', 'token_ledger_sdk._sync') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_a_run_that_listens_hears_that_it_was_cancelled() -> None:
    with pytest.raises(RunCancelled):
        await _listens_until_cancelled(FakeService())


async def _listens_until_cancelled(service: FakeService) -> None:
    async with service.async_client() as ledger, ledger.run(user="ada", live=True) as run:
        with service.client() as another:
            another.attach(run.run_id).cancel()
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
