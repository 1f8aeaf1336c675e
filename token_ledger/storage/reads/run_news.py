"""Reads what is to be told of runs that are watched: their state, stage, limits, and why to stop."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.run import Run, RunState
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows

_NEWS = f"""
select {rows.RUN.select()}, ledger_sequence, config_version, stopped_reason, array(
    select each.state from unnest(runs.ancestors || runs.run_id) with ordinality as part(id, place)
    join runs as each on each.tenant_id = runs.tenant_id and each.run_id = part.id order by part.place
) as states
from runs join (
    select sequence as ledger_sequence, config_version, stopped_reason from tenant_ledgers where tenant_id = :tenant
) as ledger on true
where tenant_id = :tenant and run_id = any(:runs)
"""


@dataclass(frozen=True, slots=True)
class RunNews:
    """A run after a batch; `setup_version` rises when budgets, triggers, prices or users of the tenant change.

    `stop` says why no further call of the run should be made, None if one may be.
    """

    run: Run
    stop: str | None
    setup_version: int
    sequence: int

    def tells_more_than(self, other: "RunNews") -> bool:
        """Whether anything has changed since the other, which is not newer."""
        told = self.run, self.stop, self.setup_version
        return self.sequence >= other.sequence and told != (other.run, other.stop, other.setup_version)


async def find_run_news(connection: AsyncConnection, tenant: TenantId, runs: Collection[int]) -> dict[int, RunNews]:
    """Return the news of some runs by their ids; those that do not exist are left out."""
    found = await fetch_rows(connection, _NEWS, tenant=tenant, runs=[*runs])
    return {
        row.run_id: RunNews(
            rows.RUN.read(row), _why_stop(row.stopped_reason, row.states), row.config_version, row.ledger_sequence
        )
        for row in found
    }


def _why_stop(stopped: str | None, states: list[str]) -> str | None:
    """Return why to stop, as the answer to a settle would: `states` are those of the ancestors and of the run."""
    if stopped is not None:
        return "tenant_stopped"
    return next((f"run_{state}" for state in states if state != RunState.OPEN), None)
