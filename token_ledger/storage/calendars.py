"""Reads the calendars of tenants, with what was decided to change of them."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Calendar
from token_ledger.storage.rows import rule_from
from token_ledger.storage.schema.setup_tables import STANDING_CHANGES


async def load_calendar(connection: AsyncConnection, tenant: TenantId) -> tuple[Calendar, datetime]:
    """Return a tenant's calendar with its changes, and when the tenant was made."""
    values = {"tenant": tenant}
    of_tenant = "select time_zone, week_start, fiscal_month, created_at from tenants where tenant_id = :tenant"
    first = (await connection.execute(text(of_tenant), values)).mappings().one()
    changes = await connection.execute(
        text(
            f"select effective_from, time_zone, week_start, fiscal_month from {STANDING_CHANGES}"
            " where tenant_id = :tenant order by effective_from"
        ),
        values,
    )
    dated = tuple((row["effective_from"], rule_from(dict(row))) for row in changes.mappings())
    return Calendar(rule_from(dict(first)), dated), first["created_at"]
