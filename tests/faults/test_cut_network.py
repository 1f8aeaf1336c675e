"""The network between an agent and the service is cut at every step: each call is booked exactly once."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from token_ledger_sdk import AsyncHold, AsyncTokenLedger, NotEnded, Unreachable, Usage
from token_ledger_sdk.spool.survey import survey

from tests.faults.conftest import MakeCaller
from tests.faults.cutting_proxy import CUTS, Cut, CuttingProxy, once
from tests.faults.journal import Journal
from tests.faults.processes import ServiceProcess

CALL: dict[str, Any] = {
    "user": "ada", "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 100,
    "max_output_tokens": 50,
}  # fmt: skip
SINGLE = ("/v1/reservations", "/settle", "/v1/operations", "/release")
LEASED = ("/v1/leases", "/v1/operations")


@pytest.fixture
async def between(pair: tuple[ServiceProcess, ServiceProcess]) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of a service."""
    async with CuttingProxy(pair[0].url).running() as proxy:
        yield proxy


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
@pytest.mark.parametrize(
    ("is_leased", "ending"), [*((False, each) for each in SINGLE), *((True, each) for each in LEASED)]
)
@pytest.mark.parametrize("max_retries", [3, 0], ids=["repeated at once", "repeated by the next client"])
async def test_a_cut_request_has_its_effect_once(
    max_retries: int, is_leased: bool, ending: str, cut: Cut, between: CuttingProxy,
    shared_database_url: str, caller_of: MakeCaller, tmp_path: Path,
) -> None:  # fmt: skip
    caller = await caller_of(shared_database_url)
    # Nothing is sent in the background: only the cut decides what is sent twice.
    given: dict[str, Any] = {"spool": tmp_path, "flush_seconds": 3_600.0, "max_retries": max_retries}
    ledger = AsyncTokenLedger(between.url, caller.key, **given)
    between.choose = once(ending, cut)
    if is_leased:
        await leased(ledger)
    else:
        await single(ledger)
    try:
        await ledger.flush()
    except Unreachable:
        assert max_retries == 0
    # It dies: its files stay, and its locks are gone.
    ledger._sender.outbox.spool.close()
    with contextlib.suppress(NotEnded):  # which sends nothing any more
        await ledger.aclose()
    async with AsyncTokenLedger(between.url, caller.key, **given) as heir:
        await heir.flush()
    assert between.cuts == [cut]
    assert survey(tmp_path) == []
    journal = Journal(shared_database_url, caller.tenant)
    booked = [name for (name,) in await journal.rows("response_id", "usage_events")]
    assert booked == (["c"] if is_leased else ["a", "b"])
    states = sorted(state for (state,) in await journal.rows("state", "reservations"))
    assert states == (["released"] if is_leased else ["released", "settled", "settled"])
    assert await journal.count("quarantine") == 0
    await journal.adds_up()


async def single(ledger: AsyncTokenLedger) -> None:
    """Make two calls, one that is booked at once and one that is booked later, and one that costs nothing."""
    hold = await reserved(ledger)
    with contextlib.suppress(Unreachable):  # it is in the spool
        await hold.settle(Usage(90, 20), response_id="a")
    hold = await reserved(ledger)
    await hold.settle_soon(Usage(80, 10), response_id="b")
    hold = await reserved(ledger)
    with contextlib.suppress(Unreachable):
        await hold.release("not sent")


async def reserved(ledger: AsyncTokenLedger) -> AsyncHold:
    """Reserve a call; without an answer, again with the same key, as the error says."""
    try:
        return await ledger.reserve(**CALL)
    except Unreachable as error:
        return await ledger.reserve(**{**CALL, "idempotency_key": error.idempotency_key})


async def leased(ledger: AsyncTokenLedger) -> None:
    """Make a call on a lease, and give the lease back."""
    leases = ledger.lease(calls=5, **CALL)
    try:
        call = await leases.reserve()
    except Unreachable:
        call = await leases.reserve()  # the lease that was granted is found again
    await call.settle(Usage(90, 20), response_id="c")
    with contextlib.suppress(Unreachable):
        await leases.close()
