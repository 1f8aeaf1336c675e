"""Reads the audit log."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


@dataclass(frozen=True, slots=True)
class BookedAuditEntry:
    """An entry of the audit log and when it was made."""

    entry: AuditEntry
    booked_at: datetime


async def find_audit(
    connection: AsyncConnection, tenant: TenantId, *, after: int, limit: int
) -> list[BookedAuditEntry]:
    """Return entries of the audit log in order, from after one of them."""
    found = await fetch_rows(
        connection,
        f"select {rows.AUDIT.select()}, booked_at from audit_log"
        " where tenant_id = :tenant and audit_id > :after order by audit_id limit :limit",
        tenant=tenant, after=after, limit=limit,
    )  # fmt: skip
    return [BookedAuditEntry(rows.AUDIT.read(row[:-1]), row.booked_at) for row in found]
