"""Holds and leases whose calls run longer than they live."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import pytest

from token_ledger_sdk import TokenLedger, Usage
from token_ledger_sdk._async import heartbeat as async_heartbeat
from token_ledger_sdk._sync import heartbeat as sync_heartbeat
from token_ledger_sdk.testing import FakeService

from .beats import Beats

OURS: Any = {
    "user": "ada", "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 10,
    "max_output_tokens": 10, "ttl_seconds": 100,
}  # fmt: skip


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    made = Beats()
    monkeypatch.setattr(async_heartbeat, "run_later_async", made.run_later)
    monkeypatch.setattr(sync_heartbeat, "run_later_sync", made.run_later)
    return made


@pytest.fixture
def ledger(ledger_service: FakeService, beats: Beats) -> TokenLedger:
    made = ledger_service.client()
    made._sender.heartbeat.clock = beats
    return made


def extended(service: FakeService) -> int:
    return sum(request.url.path.endswith("/extend") for request in service.requests)


def test_a_hold_whose_call_still_runs_is_extended_each_half_of_its_life(
    ledger: TokenLedger, ledger_service: FakeService, beats: Beats
) -> None:
    with ledger.reserve(**OURS) as hold:
        for passed, times in ((49, 0), (2, 1), (48, 1), (3, 2)):
            beats.pass_seconds(passed)
            assert extended(ledger_service) == times
        hold.settle(Usage(10, 1))
    beats.pass_seconds(1_000)
    assert (extended(ledger_service), beats.later) == (2, [])


async def test_a_hold_is_extended_also_asynchronously(ledger_service: FakeService, beats: Beats) -> None:
    async with ledger_service.async_client() as ledger:
        ledger._sender.heartbeat.clock = beats
        async with await ledger.reserve(**OURS) as hold:
            await beats.pass_seconds_async(51)
            assert extended(ledger_service) == 1
            await hold.settle(Usage(10, 1))


def test_a_call_that_hangs_does_not_hold_for_ever(
    ledger: TokenLedger, ledger_service: FakeService, beats: Beats
) -> None:
    hold = ledger.reserve(**OURS)
    for _ in range(100):
        beats.pass_seconds(51)
    assert extended(ledger_service) == 3_600 // 51
    assert beats.later == []
    hold.release()


def test_what_nobody_has_any_more_is_left_to_expire(
    ledger: TokenLedger, ledger_service: FakeService, beats: Beats
) -> None:
    hold = ledger.reserve(**OURS)
    del hold
    gc.collect()
    beats.pass_seconds(51)
    assert (extended(ledger_service), beats.later) == (0, [])


@pytest.mark.parametrize("stop", ["run", "tenant"])
def test_a_stop_is_not_outlived(stop: str, ledger: TokenLedger, ledger_service: FakeService, beats: Beats) -> None:
    call = {name: value for name, value in OURS.items() if name != "user"}
    with ledger.run(user="ada") as run:
        hold = run.reserve(**call)
        if stop == "run":
            run.cancel()
        else:
            ledger_service.stop("enough")
        for _ in range(4):
            beats.pass_seconds(51)
        assert extended(ledger_service) == 1, "its answer said that there is a stop"
        ledger_service.resume()
        hold.settle(Usage(10, 1))


def test_a_service_that_is_away_is_asked_again(ledger: TokenLedger, ledger_service: FakeService, beats: Beats) -> None:
    hold = ledger.reserve(**OURS)
    ledger_service.fail(503)
    beats.pass_seconds(51)
    beats.pass_seconds(51)
    assert extended(ledger_service) == 2
    hold.release()


def test_a_lease_is_extended_while_a_call_of_it_runs(
    ledger: TokenLedger, ledger_service: FakeService, beats: Beats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("token_ledger_sdk._sync.leases.time.monotonic", beats)
    with ledger.lease(calls=5, longest_call_seconds=20, **OURS) as leases:
        leases._clock = leases._flusher._clock = beats
        leases._flusher._tried = leases._single_until = beats.now
        call = leases.reserve()
        for passed, times in ((49, 0), (3, 1), (51, 2)):
            beats.pass_seconds(passed)
            assert extended(ledger_service) == times
        call.settle(Usage(10, 1))
        beats.pass_seconds(60)
        beats.pass_seconds(60)
        assert extended(ledger_service) == 2, "no call of it runs"


def test_a_client_that_is_closed_extends_nothing(
    ledger: TokenLedger, ledger_service: FakeService, beats: Beats
) -> None:
    hold = ledger.reserve(**OURS)
    ledger.close()
    beats.pass_seconds(51)
    assert extended(ledger_service) == 0
    del hold


def test_a_fork_extends_only_its_own(ledger: TokenLedger, beats: Beats) -> None:
    hold = ledger.reserve(**OURS)
    heartbeat = ledger._sender.heartbeat
    heartbeat._process += 1  # as in a fork
    heartbeat.add(own := ledger.reserve(**OURS))
    assert set(heartbeat._alive) == {own}
    del hold


def test_holds_may_be_made_while_others_are_extended(ledger: TokenLedger, beats: Beats) -> None:
    """The set of what is alive must not be gone through while it changes."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    made = [ledger.reserve(**OURS) for _ in range(50)]
    heartbeat = ledger._sender.heartbeat
    failures: list[BaseException] = []

    def go_through() -> None:
        try:
            for _ in range(200):
                heartbeat._call_off = None
                heartbeat._schedule()
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=go_through) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        made.append(ledger.reserve(**OURS))
    sys.setswitchinterval(switch)
    assert failures == []
