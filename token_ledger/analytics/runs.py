"""Owns what runs used, from their roll-up: by agent type, tool and model, with or without sub-runs (design D12)."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.analytics.spend import COUNTS, with_money
from token_ledger.core.tenant import TenantId

USAGE = f"""
with lineage as (
    select run_id from runs
    where tenant_id = :tenant
      and (run_id = :run or (:sub_runs and ancestors <> '{{}}' and ancestors @> array[cast(:run as bigint)]))
)
select agent_type, tool, model, {", ".join(f"sum({name})::bigint as {name}" for name in (*COUNTS, "cost_nanos"))}
from run_usage where tenant_id = :tenant and run_id in (select run_id from lineage)
group by agent_type, tool, model
"""


async def run_usage(
    connection: AsyncConnection, tenant: TenantId, run_id: int, *, include_sub_runs: bool
) -> dict[str, Any]:
    """Return calls, tokens by kind and cost of a run, per value of each dimension and in total; dearest first."""
    found = await connection.execute(text(USAGE), {"tenant": tenant, "run": run_id, "sub_runs": include_sub_runs})
    rows = [dict(row) for row in found.mappings()]
    return {
        "run_id": str(run_id),
        "by_agent_type": _grouped(rows, "agent_type"),
        "by_tool": _grouped([row for row in rows if row["tool"]], "tool"),
        "by_model": _grouped(rows, "model"),
        "total": with_money(_sum(rows)),
    }


def _grouped(rows: list[dict[str, Any]], dimension: str) -> list[dict[str, Any]]:
    values = {row[dimension] for row in rows}
    sums = [(value, _sum([row for row in rows if row[dimension] == value])) for value in values]
    sums.sort(key=lambda pair: (-pair[1]["cost_nanos"], pair[0]))
    return [{"key": value, **with_money(total)} for value, total in sums]


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(row[name] for row in rows) for name in (*COUNTS, "cost_nanos")}
