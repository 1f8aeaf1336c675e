"""Report: what was used of the kinds that few calls have, and what that cost, by one dimension."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import select_calls
from token_ledger.reports.dimensions import Dimension
from token_ledger.reports.kept_calls import kept_from
from token_ledger.reports.other_kinds import KindUse, kinds_of
from token_ledger.reports.span import Span
from token_ledger.wire.problems import invalid_field


@dataclass(frozen=True, slots=True)
class KindRow:
    """What one value of the dimension used of a kind."""

    key: str | None
    use: KindUse


@dataclass(frozen=True, slots=True)
class UsedKinds:
    """The report: rows with the highest cost first."""

    group_by: Dimension
    since: datetime
    until: datetime
    rows: tuple[KindRow, ...]


async def kinds_by(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, group_by: Dimension, span: Span
) -> UsedKinds:
    """Return what calls that are posted in a span used of other kinds.

    Raises ProblemError if the span begins where events are no longer kept.
    """
    since, until = span
    kept = await kept_from(connection, tenant)
    if kept is not None and since < kept:
        detail = f"calls before {kept.isoformat()} are kept as sums without these kinds; begin there or later"
        raise invalid_field("from", detail, Code.TIME_OUT_OF_RANGE)
    found = await kinds_of(connection, await select_calls(connection, tenant, calendar, span, (group_by,)))
    rows = [KindRow(key, use) for (key,), uses in found.items() for use in uses]
    rows.sort(key=lambda row: (-row.use.nanos, row.key or "", row.use.kind))
    return UsedKinds(group_by, since, until, tuple(rows))
