"""Report: what a run used, by agent type, tool and model, with or without its sub-runs; read from its roll-up."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.reports.sums import SUMS, SumRow, add_up

_USAGE = f"""
with lineage as (
    select run_id from runs
    where tenant_id = :tenant
      and (run_id = :run or (:sub_runs and ancestors <> '{{}}' and ancestors @> array[cast(:run as bigint)]))
)
select agent_type, tool, model, {SUMS}
from run_usage where tenant_id = :tenant and run_id in (select run_id from lineage)
group by agent_type, tool, model
"""


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What a run used; the rows of each dimension are those with the highest cost first."""

    run_id: int
    by_agent_type: tuple[SumRow, ...]
    by_tool: tuple[SumRow, ...]
    """Calls without a tool are left out."""
    by_model: tuple[SumRow, ...]
    total: Figures


async def run_usage(connection: AsyncConnection, tenant: TenantId, run_id: int, *, include_sub_runs: bool) -> RunUsage:
    """Return what a run used, in total and per value of each dimension."""
    found = await connection.execute(text(_USAGE), {"tenant": tenant, "run": run_id, "sub_runs": include_sub_runs})
    rows = [(agent_type, tool, model, Figures(*sums)) for agent_type, tool, model, *sums in found]
    return RunUsage(
        run_id,
        by_agent_type=_grouped((agent_type, sums) for agent_type, _, _, sums in rows),
        by_tool=_grouped((tool, sums) for _, tool, _, sums in rows if tool),
        by_model=_grouped((model, sums) for _, _, model, sums in rows),
        total=add_up(sums for *_, sums in rows),
    )


def _grouped(rows: Iterable[tuple[str, Figures]]) -> tuple[SumRow, ...]:
    groups: dict[str, list[Figures]] = {}
    for key, sums in rows:
        groups.setdefault(key, []).append(sums)
    totals = [SumRow(key, add_up(group)) for key, group in groups.items()]
    return tuple(sorted(totals, key=lambda row: (-row.sums.cost_nanos, row.key)))
