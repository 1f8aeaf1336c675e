"""Owns the rows of tenants, their emergency stops, and whether they find duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.database import see_tenants
from token_ledger.storage.schema.setup_tables import tenant_ledgers, tenants

_NOT_A_PLACE = {"Factory", "localtime"}
"""Listed as zones, but one stands for an unset clock and the other for the zone of whichever machine reads it."""


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant with the calendar it began with."""

    tenant_id: TenantId
    name: str
    time_zone: str
    created_at: datetime
    week_start: int
    fiscal_month: int


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_A_PLACE)


def check_zone(name: str) -> ZoneInfo:
    """Return the time zone of a name; ValueError unless it is one of IANA's."""
    if name not in _zones():
        raise ValueError(f"{name!r} is not an IANA time zone; write one such as Europe/Berlin")
    return ZoneInfo(name)


async def add_tenant(
    connection: AsyncConnection, name: str, time_zone: str, *, week_start: int = 0, fiscal_month: int = 1
) -> TenantId | None:
    """Add a tenant with its ledger, and let the transaction see its rows; None if the name is taken."""
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
    await connection.exec_driver_sql(see_tenants([tenant]))
    await connection.execute(insert(tenant_ledgers).values(tenant_id=tenant))
    return tenant


async def list_tenants(connection: AsyncConnection) -> list[TenantRow]:
    """Return every tenant except the operator's own, by id."""
    found = await connection.execute(select(tenants).where(tenants.c.tenant_id > 0).order_by(tenants.c.tenant_id))
    return [TenantRow(*row) for row in found]


async def all_tenants(connection: AsyncConnection) -> dict[TenantId, str]:
    """Return the names of all tenants except the operator's own, by id."""
    found = await connection.execute(select(tenants.c.tenant_id, tenants.c.name).where(tenants.c.tenant_id > 0))
    return {TenantId(row.tenant_id): row.name for row in found}


async def find_stops(connection: AsyncConnection, tenants: Sequence[TenantId]) -> dict[TenantId, str]:
    """Return the reasons of the emergency stops in force, by tenant."""
    found = await connection.execute(
        select(tenant_ledgers.c.tenant_id, tenant_ledgers.c.stopped_reason).where(
            tenant_ledgers.c.tenant_id.in_(tenants), tenant_ledgers.c.stopped_reason.is_not(None)
        )
    )
    return {TenantId(row.tenant_id): row.stopped_reason for row in found}


async def finds_duplicates(connection: AsyncConnection, tenant: TenantId) -> bool:
    """Return whether the reports of one response of a provider are one call of a tenant."""
    of_tenant = select(tenant_ledgers.c.finds_duplicates).where(tenant_ledgers.c.tenant_id == tenant)
    found: bool = (await connection.execute(of_tenant)).scalar_one()
    return found


async def find_tenant(connection: AsyncConnection, name: str) -> TenantId | None:
    """Return the tenant with a name, or None."""
    found = await connection.execute(select(tenants.c.tenant_id).where(tenants.c.name == name))
    number = found.scalar_one_or_none()
    return None if number is None else TenantId(number)


async def tenant_name(connection: AsyncConnection, tenant: TenantId) -> str:
    """Return a tenant's name, as metrics show it."""
    name: str = (await connection.execute(select(tenants.c.name).where(tenants.c.tenant_id == tenant))).scalar_one()
    return name


async def tenant_exists(connection: AsyncConnection, number: int) -> TenantId | None:
    """Return the tenant with a number, or None; the operator's own does not count."""
    found = await connection.execute(
        select(tenants.c.tenant_id).where(tenants.c.tenant_id == number, tenants.c.tenant_id > 0)
    )
    return None if found.scalar_one_or_none() is None else TenantId(number)
