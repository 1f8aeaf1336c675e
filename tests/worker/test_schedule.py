"""The table of recurring work: every duty once, and months are dropped only where a number to keep is set."""

import asyncio

from prometheus_client import CollectorRegistry

from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.tenant import TenantId
from token_ledger.observability.metrics import Metrics
from token_ledger.storage.database import Database
from token_ledger.worker.schedule import Duty, leader_duties, process_duty

KEPT_FOREVER = {
    "expire due holds": 1, "erase users": 1, "tend accounts": 5, "fold roll-ups": 5, "make partitions": 3_600,
}  # fmt: skip


async def _submit(tenant: TenantId, command: Command) -> Outcome:
    raise AssertionError("no duty is done here")


def _count(duty: str, tenant: str) -> None:
    raise AssertionError("no duty is done here")


def _intervals(duties: list[Duty]) -> dict[str, float]:
    assert len({duty.name for duty in duties}) == len(duties)
    return {duty.name: duty.seconds for duty in duties}


def test_the_leader_does_every_duty_and_drops_months_only_where_that_is_set() -> None:
    database = Database("postgresql://nowhere/ledger")
    assert _intervals(leader_duties(database, _submit, None, _count)) == KEPT_FOREVER
    assert _intervals(leader_duties(database, _submit, 3, _count)) == {**KEPT_FOREVER, "drop old months": 3_600}
    asyncio.run(database.close())


def test_every_process_refreshes_its_own_gauges() -> None:
    duty = process_duty(Database("postgresql://nowhere/ledger"), Metrics(CollectorRegistry(), version="0"))
    assert (duty.name, duty.seconds) == ("refresh gauges", 15)
