"""Erases users slice by slice, and tells who is there to be erased.

A batch begins an erasure (see `setup_writes`); the function of the database that goes on with it notes how far it came
in the transaction of each slice, so wherever that stops, the next slice goes on from there.
"""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.tenant import TenantId

# From what one probe finds to what has to be read as a whole. The days of a roll-up are found one by one. Every event
# is in a roll-up, so events are not looked at.
_KNOWN = """
with recursive used (day) as (
    (select day from daily_usage where tenant_id = :tenant order by day limit 1)
    union all
    select (select d.day from daily_usage as d where d.tenant_id = :tenant and d.day > used.day order by d.day limit 1)
    from used where used.day is not null
), kept (day) as (
    (select day from daily_checkpoints where tenant_id = :tenant order by day limit 1)
    union all
    select (select d.day from daily_checkpoints as d where d.tenant_id = :tenant and d.day > kept.day
            order by d.day limit 1)
    from kept where kept.day is not null
)
select exists (select from users where tenant_id = :tenant and user_id = :user)
    or exists (select from runs where tenant_id = :tenant and user_id = :user)
    or exists (select from accounts where tenant_id = :tenant and position('"user"\\:' in subject) > 0
               and (subject\\:\\:jsonb ->> 'user') = :user)
    or exists (select from budgets where tenant_id = :tenant and selector ->> 'user' = :user)
    or exists (select from used join daily_usage as d on d.day = used.day
               where d.tenant_id = :tenant and d.user_id = :user)
    or exists (select from kept join daily_checkpoints as d on d.day = kept.day
               where d.tenant_id = :tenant and d.user_id = :user)
    or exists (select from reservations where tenant_id = :tenant and user_id = :user)
    or exists (select from denials where tenant_id = :tenant and user_id = :user)
    or exists (select from increases where tenant_id = :tenant and (asked_by in (:user, :person)
               or decided_by = :person))
    or exists (select from grants where tenant_id = :tenant and actor = :person)
    or exists (select from limit_entries where tenant_id = :tenant and actor = :person)
    or exists (select from audit_log where tenant_id = :tenant and (actor = :person
               or before is distinct from token_ledger_renamed(before, :user, '')
               or after is distinct from token_ledger_renamed(after, :user, '')))
    or exists (select from quarantine where tenant_id = :tenant
               and body\\:\\:text ~ (select array_to_string(token_ledger_spelled(:user), ''))
               and body is distinct from token_ledger_cleaned(body, :user, ''))
"""


async def is_known(connection: AsyncConnection, tenant: TenantId, user: str) -> bool:
    """Tell whether any row of a tenant has a user's name. It may read whole journals: no batch should wait for it."""
    found = await connection.execute(text(_KNOWN), {"tenant": tenant, "user": user, "person": f"person:{user}"})
    return bool(found.scalar_one())


async def users_being_erased(connection: AsyncConnection, tenants: Iterable[TenantId]) -> list[tuple[TenantId, str]]:
    """Return whose erasure is under way, of the tenants that the transaction sees."""
    found = await connection.execute(
        text("select tenant_id, user_id from erasures where tenant_id = any(:tenants)"), {"tenants": list(tenants)}
    )
    return [(TenantId(row.tenant_id), row.user_id) for row in found]


async def erase_next(connection: AsyncConnection, tenant: TenantId, most_rows: int, heard_seconds: float) -> bool:
    """Do the next slice of a tenant's erasures: look at so many rows of a journal; False if nothing is left just now.

    An erasure is over once all journals are done and it has been there to be heard of for so many seconds.
    """
    found = await connection.execute(
        text("select token_ledger_erase(:tenant, :most, :heard)"),
        {"tenant": tenant, "most": most_rows, "heard": heard_seconds},
    )
    return bool(found.scalar_one())
