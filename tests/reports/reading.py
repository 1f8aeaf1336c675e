"""Reads the reports of spend and of other kinds for tests."""

from datetime import datetime
from typing import Any

from token_ledger.core.model.tenant import TenantId
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.kinds import UsedKinds, kinds_by
from token_ledger.reports.spend import Asked, Spend, spend_of
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database


async def spend_by(
    database: Database, tenant: TenantId, group_by: str, since: datetime, until: datetime, **asked: Any
) -> Spend:
    """Return the report of a span by dimensions with commas between them."""
    dimensions = tuple(dimension_named(name) for name in group_by.split(",") if name)
    async with database.reading(tenant, snapshot=True) as connection:
        calendar, made_at = await load_calendar(connection, tenant)
        return await spend_of(connection, tenant, calendar, made_at, Asked(dimensions, (since, until), **asked))


async def kinds_used(
    database: Database, tenant: TenantId, group_by: str, since: datetime, until: datetime
) -> UsedKinds:
    """Return the report of other kinds of a span by a dimension."""
    async with database.reading(tenant) as connection:
        calendar, _ = await load_calendar(connection, tenant)
        return await kinds_by(connection, tenant, calendar, dimension_named(group_by), (since, until))
