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


# Budgets first, so that the accounts of closed windows and of runs, of which there are ever more, are not gone through.
_FULLEST = """
select a.tenant_id, a.budget, a.subject, a.settled_tokens + a.held_tokens as tokens, a.limit_tokens,
       a.settled_nanos + a.held_nanos as nanos, a.limit_nanos, a.settled_calls + a.held_calls as calls, a.limit_calls
from budgets as b
join accounts as a on a.tenant_id = b.tenant_id and a.budget_id = b.budget_id and a.closed_at is null
cross join lateral (select greatest(
    (a.settled_tokens + a.held_tokens)::float8 / nullif(a.limit_tokens, 0),
    (a.settled_nanos + a.held_nanos)::float8 / nullif(a.limit_nanos, 0),
    (a.settled_calls + a.held_calls)::float8 / nullif(a.limit_calls, 0)
) as share) as used
where b.tenant_id = any(:tenants) and b.archived_at is null and b."window" <> 'run'
  and (a.window_end is null or a.window_end > now()) and used.share >= 0.5
order by used.share desc limit :most
"""


async def fullest_accounts(connection: AsyncConnection, tenants: list[TenantId], most: int) -> list[dict[str, Any]]:
    """Return the fullest open accounts of budgets in use, of those that have used half of a limit or more.

    Not those of runs: they have no window that ends, so they would be the fullest for ever.
    """
    found = await connection.execute(text(_FULLEST), {"tenants": list(tenants), "most": most})
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
