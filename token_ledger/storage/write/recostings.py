"""Writes re-costings: what is their own travels, and the database copies the rest from the events that they re-cost."""

from collections.abc import Sequence
from datetime import datetime

from token_ledger.core.model.usage import KINDS
from token_ledger.storage import json_columns
from token_ledger.storage.schema.batch_rows import Places, array_text, array_text_with_nulls
from token_ledger.storage.schema.columns import quoted
from token_ledger.storage.schema.ledger_tables import usage_events
from token_ledger.storage.write.statements import Decided, Write, makes

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
INSERT_RECOSTINGS = makes(
    f"""
    insert into usage_events ({", ".join(quoted(_COLUMNS))})
    select {", ".join(_OWN.get(name) or f"e.{quoted([name])[0]}" for name in _COLUMNS)}
    from (
        select (select $1::text::bigint[])[lock] as tenant_id, ($2::timestamptz[])[lock] as now, event_id, recosts,
               ($6::timestamptz[])[booked] as recosted_at, ($8::text[])[named] as user_id, cost_nanos, price_id,
               discount_id, list_price_id, list_cost_nanos, path, others
        from unnest(
            $3::text::integer[], $4::text::bigint[], $5::text::bigint[], $7::text::integer[], $9::text::integer[],
            $10::text::bigint[], $11::text::bigint[], $12::text::bigint[], $13::text::bigint[], $14::text::bigint[],
            $15::text[], $16::text[]
        ) as sent (
            lock, event_id, recosts, booked, named, cost_nanos, price_id, discount_id, list_price_id, list_cost_nanos,
            path, others
        )
    ) as v
    cross join lateral (
        select * from usage_events as stored
        where stored.tenant_id = v.tenant_id and stored.event_id = v.recosts and stored.booked_at = v.recosted_at
        order by stored.event_id, stored.booked_at limit 1
    ) as e
    returning 1
    """
)


def plan_recostings(decided: Sequence[Decided]) -> list[Write]:
    """Return the statement for re-costings; none where there are none."""
    locks: list[int | None] = [lock for lock, (_, _, writes) in enumerate(decided, start=1) for _ in writes.recostings]
    if not locks:
        return []
    columns = zip(*(each for _, _, writes in decided for each in writes.recostings), strict=True)
    ids, events, booked_at, paths, *amounts, others = columns
    instants, users = Places[datetime](), Places[str]()
    places = [instants[each] for each in booked_at], [users[each.facts.user] for each in events]
    recosted = [each.event_id for each in events]
    moved = [None if path == each.path else array_text(path) for path, each in zip(paths, events, strict=True)]
    lines = [json_columns.other_uses_text(each) if each else None for each in others]
    locks_sent, ids_sent, recosted_sent, booked, named, *sent = map(
        array_text_with_nulls, (locks, ids, recosted, *places, *amounts)
    )
    tenants, now = array_text([tenant for tenant, _, _ in decided]), [now for _, now, _ in decided]
    # Of these there are hardly ever any, and what an array lacks is null.
    texts = (each if any(each) else () for each in (moved, lines))
    return [
        (
            INSERT_RECOSTINGS,
            (tenants, now, locks_sent, ids_sent, recosted_sent, instants.sent, booked, users.sent, named, *sent,
             *texts),
        )
    ]  # fmt: skip
