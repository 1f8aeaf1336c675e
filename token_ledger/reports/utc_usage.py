"""Report: what calls used and cost in every half hour of UTC, as a bill of a provider can be compared with.

Roll-ups are kept by the tenant's hours and days and know no service tiers and no tags, so usage events are read.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.bills import ADJUSTS, BILL_TAG, ITEM_TAG
from token_ledger.core.model.details import Kind
from token_ledger.core.model.other_kinds import OTHER_KINDS
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.reports.kept_calls import kept_from
from token_ledger.wire.problems import invalid_field

STEP: Final = timedelta(minutes=30)
"""How long the rows are: clocks of time zones differ from UTC by whole half hours, but for three zones."""


@dataclass(frozen=True, slots=True)
class UtcUsage:
    """What calls that are alike used and cost from `begin` on, for half an hour.

    `project` is None where calls say none or none was asked for. `service_tier` is None for the standard one. Of calls
    that are `unpriced` a part has no price until now. `unit_nanos` is what of the cost is for what is counted by the
    piece, such as web searches. With `is_adjustment` the rows are those that reconciliations booked before, for a model
    or for an `item` that is none. `corrections` are the events that take back or re-cost another one.
    """

    begin: datetime
    provider: str
    model: str
    project: str | None
    service_tier: str | None
    price_id: int
    discount_id: int | None
    unpriced: bool
    is_adjustment: bool
    events: int
    corrections: int
    usage: Usage
    nanos: int
    list_nanos: int
    unit_nanos: int
    item: str = ""


COST_CENTER: Final = "cost_center"
"""The column that may say the project, in place of a tag."""

_IS_ADJUSTMENT = f"(e.kind is not distinct from '{Kind.TOOL_CALL}' and e.agent_type = '{ADJUSTS}')"
_PIECES = ", ".join(f"'{kind.name}'" for kind in OTHER_KINDS.values() if kind.part_of is None)
_STATEMENT = f"""
select date_bin('{STEP.seconds // 60} minutes', posted_at, timestamptz '2000-01-01T00:00:00Z') as begin, provider,
       model, project, service_tier, price_id, discount_id, is_unpriced, is_adjustment, count(*) as events,
       count(*) filter (where is_correction) as corrections, sum(cost_nanos)::bigint as nanos,
       sum(list_nanos)::bigint as list_nanos, sum(unit_nanos)::bigint as unit_nanos, item,
       {", ".join(f"sum({kind})::bigint as {kind}" for kind in KINDS)}
from (
    select e.posted_at, e.model, {{project}} as project, e.service_tier, e.price_id, e.discount_id, e.cost_nanos,
           case when {_IS_ADJUSTMENT} then coalesce(e.tags ->> '{BILL_TAG}', e.provider) else e.provider end
               as provider,
           case when {_IS_ADJUSTMENT} then coalesce(e.tags ->> '{ITEM_TAG}', '') else '' end as item,
           {_IS_ADJUSTMENT} as is_adjustment, coalesce(e.list_cost_nanos, e.cost_nanos) as list_nanos,
           e.corrects is not null or e.recosts is not null as is_correction,
           e.unpriced and e.recosts is null and not exists (
               select from usage_events as r
               where r.tenant_id = e.tenant_id and r.recosts = e.event_id and r.recosts is not null
           ) as is_unpriced,
           case when e.others is null then 0 else (
               select coalesce(sum((o.value ->> 1)::bigint), 0) from jsonb_each(e.others) as o
               where o.key in ({_PIECES})
           ) end as unit_nanos,
           {", ".join(f"e.{kind}" for kind in KINDS)}
    from usage_events as e
    where e.tenant_id = :tenant and e.posted_at >= :since and e.posted_at < :until
      and e.kind is distinct from '{Kind.CACHE_HIT}'
) as e
where provider = any(:providers)
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, item
"""


async def utc_usage(
    connection: AsyncConnection, tenant: TenantId, providers: Collection[str], since: datetime, until: datetime,
    project_tag: str | None = None,
) -> list[UtcUsage]:  # fmt: skip
    """Return what calls used that are posted from `since` (inclusive) to `until` (exclusive), by the half hour.

    The project is what the tag says, or the cost center where `project_tag` is `COST_CENTER`. Raises ProblemError if
    calls of the span may no longer be kept.
    """
    kept = await kept_from(connection, tenant)
    if kept is not None and since < kept:
        detail = f"calls before {kept.isoformat()} are kept as sums by the tenant's days only; compare what is newer"
        raise invalid_field("from", detail, Code.TIME_OUT_OF_RANGE)
    project = {None: "null::text", COST_CENTER: "e.cost_center"}.get(project_tag, "e.tags ->> :tag")
    values = {"tenant": tenant, "since": since, "until": until, "providers": list(providers)}
    if ":tag" in project:
        values["tag"] = project_tag
    found = await connection.execute(text(_STATEMENT.format(project=project)), values)
    return [_row(each) for each in found.mappings()]


def _row(found: RowMapping) -> UtcUsage:
    return UtcUsage(
        found["begin"], found["provider"], found["model"], found["project"], found["service_tier"], found["price_id"],
        found["discount_id"], found["is_unpriced"], found["is_adjustment"], found["events"], found["corrections"],
        Usage(*(found[kind] for kind in KINDS)), found["nanos"], found["list_nanos"], found["unit_nanos"],
        found["item"],
    )  # fmt: skip
