"""Tells which calls a report can read: until when all are booked, and whether they are still kept.

Of months that are gone there are sums only.
"""

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.event import NEWEST
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import INSTANT
from token_ledger.reports.calls import Selection
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.wire.problems import invalid_field

_BOOKED_UNTIL: Final = "select booked_at from tenant_ledgers where tenant_id = :tenant"
_KEPT: Final = "select booked_at from checkpoints where tenant_id = :tenant"


async def booked_until(connection: AsyncConnection, tenant: TenantId) -> datetime:
    """Return the instant of the last batch, which a snapshot that shows it has with all before."""
    [(booked_at,)] = await fetch_rows(connection, _BOOKED_UNTIL, tenant=tenant)
    at: datetime = booked_at
    return at


async def kept_from(connection: AsyncConnection, tenant: TenantId) -> datetime | None:
    """Return the instant from which all events are surely kept, None where none was dropped."""
    found = await fetch_rows(connection, _KEPT, tenant=tenant)
    return found[0].booked_at + NEWEST if found else None


async def check_events_kept(connection: AsyncConnection, selection: Selection) -> None:
    """Raise ProblemError if events of a selection may be gone, for a report that reads nothing else."""
    kept = await kept_from(connection, selection.tenant)
    since, until = selection.span
    if kept is not None and since < min(kept, until):
        detail = f"calls before {kept.isoformat()} are kept as sums only; begin there or later"
        raise invalid_field("from", detail, Code.TIME_OUT_OF_RANGE)


async def check_kept(connection: AsyncConnection, selection: Selection, kept: datetime | None) -> None:
    """Raise ProblemError if events that are to be read may be gone, which retention drops once their sums are kept."""
    if kept is None:
        return
    rollup, calendar = selection.rollup, selection.calendar
    if rollup is None:
        if selection.span[0] < kept and selection.span[0] < selection.span[1]:
            raise invalid_field(
                "from",
                f"calls before {kept.isoformat()} are kept as sums only, by user, agent type, model and request type or"
                " by cost center, agent type and model; begin there or later, or group and filter by these",
                Code.TIME_OUT_OF_RANGE,
            )
        return
    for name, (since, until) in zip(("from", "to"), selection.edges, strict=True):
        if since >= until or kept <= since:
            continue
        first, last = rollup.start(calendar, since), rollup.start(calendar, until - INSTANT)
        summed = (
            f"select 1 from {rollup.table} where tenant_id = :tenant"
            f" and {rollup.period} >= :first and {rollup.period} <= :last limit 1"
        )
        if await fetch_rows(connection, summed, tenant=selection.tenant, first=first, last=last):
            begin, end = calendar.day(since).isoformat(), calendar.next_day(until - INSTANT).isoformat()
            raise invalid_field(
                name,
                f"calls before {kept.isoformat()} are kept as sums of whole days, so before that a span begins and ends"
                f" with a day of the tenant's calendar: use {begin} or {end}, or dates",
                Code.TIME_OUT_OF_RANGE,
            )
