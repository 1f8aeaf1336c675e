"""Writes re-costings: what is their own travels, and the database copies the rest from the events that they re-cost."""

from collections.abc import Sequence

from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.usage import KINDS
from token_ledger.storage import json_columns
from token_ledger.storage.schema.batch_rows import array_text
from token_ledger.storage.schema.columns import quoted
from token_ledger.storage.schema.ledger_tables import usage_events
from token_ledger.storage.write.statements import Decided, Rows, Write

# Their columns as the statement says them, in place of those of the event; `derived_event` says the same in memory.
_OWN = {
    "tenant_id": "v.tenant_id",
    "event_id": "v.event_id",
    "booked_at": "v.now",
    "recosts": "v.recosts",
    "user_id": "v.user_id",
    "path": "coalesce(v.path::bigint[], e.path)",
    "cost_nanos": "v.cost_nanos",
    "price_id": "v.price_id",
    "discount_id": "v.discount_id",
    "list_price_id": "v.list_price_id",
    "list_cost_nanos": "v.list_cost_nanos",
    "others": "v.others::jsonb",
    "calls": "0",
    **dict.fromkeys(KINDS, "0"),
    **dict.fromkeys(("overrun", "late", "part", "unpriced"), "false"),
    **dict.fromkeys(
        (
            "reservation_id",
            "original_input_tokens",
            "held_path",
            "corrects",
            "repetition",
            "earlier_event_id",
            "details",
        ),
        "null",
    ),
}
_COLUMNS = [column.name for column in usage_events.columns]

# The instant of booking leads to the one partition that holds the event. For `returning 1` see `write.statements`.
INSERT_RECOSTINGS = f"""
with stored as (
    insert into usage_events ({", ".join(quoted(_COLUMNS))})
    select {", ".join(_OWN.get(name) or f"e.{quoted([name])[0]}" for name in _COLUMNS)}
    from unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[]
    ) as v (
        tenant_id, event_id, recosts, recosted_at, now, user_id, path, cost_nanos, price_id, discount_id, list_price_id,
        list_cost_nanos, others
    )
    cross join lateral (
        select * from usage_events as stored
        where stored.tenant_id = v.tenant_id and stored.event_id = v.recosts and stored.booked_at = v.recosted_at
        order by stored.event_id, stored.booked_at limit 1
    ) as e
    returning 1
)
select 1
"""


def plan_recostings(decided: Sequence[Decided]) -> list[Write]:
    """Return the statement for re-costings; none where there are none."""
    rows: Rows = [
        (
            tenant, each.event_id, each.recosted.event_id, each.booked_at, now, each.recosted.facts.user, _path(each),
            each.cost_nanos, each.price_id, each.discount_id, each.list_price_id, each.list_cost_nanos,
            json_columns.other_uses_text(each.others) if each.others else None,
        )
        for tenant, now, writes in decided
        for each in writes.recostings
    ]  # fmt: skip
    return [(INSERT_RECOSTINGS, tuple(zip(*rows, strict=True)))] if rows else []


def _path(recosting: RecostedEvent) -> str | None:
    """Return the accounts of a re-costing, None where they are those of the event."""
    return None if recosting.path == recosting.recosted.path else array_text(recosting.path)
