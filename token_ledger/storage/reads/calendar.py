"""Reads the calendar."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.schema.setup_tables import STANDING_CHANGES


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """A rule of the calendar and from when on it counts; None for the rule that the tenant began with."""

    effective_from: datetime | None
    time_zone: str
    week_start: int
    fiscal_month: int


async def find_calendar(connection: AsyncConnection, tenant: TenantId) -> list[CalendarChange]:
    """Return the rule that the tenant began with, then every change, planned ones too."""
    found = await fetch_rows(
        connection,
        "select cast(null as timestamptz) as effective_from, time_zone, week_start, fiscal_month from tenants"
        " where tenant_id = :tenant"
        f" union all select effective_from, time_zone, week_start, fiscal_month from {STANDING_CHANGES}"
        " where tenant_id = :tenant order by effective_from nulls first",
        tenant=tenant,
    )  # fmt: skip
    return [CalendarChange(*row) for row in found]
