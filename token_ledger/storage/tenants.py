"""Owns tenants: the rows that everything else hangs on."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import insert, select, text
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.tenant import TenantId
from token_ledger.storage.database import tenant_list
from token_ledger.storage.setup_tables import tenant_ledgers, tenants

_NO_PLACE = {"Factory", "localtime"}
"""Listed as zones, but one is for a clock that was not set, the other is whatever a machine's is."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NO_PLACE)


def check_zone(name: str) -> ZoneInfo:
    """Return the zone of a name; ValueError unless it is an IANA time zone."""
    if name not in _zones():
        raise ValueError(f"{name!r} is no IANA time zone; write one such as Europe/Berlin")
    return ZoneInfo(name)


async def add_tenant(
    connection: AsyncConnection, name: str, time_zone: str, *, week_start: int = 0, fiscal_month: int = 1
) -> TenantId | None:
    """Make a tenant with its ledger and let the transaction see it; None if the name is taken."""
    made = await connection.execute(
        insert_or(tenants)
        .values(name=name, time_zone=time_zone, week_start=week_start, fiscal_month=fiscal_month)
        .on_conflict_do_nothing()
        .returning(tenants.c.tenant_id)
    )
    number = made.scalar_one_or_none()
    if number is None:
        return None
    tenant = TenantId(number)
    await connection.execute(
        text("select set_config('app.tenants', :tenants, true)"), {"tenants": tenant_list([tenant])}
    )
    await connection.execute(insert(tenant_ledgers).values(tenant_id=tenant))
    return tenant


async def list_tenants(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Return every tenant but the operator's own."""
    found = await connection.execute(select(tenants).where(tenants.c.tenant_id > 0).order_by(tenants.c.tenant_id))
    return [dict(row) for row in found.mappings()]


async def all_tenants(connection: AsyncConnection) -> dict[TenantId, str]:
    """Return the names of all tenants by id."""
    found = await connection.execute(select(tenants.c.tenant_id, tenants.c.name).where(tenants.c.tenant_id > 0))
    return {TenantId(row.tenant_id): row.name for row in found}


async def find_stops(connection: AsyncConnection, tenants: Sequence[TenantId]) -> dict[TenantId, str]:
    """Return the reasons of the emergency stops in force, of those tenants that have one."""
    found = await connection.execute(
        select(tenant_ledgers.c.tenant_id, tenant_ledgers.c.stopped_reason).where(
            tenant_ledgers.c.tenant_id.in_(tenants), tenant_ledgers.c.stopped_reason.is_not(None)
        )
    )
    return {TenantId(row.tenant_id): row.stopped_reason for row in found}


async def tenants_with_due_holds(connection: AsyncConnection) -> list[TenantId]:
    """Return the tenants, of those that the transaction sees, with holds whose time is up."""
    found = await connection.execute(
        text("select distinct tenant_id from reservations where state = 'held' and expires_at <= clock_timestamp()")
    )
    return [TenantId(row.tenant_id) for row in found]


async def lock_ledger(connection: AsyncConnection, tenant: TenantId) -> None:
    """Wait for a tenant's batches, and let none begin until the transaction ends."""
    await connection.execute(
        text("select 1 from tenant_ledgers where tenant_id = :tenant for update"), {"tenant": tenant}
    )


async def accounts_to_tend(
    connection: AsyncConnection, tenants: Iterable[TenantId], most: int
) -> dict[TenantId, list[int]]:
    """Return at most so many accounts with grants that are due, or whose window has ended and that can be closed."""
    found = await connection.execute(
        text(
            "(select tenant_id, account_id from accounts"
            "  where tenant_id = any(:tenants) and grants_until <= clock_timestamp() limit :most)"
            " union "
            "(select tenant_id, account_id from accounts"
            "  where tenant_id = any(:tenants) and window_end <= clock_timestamp() and closed_at is null"
            "  and held_tokens = 0 and held_nanos = 0 and held_calls = 0 and leases = 0 limit :most)"
            " limit :most"
        ),
        {"tenants": list(tenants), "most": most},
    )
    accounts: dict[TenantId, list[int]] = {}
    for tenant, account_id in found:
        accounts.setdefault(TenantId(tenant), []).append(account_id)
    return accounts


async def add_partitions(connection: AsyncConnection, months_ahead: int) -> int:
    """Make the partitions of usage events that are missing for this month and the months ahead; return how many."""
    made = await connection.execute(text("select token_ledger_add_partitions(:months)"), {"months": months_ahead})
    return int(made.scalar_one())


async def find_tenant(connection: AsyncConnection, name: str) -> TenantId | None:
    """Return the tenant of a name, or None."""
    found = await connection.execute(select(tenants.c.tenant_id).where(tenants.c.name == name))
    number = found.scalar_one_or_none()
    return None if number is None else TenantId(number)


async def tenant_exists(connection: AsyncConnection, number: int) -> TenantId | None:
    """Return the tenant with a number, the operator's own apart, or None."""
    found = await connection.execute(
        select(tenants.c.tenant_id).where(tenants.c.tenant_id == number, tenants.c.tenant_id > 0)
    )
    return None if found.scalar_one_or_none() is None else TenantId(number)
