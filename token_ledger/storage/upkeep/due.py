"""Finds what is due by the clock: holds to expire, accounts to tend, partitions to make."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.clocks import BOUND_SECONDS

# A look at the first due hold of each tenant, however many there are. A tenant whose last instant is wrongly ahead is
# put right by its next batch, and its holds are not due by the clock until then.
_DUE_HOLDS = text(
    "select tenant_id from unnest(cast(:tenants as bigint[])) as seen (tenant_id) where exists ("
    "select from reservations as r where r.tenant_id = seen.tenant_id and state = 'held'"
    " and expires_at <= clock_timestamp())"
    " or exists (select from tenant_ledgers as l where l.tenant_id = seen.tenant_id"
    f" and l.booked_at > clock_timestamp() + make_interval(secs => {BOUND_SECONDS:.0f}))"
)
_ACCOUNTS_TO_TEND = text(
    "(select tenant_id, account_id from accounts"
    "  where tenant_id = any(:tenants) and grants_until <= clock_timestamp() limit :most)"
    " union "
    "(select tenant_id, account_id from accounts"
    "  where tenant_id = any(:tenants) and window_end <= clock_timestamp() and closed_at is null"
    "  and held_tokens = 0 and held_nanos = 0 and held_calls = 0 and leases = 0 limit :most)"
    " limit :most"
)


async def tenants_with_due_holds(connection: AsyncConnection, tenants: Iterable[TenantId]) -> list[TenantId]:
    """Return which of these tenants, all of which the transaction sees, have holds whose time is up."""
    due = await connection.execute(_DUE_HOLDS, {"tenants": list(tenants)})
    return [TenantId(row.tenant_id) for row in due]


async def accounts_to_tend(
    connection: AsyncConnection, tenants: Iterable[TenantId], most: int
) -> dict[TenantId, list[int]]:
    """Return up to `most` accounts whose grants are due, or whose window has ended with nothing held on them."""
    found = await connection.execute(_ACCOUNTS_TO_TEND, {"tenants": list(tenants), "most": most})
    accounts: dict[TenantId, list[int]] = {}
    for tenant, account_id in found:
        accounts.setdefault(TenantId(tenant), []).append(account_id)
    return accounts


async def add_partitions(connection: AsyncConnection, months_ahead: int) -> int:
    """Make the missing partitions of usage events for this month and the months ahead; return how many."""
    made = await connection.execute(text("select token_ledger_add_partitions(:months)"), {"months": months_ahead})
    return int(made.scalar_one())
