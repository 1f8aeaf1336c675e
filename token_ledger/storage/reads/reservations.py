"""Reads reservations."""

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows


async def find_reservation(connection: AsyncConnection, tenant: TenantId, reservation_id: int) -> Reservation | None:
    """Return a reservation as it stands, or None."""
    found = await fetch_rows(
        connection,
        f"select {rows.RESERVATION.select()}"
        " from reservations where tenant_id = :tenant and reservation_id = :id",
        tenant=tenant, id=reservation_id,
    )  # fmt: skip
    return rows.RESERVATION.read(found[0]) if found else None


async def find_reservations(
    connection: AsyncConnection, tenant: TenantId, *, state: str, lease: bool | None, run_id: int | None,
    user: str | None, agent_type: str | None, older_than_seconds: int, after: int, limit: int,
) -> list[Reservation]:  # fmt: skip
    """Return the holds of a state that fit what is asked for, oldest first, from after one of them."""
    found = await fetch_rows(
        connection,
        f"select {rows.RESERVATION.select()}"
        " from reservations where tenant_id = :tenant and state = :state and reservation_id > :after"
        " and (cast(:lease as boolean) is null or lease = :lease)"
        " and (cast(:run as bigint) is null or run_id = :run)"
        " and (cast(:user as text) is null or user_id = :user)"
        " and (cast(:agent_type as text) is null or agent_type = :agent_type)"
        " and created_at <= now() - make_interval(secs => :seconds) order by reservation_id limit :limit",
        tenant=tenant, state=state, lease=lease, run=run_id, user=user, agent_type=agent_type,
        seconds=older_than_seconds, after=after, limit=limit,
    )  # fmt: skip
    return [rows.RESERVATION.read(row) for row in found]
