"""Report: what was used of the kinds that few calls have, and what that cost, by one dimension.

No roll-up has these kinds: it reads the usage events that have any, by an index of their own.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.tenant import TenantId
from token_ledger.reports.spend import Dimension, column_of, kept_from
from token_ledger.wire.problems import invalid_field


@dataclass(frozen=True, slots=True)
class KindRow:
    """How many of a kind one value of the dimension used; those without a price cost nothing."""

    key: str
    kind: str
    count: int
    nanos: int
    unpriced: int


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
    statement = f"""
        select e.{column_of(group_by)} as key, o.key as kind, sum((o.value ->> 0)::bigint)::bigint as count,
               coalesce(sum((o.value ->> 1)::bigint), 0)::bigint as nanos,
               coalesce(sum((o.value ->> 0)::bigint) filter (where o.value ->> 1 is null), 0)::bigint as unpriced
        from usage_events as e cross join lateral jsonb_each(e.others) as o
        where e.tenant_id = :tenant and e.others is not null and e.posted_at >= :since and e.posted_at < :until
        group by 1, 2 having sum((o.value ->> 0)::bigint) <> 0 or sum((o.value ->> 1)::bigint) <> 0
        order by nanos desc, key, kind
    """
    values = {"tenant": tenant, "since": since, "until": until}
    rows = tuple(KindRow(*row) for row in await connection.execute(text(statement), values))
    return UsedKinds(group_by, since, until, rows)
