"""Owns which bills were booked: an entry in the audit log for each, under the key of its request."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.money import format_money
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.audit_log import find_change, note_change, note_key
from token_ledger.storage.tenant_lock import lock_tenant

BOOK = "reconciliation.book"
"""The action in the audit log, which is also what the keys are unique within."""


@dataclass(frozen=True, slots=True)
class BookedBill:
    """What a request booked, and the fingerprint of the request."""

    fingerprint: bytes
    adjustments: int


async def find_booked_bill(connection: AsyncConnection, tenant: TenantId, key: str) -> BookedBill | None:
    """Return what was booked under a key, None for nothing."""
    found = await find_change(connection, tenant, BOOK, key)
    return None if found is None else BookedBill(found[0], found[1]["adjustments"])


async def note_booked_bill(
    connection: AsyncConnection, tenant: TenantId, key: str, fingerprint: bytes, *, actor: str, kind: str, reason: str,
    adjustments: int, nanos: int,
) -> BookedBill:  # fmt: skip
    """Note what was booked under a key; if another request was first, return what that did."""
    await lock_tenant(connection, tenant)
    known = await find_booked_bill(connection, tenant, key)
    if known is not None:
        return known
    after = {"kind": kind, "reason": reason, "adjustments": adjustments, "cost": format_money(nanos)}
    entry = await note_change(connection, tenant, actor, BOOK, key, after=after)
    await note_key(connection, tenant, BOOK, key, fingerprint, entry)
    return BookedBill(fingerprint, adjustments)
