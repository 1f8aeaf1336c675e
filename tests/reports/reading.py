"""Reads the report of spend for tests."""

from datetime import datetime
from typing import Any

from token_ledger.core.model.tenant import TenantId
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.spend import Asked, Spend, spend_of
from token_ledger.storage.database import Database


async def spend_by(
    database: Database, tenant: TenantId, group_by: str, since: datetime, until: datetime, **asked: Any
) -> Spend:
    """Return the report of a span by dimensions with commas between them."""
    dimensions = tuple(dimension_named(name) for name in group_by.split(",") if name)
    async with database.reading(tenant, snapshot=True) as connection:
        return await spend_of(connection, tenant, Asked(dimensions, (since, until), **asked))
