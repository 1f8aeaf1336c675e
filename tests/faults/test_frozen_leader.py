"""The leader is frozen (SIGSTOP): calls go on, another process leads soon, and one that wakes is no leader.

A frozen process keeps its connections, so only the server can end what it has begun there.
"""

import sys
import time
from typing import Final

import asyncpg
import pytest

from tests.api.waiting import until
from tests.faults.clients import Caller, reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PATIENCE_SECONDS, ServiceProcess, wait_until
from token_ledger.proof.verify import verify_database
from token_ledger.storage.upkeep.leadership import LEADER_LOCK

FROZEN_IN_A_FOLD: Final = (
    sys.executable,
    "-c",
    """
import os, signal, sys
from token_ledger.cli.main import main
from token_ledger.storage.upkeep import folding
from token_ledger.storage.write import rollups
from token_ledger.worker import rollups as duty
folding.SEGMENT_BITS = rollups.SEGMENT_BITS = 0

async def frozen(*_):
    os.kill(os.getpid(), signal.SIGSTOP)

duty.fold = frozen
sys.exit(main())
""",
)
"""The command, but it stops itself in its first fold, with the tenant's lock; every batch leaves something to fold."""

_LEADER = """
select split_part(a.application_name, ':', 2) from pg_locks as l join pg_stat_activity as a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objid = $1
  and l.database = (select oid from pg_database where datname = current_database())
"""


async def leader_of(database_url: str) -> str | None:
    """Return the process id of the leader."""
    connection = await asyncpg.connect(database_url)
    try:
        found: str | None = await connection.fetchval(_LEADER, LEADER_LOCK)
        return found
    finally:
        await connection.close()


async def _measured(what: str, leads: ServiceProcess, database_url: str) -> None:
    started = time.time()
    await wait_until(lambda: _leads(leads, database_url), PATIENCE_SECONDS, "another process leads")
    print(f"{what}: {time.time() - started:.1f} s")


async def _leads(service: ServiceProcess, database_url: str) -> bool:
    return await leader_of(database_url) == str(service.pid)


async def _call(caller: Caller, key: str) -> None:
    held = await caller.post("/v1/reservations", reservation(key, user="ada"), via=0)
    assert held.status_code == 201, held.text
    usage = {"idempotency_key": f"settle {key}", "usage": {"input_tokens": 10, "output_tokens": 5}}
    settled = await caller.post(f"/v1/reservations/{held.json()['reservation_id']}/settle", usage, via=0)
    assert settled.status_code == 200, settled.text


@pytest.mark.parametrize("wakes", ["before another leads", "when another leads"])
async def test_a_leader_that_is_frozen_inside_a_fold_stops_nobody_and_another_takes_over(
    wakes: str, database_url: str, start_service: StartService, caller_of: MakeCaller
) -> None:
    leader = start_service(database_url, command=FROZEN_IN_A_FOLD)
    await leader.ready()
    await wait_until(lambda: _leads(leader, database_url), PATIENCE_SECONDS, "the first process leads")
    other = start_service(database_url)
    await other.ready()
    caller = await caller_of(database_url, other)
    await _call(caller, "before")

    async def is_frozen() -> bool:
        return leader.frozen

    await until(is_frozen)
    frozen_at = time.time()
    # Batches wait five seconds for a lock, and then it is 503.
    await _call(caller, "meanwhile")
    print(f"the tenant's calls were answered {time.time() - frozen_at:.1f} s after its lock was frozen")
    if wakes == "when another leads":
        await _measured("another process leads after the call", other, database_url)
        print(f"taken over {time.time() - frozen_at:.1f} s after the freeze")
    leader.thaw()
    if wakes == "when another leads":
        await leader.logs("this process no longer leads")
        assert await _leads(other, database_url)
    await _call(caller, "afterwards")
    await Journal(database_url, caller.tenant).adds_up()
    report = await verify_database(database_url)
    assert report.clean, report.as_text()
