"""Report: how often each trigger fired, and whether its technique was applied."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId

_FIRINGS = """
select trigger, technique, applied, count(*) from trigger_firings
where tenant_id = :tenant group by 1, 2, 3 order by 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class TriggerFirings:
    """How often a trigger fired; `applied` says whether it changed the calls or only advised."""

    trigger: str
    technique: str
    applied: bool
    firings: int


async def firings_by_trigger(connection: AsyncConnection, tenant: TenantId) -> list[TriggerFirings]:
    """Return the firings of a tenant's triggers, sorted by trigger, technique and `applied`."""
    return [TriggerFirings(*row) for row in await connection.execute(text(_FIRINGS), {"tenant": tenant})]
