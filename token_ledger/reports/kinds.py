"""Report: what was used of the kinds that few calls have, and what that cost, by one dimension."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.tenant import TenantId
from token_ledger.reports.other_kinds import KindUse, kinds_query
from token_ledger.reports.spend import Dimension, column_of, kept_from
from token_ledger.wire.problems import invalid_field


@dataclass(frozen=True, slots=True)
class KindRow:
    """What one value of the dimension used of a kind."""

    key: str
    use: KindUse


@dataclass(frozen=True, slots=True)
class UsedKinds:
    """The report: rows with the highest cost first."""

    group_by: Dimension
    since: datetime
    until: datetime
    rows: tuple[KindRow, ...]


async def kinds_by(
    connection: AsyncConnection, tenant: TenantId, group_by: Dimension, since: datetime, until: datetime
) -> UsedKinds:
    """Return what calls that are posted from `since` (inclusive) to `until` (exclusive) used of other kinds.

    Raises ProblemError if the span begins where events are no longer kept.
    """
    kept = await kept_from(connection, tenant)
    if kept is not None and since < kept:
        detail = f"calls before {kept.isoformat()} are kept as sums without these kinds; begin there or later"
        raise invalid_field("from", detail, Code.TIME_OUT_OF_RANGE)
    statement = f"{kinds_query(column_of(group_by))} order by nanos desc, key, kind"
    values = {"tenant": tenant, "since": since, "until": until}
    found = await connection.execute(text(statement), values)
    rows = tuple(KindRow(key, KindUse(*use)) for key, *use in found)
    return UsedKinds(group_by, since, until, rows)
