"""Erases users slice by slice, and tells whether there is a user to erase.

A batch begins an erasure (see `write.setup`). The database's function that continues it stores its progress in the
transaction of each slice, so after a crash the next slice continues from there.
"""

import json
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.tenant_lock import end_if_silent

# Cheap look-ups come first, scans of whole journals last. The days of a roll-up are found one by one. Events are not
# looked at, because every event is in a roll-up.
_KNOWN = """
with recursive used as (
    (select day from daily_usage where tenant_id = :tenant order by day limit 1)
    union all
    select (select d.day from daily_usage as d where d.tenant_id = :tenant and d.day > used.day order by d.day limit 1)
    from used where used.day is not null
), kept as (
    (select day from daily_checkpoints where tenant_id = :tenant order by day limit 1)
    union all
    select (select d.day from daily_checkpoints as d where d.tenant_id = :tenant and d.day > kept.day
            order by d.day limit 1)
    from kept where kept.day is not null
)
select exists (select from users where tenant_id = :tenant and user_id = :user and not erased)
    or exists (select from runs where tenant_id = :tenant and user_id = :user)
    or exists (select from accounts where tenant_id = :tenant and subject_user = :user)
    or exists (select from budgets where tenant_id = :tenant
               and (jsonb_exists(selector -> 'user', :user) or overrides @> cast(:overriding as jsonb)))
    or exists (select from budget_terms where tenant_id = :tenant and overrides @> cast(:overriding as jsonb))
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
    overriding = json.dumps([{"subject": {"user": user}}])
    values = {"tenant": tenant, "user": user, "person": f"person:{user}", "overriding": overriding}
    found = await connection.execute(text(_KNOWN), values)
    return bool(found.scalar_one())


async def users_being_erased(connection: AsyncConnection, tenants: Iterable[TenantId]) -> list[tuple[TenantId, str]]:
    """Return whose erasure is under way, of the tenants that the transaction sees."""
    found = await connection.execute(
        text("select tenant_id, user_id from erasures where tenant_id = any(:tenants)"), {"tenants": list(tenants)}
    )
    return [(TenantId(row.tenant_id), row.user_id) for row in found]


async def erase_next(connection: AsyncConnection, tenant: TenantId, most_rows: int, heard_seconds: float) -> bool:
    """Do the next slice of a tenant's erasures, of about `most_rows` rows; return False if nothing is left for now.

    An erasure is over once all journals are done and it has been there to be heard of for so many seconds.
    """
    await end_if_silent(connection)  # it locks rows that batches change
    found = await connection.execute(
        text("select token_ledger_erase(:tenant, :most, :heard)"),
        {"tenant": tenant, "most": most_rows, "heard": heard_seconds},
    )
    return bool(found.scalar_one())
