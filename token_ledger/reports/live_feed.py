"""Report: booked calls in the order of their commits, for the live stream."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.details import Kind
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.tenant import TenantId

_EVENTS = """
select e.event_id, e.user_id, e.agent_type, e.model, e.input_tokens + e.output_tokens as tokens, e.cost_nanos, e.run_id,
       e.corrects, e.recosts, e.repetition, e.earlier_event_id, e.kind, e.tool, e.price_id,
       e.list_cost_nanos, r.ancestors
from usage_events as e left join runs as r on r.tenant_id = e.tenant_id and r.run_id = e.run_id
where e.tenant_id = :tenant and e.event_id > :after
  and (cast(:user as text) is null or e.user_id = :user)
  and (cast(:run as bigint) is null or e.run_id = :run or :run = any(r.ancestors))
order by e.event_id limit :limit
"""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """A booked event, a duplicate of one, a correction with the opposite amounts, or a re-costing, as it is shown."""

    event_id: int
    user: str
    agent_type: str
    model: str
    tokens: int
    cost_nanos: int
    run_id: int | None
    corrects: int | None
    recosts: int | None = None
    repetition: Repetition | None = None
    earlier_event_id: int | None = None
    kind: Kind | None = None
    tool: str | None = None
    price_id: int = 0
    list_cost_nanos: int | None = None
    ancestors: tuple[int, ...] = ()
    """The runs that its run is a part of."""


async def events_after(
    connection: AsyncConnection, tenant: TenantId, event_id: int, limit: int,
    *, user: str | None = None, run_id: int | None = None,
) -> list[LiveEvent]:  # fmt: skip
    """Return the first `limit` usage events after an event; ids rise in the order of commits.

    With `user` or `run_id`, only that user's or that run's; the calls of sub-runs are their run's.
    """
    values = {"tenant": tenant, "after": event_id, "limit": limit, "user": user, "run": run_id}
    found = await connection.execute(text(_EVENTS), values)
    return [
        LiveEvent(
            row.event_id, row.user_id, row.agent_type, row.model, row.tokens, row.cost_nanos, row.run_id, row.corrects,
            row.recosts, None if row.repetition is None else Repetition(row.repetition), row.earlier_event_id,
            None if row.kind is None else Kind(row.kind), row.tool,
            row.price_id, row.list_cost_nanos, tuple(row.ancestors or ()),
        )
        for row in found
    ]  # fmt: skip
