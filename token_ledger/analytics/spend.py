"""Owns the reports: spend by dimension from the roll-ups, denials by account, triggers by technique (design D12)."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.money import format_money
from token_ledger.core.tenant import TenantId

# Which roll-up answers which question; both add up to the same total.
_ROLLUP_OF = {
    "user": ("daily_usage", "day", "user_id"),
    "agent_type": ("hourly_usage", "hour", "agent_type"),
    "model": ("hourly_usage", "hour", "model"),
    "cost_center": ("hourly_usage", "hour", "cost_center"),
    "request_type": ("daily_usage", "day", "request_type"),
}
COUNTS = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
)  # fmt: skip


async def spend_by(
    connection: AsyncConnection, tenant: TenantId, group: str, since: datetime, until: datetime
) -> dict[str, Any]:
    """Return calls, tokens by kind and cost per value of a dimension, dearest first, with their total.

    `since` is inclusive, `until` exclusive; both are compared with the start of the roll-up's hour or day.
    """
    table, start, column = _ROLLUP_OF[group]
    sums = ", ".join(f"sum({name})::bigint as {name}" for name in (*COUNTS, "cost_nanos"))
    found = await connection.execute(
        text(
            f"select {column} as key, {sums} from {table}"
            f" where tenant_id = :tenant and {start} >= :since and {start} < :until"
            f" group by {column} order by sum(cost_nanos) desc, {column}"
        ),
        {"tenant": tenant, "since": since, "until": until},
    )
    rows = [dict(row) for row in found.mappings()]
    total = {name: sum(row[name] for row in rows) for name in (*COUNTS, "cost_nanos")}
    return {
        "group_by": group,
        "from": since.isoformat(),
        "to": until.isoformat(),
        "rows": [with_money(row) for row in rows],
        "total": with_money(total),
    }


async def denials_by_account(connection: AsyncConnection, tenant: TenantId) -> list[dict[str, Any]]:
    """Return how often each account refused, in which unit, most often first; not enforced ones included."""
    found = await connection.execute(
        text(
            "select refusal->>'budget' as budget, (refusal->>'subject')::jsonb as subject, refusal->>'unit' as unit,"
            "       refusal->>'enforcement' as enforcement, count(*) as denials, max(created_at) as last_at"
            " from denials cross join lateral jsonb_array_elements(refusals) as refusal"
            " where tenant_id = :tenant group by 1, 2, 3, 4 order by denials desc, 1, 2::text limit 1000"
        ),
        {"tenant": tenant},
    )
    return [{**row, "last_at": row["last_at"].isoformat()} for row in found.mappings()]


WOULD_HAVE_DENIED = """
select refusal->>'budget' as budget, (refusal->>'subject')::jsonb as subject, refusal->>'enforcement' as enforcement,
       count(distinct d.denial_id) as calls, sum(d.input_tokens + d.max_output_tokens)::bigint as tokens,
       min(d.created_at) as first_at, max(d.created_at) as last_at
from denials as d cross join lateral jsonb_array_elements(d.refusals) as refusal
where d.tenant_id = :tenant and d.created_at >= :since and d.created_at < :until
  and refusal->>'enforcement' <> 'hard'
group by 1, 2, 3 order by calls desc, 1, 2::text limit 1000
"""


async def would_have_denied(
    connection: AsyncConnection, tenant: TenantId, since: datetime, until: datetime
) -> list[dict[str, Any]]:
    """Return which calls shadow and soft budgets would have denied if they were hard, per account, most often first.

    `tokens` are those that the calls asked for: input and output limit. Calls that a hard budget denied as well count.
    """
    found = await connection.execute(text(WOULD_HAVE_DENIED), {"tenant": tenant, "since": since, "until": until})
    return [
        {**row, "first_at": row["first_at"].isoformat(), "last_at": row["last_at"].isoformat()}
        for row in found.mappings()
    ]


async def firings_by_trigger(connection: AsyncConnection, tenant: TenantId) -> list[dict[str, Any]]:
    """Return how often each trigger fired and whether its technique was applied."""
    found = await connection.execute(
        text(
            "select trigger, technique, applied, count(*) as firings from trigger_firings"
            " where tenant_id = :tenant group by 1, 2, 3 order by 1, 2, 3"
        ),
        {"tenant": tenant},
    )
    return [dict(row) for row in found.mappings()]


async def events_after(
    connection: AsyncConnection, tenant: TenantId, event_id: int, limit: int,
    *, user: str | None = None, run_id: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the first usage events after one of them, in order; ids rise in the order of commits.

    With a user or a run only theirs; the calls of sub-runs are their run's.
    """
    found = await connection.execute(
        text(
            "select event_id, user_id, agent_type, model, input_tokens + output_tokens as tokens, cost_nanos, run_id"
            " from usage_events where tenant_id = :tenant and event_id > :after"
            " and (cast(:user as text) is null or user_id = :user)"
            " and (cast(:run as bigint) is null or run_id in (select r.run_id from runs as r"
            " where r.tenant_id = :tenant and (r.run_id = :run or :run = any(r.ancestors))))"
            " order by event_id limit :limit"
        ),
        {"tenant": tenant, "after": event_id, "limit": limit, "user": user, "run": run_id},
    )
    return [dict(row) for row in found.mappings()]


async def fullest_accounts(connection: AsyncConnection, tenants: list[TenantId]) -> list[dict[str, Any]]:
    """Return the open accounts that have used half of a limit or more, for the gauges."""
    found = await connection.execute(
        text(
            "select tenant_id, budget, subject, settled_tokens + held_tokens as tokens, limit_tokens,"
            "       settled_nanos + held_nanos as nanos, limit_nanos, settled_calls + held_calls as calls, limit_calls"
            " from accounts where tenant_id = any(:tenants) and (window_end is null or window_end > now())"
            "  and (2 * (settled_tokens + held_tokens) >= limit_tokens"
            "       or 2 * (settled_nanos + held_nanos) >= limit_nanos"
            "       or 2 * (settled_calls + held_calls) >= limit_calls)"
            " limit 5000"
        ),
        {"tenants": list(tenants)},
    )
    return [dict(row) for row in found.mappings()]


async def open_holds(connection: AsyncConnection, tenants: list[TenantId]) -> dict[int, int]:
    """Return how many holds are open per tenant."""
    found = await connection.execute(
        text(
            "select tenant_id, count(*) as holds from reservations"
            " where tenant_id = any(:tenants) and state = 'held' group by tenant_id"
        ),
        {"tenants": list(tenants)},
    )
    return {row.tenant_id: row.holds for row in found}


def with_money(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of sums with its cost as a decimal string."""
    row = dict(row)
    row["cost"] = format_money(row.pop("cost_nanos"))
    return row
