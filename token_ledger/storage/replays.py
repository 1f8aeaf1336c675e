"""Loads the rows that repeated idempotency keys are answered with, but for holds and runs (see `loading`)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from token_ledger.core.loaded import Loaded
from token_ledger.core.tenant import TenantId
from token_ledger.storage.rows import (
    AUDIT_COLUMNS,
    BUDGET_COLUMNS,
    DENIAL_COLUMNS,
    EVENT_COLUMNS,
    GRANT_COLUMNS,
    INCREASE_COLUMNS,
    KEPT_COLUMNS,
    STEP_COLUMNS,
    audit_from,
    budget_from,
    denial_from,
    event_from,
    facts_from,
    grant_from,
    increase_from,
    kept_from,
    of_table,
    step_from,
)  # fmt: skip

Replay = tuple[TenantId, str, int, datetime]
"""Tenant, kind of row, its id and when it was booked."""

_FACTS = ("user_id", "cost_center", "agent_type", "request_type", "provider", "model", "run_id", "tool", "tags")

# The instant of booking leads to the one partition that holds the event.
LOAD_EVENTS = f"""
select {of_table("e", EVENT_COLUMNS)}
from unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) as wanted (tenant_id, event_id, booked_at)
join usage_events as e using (tenant_id, event_id, booked_at)
"""

LOAD_DENIALS = f"""
select {of_table("d", DENIAL_COLUMNS)}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, denial_id) join denials as d using (tenant_id, denial_id)
"""

LOAD_KEPT = f"""
select {of_table("q", KEPT_COLUMNS)}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, quarantine_id)
join quarantine as q using (tenant_id, quarantine_id)
"""

LOAD_ARCHIVED = f"""
select {of_table("b", BUDGET_COLUMNS)}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, budget_id) join budgets as b using (tenant_id, budget_id)
where b.archived_at is not null
"""


def _by_id(columns: str, table: str, key: str) -> str:
    return (
        f"select {of_table('t', columns)} from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, {key})"
        f" join {table} as t using (tenant_id, {key})"
    )


LOAD_STEPS = _by_id(STEP_COLUMNS, "run_steps", "step_id")
LOAD_GRANTS = _by_id(GRANT_COLUMNS, "grants", "grant_id")
LOAD_INCREASES = _by_id(INCREASE_COLUMNS, "increases", "increase_id")
LOAD_AUDIT = _by_id(AUDIT_COLUMNS, "audit_log", "audit_id")


async def load_replay_targets(connection: Any, loaded: Mapping[TenantId, Loaded], replays: Iterable[Replay]) -> None:
    """Load what stored keys point to; reservations and runs are loaded with those that commands name."""
    by_answer: dict[str, list[Replay]] = {}
    for replay in replays:
        by_answer.setdefault(replay[1], []).append(replay)
    if events := by_answer.get("event"):
        booked = [replay[3] for replay in events]
        for row in await connection.fetch(LOAD_EVENTS, *_names(events), booked):
            loaded[row["tenant_id"]].events[row["event_id"]] = event_from(row, _facts(row))
    if denials := by_answer.get("denial"):
        for row in await connection.fetch(LOAD_DENIALS, *_names(denials)):
            loaded[row["tenant_id"]].denials[row["denial_id"]] = denial_from(row, _facts(row))
    if kept := by_answer.get("kept"):
        for row in await connection.fetch(LOAD_KEPT, *_names(kept)):
            loaded[row["tenant_id"]].kept[row["quarantine_id"]] = kept_from(row)
    if budgets := by_answer.get("budget"):
        for row in await connection.fetch(LOAD_ARCHIVED, *_names(budgets)):
            loaded[row["tenant_id"]].archived_budgets[row["budget_id"]] = budget_from(row)
    if steps := by_answer.get("step"):
        for row in await connection.fetch(LOAD_STEPS, *_names(steps)):
            loaded[row[0]].steps[row[1]] = step_from(row)
    if grants := by_answer.get("grant"):
        for row in await connection.fetch(LOAD_GRANTS, *_names(grants)):
            loaded[row[0]].grants[row[1]] = grant_from(row)
    if increases := by_answer.get("increase"):
        for row in await connection.fetch(LOAD_INCREASES, *_names(increases)):
            loaded[row[0]].increases[row[1]] = increase_from(row)
    if entries := by_answer.get("audit"):
        for row in await connection.fetch(LOAD_AUDIT, *_names(entries)):
            loaded[row[0]].audit[row[1]] = audit_from(row)


def _names(replays: Iterable[Replay]) -> tuple[list[int], list[int]]:
    pairs = [(replay[0], replay[2]) for replay in replays]
    return [int(tenant) for tenant, _ in pairs], [target for _, target in pairs]


def _facts(row: Mapping[str, Any]) -> Any:
    return facts_from([row[name] for name in _FACTS])
