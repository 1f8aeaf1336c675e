"""Owns the reads behind the gauges: the accounts with the largest used share of a limit, and the open holds."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import TenantId

# Starts from the budgets, so that it does not read the accounts of closed windows and of runs, which only grow in
# number. Accounts of runs are left out: their window does not end, so they would stay among the fullest forever.
FULLEST_ACCOUNTS = """
select a.tenant_id, a.budget, a.subject,
       a.settled_tokens::numeric + a.held_tokens as used_tokens, a.limit_tokens,
       a.settled_nanos::numeric + a.held_nanos as used_nanos, a.limit_nanos,
       a.settled_calls::numeric + a.held_calls as used_calls, a.limit_calls
from budgets as b
join accounts as a on a.tenant_id = b.tenant_id and a.budget_id = b.budget_id and a.closed_at is null
cross join lateral (select greatest(
    (a.settled_tokens::float8 + a.held_tokens) / nullif(a.limit_tokens, 0),
    (a.settled_nanos::float8 + a.held_nanos) / nullif(a.limit_nanos, 0),
    (a.settled_calls::float8 + a.held_calls) / nullif(a.limit_calls, 0)
) as share) as used
where b.tenant_id = any(:tenants) and b.archived_at is null and b."window" <> 'run'
  and (a.window_end is null or a.window_end > now()) and used.share >= 0.5
order by used.share desc limit :most
"""

_OPEN_HOLDS = """
select tenant_id, count(*) from reservations where tenant_id = any(:tenants) and state = 'held' group by tenant_id
"""


@dataclass(frozen=True, slots=True)
class FullAccount:
    """What an account has used (settled and held) of its limits; a unit without a limit has None."""

    tenant_id: TenantId
    budget: str
    subject: Subject
    used_tokens: int
    limit_tokens: int | None
    used_nanos: int
    limit_nanos: int | None
    used_calls: int
    limit_calls: int | None

    @property
    def limited_units(self) -> list[tuple[int, int]]:
        """Used amount and limit of every unit that has a limit."""
        units = (
            (self.used_tokens, self.limit_tokens),
            (self.used_nanos, self.limit_nanos),
            (self.used_calls, self.limit_calls),
        )
        return [(used, limit) for used, limit in units if limit is not None]


async def fullest_accounts(connection: AsyncConnection, tenants: list[TenantId], most: int) -> list[FullAccount]:
    """Return at most `most` open accounts of current budgets that have used half of a limit or more, fullest first."""
    found = await connection.execute(text(FULLEST_ACCOUNTS), {"tenants": list(tenants), "most": most})
    return [
        FullAccount(tenant, budget, Subject.from_text(subject), *figures) for tenant, budget, subject, *figures in found
    ]


async def open_holds(connection: AsyncConnection, tenants: list[TenantId]) -> dict[TenantId, int]:
    """Return the number of open holds of each tenant that has any."""
    found = await connection.execute(text(_OPEN_HOLDS), {"tenants": list(tenants)})
    return {TenantId(tenant): holds for tenant, holds in found}
