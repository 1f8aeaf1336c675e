"""A client is forked while calls wait to be booked: parent and child both go on, and each call is booked once."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from token_ledger_sdk import BudgetExceeded, Leases, Run, TokenLedger, Usage
from token_ledger_sdk.spool.survey import survey

from sdk.tests.forking import in_a_fork
from tests.faults.conftest import MakeCaller
from tests.faults.journal import Journal
from tests.faults.processes import ServiceProcess

USED = Usage(90, 20)
CALL: dict[str, Any] = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 100, "max_output_tokens": 50
}  # fmt: skip
KINDS = ("tracked", "held", "soon", "leased")


def spend(run: Run, leases: Leases, name: str) -> None:
    """Make a call of each kind, of which the service has at most one when this returns."""
    run.track_usage(
        USED, agent_type="data_agent", provider="openai", model="gpt-5.4", response_id=f"{name}-tracked"
    )  # fmt: skip
    with run.reserve(**CALL) as hold:
        hold.settle(USED, response_id=f"{name}-held")
    with run.reserve(**CALL) as hold:
        hold.settle_soon(USED, response_id=f"{name}-soon")
    with leases.reserve() as call:
        call.settle(USED, response_id=f"{name}-leased")


@pytest.mark.parametrize("child_closes", [True, False], ids=["the child closes", "the child dies"])
async def test_what_parent_and_child_spend_is_booked_once_each(
    child_closes: bool, pair: tuple[ServiceProcess, ServiceProcess], shared_database_url: str, caller_of: MakeCaller,
    tmp_path: Path,
) -> None:  # fmt: skip
    caller = await caller_of(shared_database_url)
    # Nothing is sent in the background, so that at each fork all of this waits, in the parent's file.
    ledger = TokenLedger(pair[0].url, caller.key, spool=tmp_path, flush_seconds=3_600.0)
    names = ["before", "parent", "child", "grandchild", "afterwards"]
    with ledger, ledger.run(user="ada") as run, run.lease(calls=10, **CALL) as leases:
        spend(run, leases, "before")
        open_hold, open_call = run.reserve(**CALL), leases.reserve()

        def grandchild() -> None:
            spend(run, leases, "grandchild")
            end()

        def child() -> None:
            spend(run, leases, "child")
            with in_a_fork(grandchild):
                pass
            end()

        def end() -> None:
            if child_closes:
                leases.close()
                ledger.close()

        with in_a_fork(child):
            spend(run, leases, "parent")
            open_hold.settle(USED, response_id="open-held")
            open_call.settle(USED, response_id="open-leased")
        spend(run, leases, "afterwards")
    with TokenLedger(pair[0].url, caller.key, spool=tmp_path) as heir:
        heir.flush()
    assert survey(tmp_path) == []
    journal = Journal(shared_database_url, caller.tenant)
    booked = sorted(name for (name,) in await journal.rows("response_id", "usage_events"))
    assert booked == sorted([*(f"{name}-{kind}" for name in names for kind in KINDS), "open-held", "open-leased"])
    assert await journal.count("quarantine") == 0
    await journal.adds_up()


def call_until_denied(run: Run, name: str) -> None:
    """Make calls in several threads until each was denied one."""

    def work(thread: int) -> None:
        number = 0
        while True:
            try:
                with run.reserve(**CALL) as hold:
                    hold.settle(USED, response_id=f"{name}-{thread}-{number}")
            except BudgetExceeded:
                return
            number += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def test_threads_of_parent_and_child_share_leases_each_and_make_all_calls_that_fit(
    pair: tuple[ServiceProcess, ServiceProcess], shared_database_url: str, caller_of: MakeCaller, tmp_path: Path
) -> None:
    limit, caller = 300, await caller_of(shared_database_url, pair[0])
    await caller.open_budget("ada", calls=limit)
    with TokenLedger(pair[0].url, caller.key, spool=tmp_path) as ledger, ledger.run(user="ada") as run:
        for number in range(6):  # so that there is a lease which the fork copies
            run.reserve(**CALL).settle(USED, response_id=f"parent-before-{number}")

        def child() -> None:
            call_until_denied(run, "child")
            ledger.close()

        with in_a_fork(child):
            call_until_denied(run, "parent")
        call_until_denied(run, "parent-afterwards")  # in the room that the other one has given back
    journal = Journal(shared_database_url, caller.tenant)
    booked = await journal.rows("response_id, reservation_id", "usage_events")
    assert (len(booked), len({name for name, _ in booked})) == (limit, limit)
    callers: defaultdict[int, set[str]] = defaultdict(set)
    for name, reservation_id in booked:
        callers[reservation_id].add(name.rpartition("-")[0])
    assert len(callers) < limit / 3, "most calls have drawn from leases"
    assert not any({each.partition("-")[0] for each in names} == {"parent", "child"} for names in callers.values())
    for process in ("parent-", "child-"):
        shared = [names for names in callers.values() if len([each for each in names if each.startswith(process)]) > 1]
        assert shared, f"threads of {process} share leases"
    assert await journal.count("reservations", "state = 'held'") == 0
    await journal.adds_up()
