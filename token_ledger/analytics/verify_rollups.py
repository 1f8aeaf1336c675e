"""Checks of verify: every roll-up is the sum of the events, by the hours and days of the tenant's calendar (D12)."""

from token_ledger.storage.periods import DAY_OF_POST, HOUR_OF_POST

_FIGURES = "calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos"
_SUMS = ", ".join(f"sum({name})::bigint as {name}" for name in _FIGURES.split(", "))
_EVENT_FIGURES = _FIGURES.replace("cache_write_tokens", "cache_write_5m_tokens + cache_write_1h_tokens")


def _rollup(table: str, checkpoint: str, key: str, values: str, source: str = "usage_events") -> str:
    """Return the query that compares a roll-up with checkpoint and later events, both ways."""
    grouped = (
        f"select {key}, {_SUMS} from ("
        f"select {key}, {_FIGURES} from {checkpoint} where tenant_id = :tenant"
        f" union all select {values}, {_EVENT_FIGURES} from {source} and tenant_id = :tenant and event_id > :cut"
        f") as e group by {key}"
    )
    stored = f"select {key}, {_SUMS} from {table} where tenant_id = :tenant group by {key}"
    if "user_id" in key.split(", "):
        grouped, stored = _as_one_user(grouped, key), _as_one_user(stored, key)
    return (
        f"select 'stored' as found, * from (({stored}) except ({grouped})) as only_stored"
        f" union all select 'booked', * from (({grouped}) except ({stored})) as only_booked"
    )


def _as_one_user(sums: str, key: str) -> str:
    """Return the query whose sums of a name and of its pseudonym are one, while an erasure is under way."""
    named = ", ".join(f"s.{name}" for name in key.split(", "))
    named = named.replace("s.user_id", "coalesce(e.user_id, s.user_id) as user_id")
    return (
        f"select {key}, {_SUMS} from (select {named}, {_FIGURES} from ({sums}) as s"
        " left join erasures as e on e.tenant_id = :tenant and e.pseudonym = s.user_id"
        f") as named group by {key}"
    )


HOURLY = _rollup(
    "hourly_usage", "hourly_checkpoints", "hour, cost_center, agent_type, model",
    f"{HOUR_OF_POST}, cost_center, agent_type, model", "usage_events where true",
)  # fmt: skip
DAILY = _rollup(
    "daily_usage", "daily_checkpoints", "day, user_id, agent_type, model, request_type",
    f"{DAY_OF_POST}, user_id, agent_type, model, request_type", "usage_events where true",
)  # fmt: skip
TAGS = _rollup(
    "daily_tag_usage", "daily_tag_checkpoints", "day, tag, value", f"{DAY_OF_POST}, tag, value",
    "usage_events cross join lateral jsonb_each_text(coalesce(tags, '{}'::jsonb)) as t (tag, value) where true",
)  # fmt: skip
RUNS = _rollup(
    "run_usage", "run_checkpoints", "run_id, agent_type, tool, model",
    "run_id, agent_type, coalesce(tool, ''), model", "usage_events where run_id is not null",
)  # fmt: skip

CHECKS = {
    "hourly roll-ups are the sums of the events": HOURLY,
    "daily roll-ups are the sums of the events": DAILY,
    "tag roll-ups are the sums of the events": TAGS,
    "what runs used is the sum of their events": RUNS,
}
