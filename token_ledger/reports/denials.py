"""Reports: which accounts denied calls, and which calls soft and shadow budgets would have denied."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId

_MOST_ROWS = 1000

_CALLS = "coalesce((refusal ->> 'calls')::bigint, 1)"
"""How many of the calls that were asked for an account refused: of a lease, those that do not fit any more."""

_DENIALS = f"""
select refusal->>'budget' as budget, refusal->'subject' as subject, refusal->>'unit' as unit,
       refusal->>'enforcement' as enforcement, count(*) as denials, sum({_CALLS})::bigint as calls,
       max(created_at) as last_at
from denials cross join lateral jsonb_array_elements(refusals) as refusal
where tenant_id = :tenant group by 1, 2, 3, 4 order by denials desc, 1, 2::text limit {_MOST_ROWS}
"""

_WOULD_HAVE_DENIED = f"""
select refusal->>'budget' as budget, refusal->'subject' as subject, refusal->>'enforcement' as enforcement,
       sum({_CALLS})::bigint as calls,
       sum((d.input_tokens + d.max_output_tokens) * {_CALLS})::bigint as tokens,
       min(d.created_at) as first_at, max(d.created_at) as last_at
from denials as d cross join lateral jsonb_array_elements(d.refusals) as refusal
where d.tenant_id = :tenant and d.created_at >= :since and d.created_at < :until
  and refusal->>'enforcement' <> 'hard'
group by 1, 2, 3 order by calls desc, 1, 2::text limit {_MOST_ROWS}
"""


@dataclass(frozen=True, slots=True)
class AccountDenials:
    """How often one account refused calls because of one unit of its limit, and how many calls."""

    budget: str
    subject: Mapping[str, str]
    unit: str
    enforcement: str
    denials: int
    calls: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class WouldHaveDenied:
    """The calls that one soft or shadow account would have denied; `tokens` are input plus output limit."""

    budget: str
    subject: Mapping[str, str]
    enforcement: str
    calls: int
    tokens: int
    first_at: datetime
    last_at: datetime


async def denials_by_account(connection: AsyncConnection, tenant: TenantId) -> list[AccountDenials]:
    """Return how often each account refused, most often first, soft and shadow accounts included."""
    return [AccountDenials(*row) for row in await connection.execute(text(_DENIALS), {"tenant": tenant})]


async def would_have_denied(
    connection: AsyncConnection, tenant: TenantId, since: datetime, until: datetime
) -> list[WouldHaveDenied]:
    """Return what soft and shadow accounts would have denied if they were hard, most calls first.

    A call that a hard account denied as well is counted too.
    """
    found = await connection.execute(text(_WOULD_HAVE_DENIED), {"tenant": tenant, "since": since, "until": until})
    return [WouldHaveDenied(*row) for row in found]
