"""Reads the rows of one tenant from a database, and those of a ledger in memory, in the same form."""

from datetime import datetime
from typing import Any

import asyncpg

from tests.simulation.memory import MemoryLedger
from token_ledger.core.model.budget import Unit

Rows = dict[str, dict[Any, Any]]

ACCOUNTS = """
select account_id, budget_id, budget, subject, window_start, window_end, enforcement, counts,
       limit_tokens, settled_tokens, held_tokens, limit_nanos, settled_nanos, held_nanos,
       limit_calls, settled_calls, held_calls
from accounts where tenant_id = $1
"""
RESERVATIONS = """
select reservation_id, state, held_tokens, held_uncached_tokens, held_nanos, path, created_at, expires_at, ended_at,
       ended_id is not null, ended_id = event_id, event_id, user_id, model, requested_model, run_id,
       end_reason
from reservations where tenant_id = $1
"""
EVENTS = """
select event_id, reservation_id, user_id, cost_center, agent_type, request_type, provider, model, run_id, tool,
       input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
       cost_nanos, path, occurred_at, posted_at, overrun, late, estimated, unpriced, clamped, failed, response_id,
       original_input_tokens, repetition, earlier_event_id, kind, details::text is null, calls
from usage_events where tenant_id = $1
"""
ENDINGS = """
select ended_id, ended_at from reservations where tenant_id = $1 and ended_id is not null
"""
RUNS = "select run_id, state, user_id, strict, ended_at from runs where tenant_id = $1"
FIGURES = "calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos"
AMOUNTS = ", ".join(f"sum({name})::bigint" for name in FIGURES.split(", "))


def _sums(table: str, key: str) -> str:
    return f"select {key}, {AMOUNTS} from {table} where tenant_id = $1 group by {key}"


HOURLY = _sums("hourly_usage", "hour, cost_center, agent_type, model")
DAILY = _sums("daily_usage", "day, user_id, agent_type, model, request_type")
TAGS = _sums("daily_tag_usage", "day, tag, value")
KEYS = "select source, key, fingerprint, answer, target_id from operation_keys where tenant_id = $1"


async def stored_rows(connection: "asyncpg.Connection[asyncpg.Record]", tenant: int) -> Rows:
    """Return what the database keeps."""

    async def keyed(query: str, width: int = 1) -> dict[Any, Any]:
        rows = [tuple(row) for row in await connection.fetch(query, tenant)]
        return {row[0] if width == 1 else row[:width]: row[width:] for row in rows}

    return {
        "accounts": await keyed(ACCOUNTS),
        "reservations": await keyed(RESERVATIONS),
        "endings": await keyed(ENDINGS),
        "events": await keyed(EVENTS),
        "runs": await keyed(RUNS),
        "hourly": await keyed(HOURLY, 4),
        "daily": await keyed(DAILY, 5),
        "tags": await keyed(TAGS, 3),
        "keys": await keyed(KEYS, 2),
    }


def kept_rows(memory: MemoryLedger) -> Rows:
    """Return what a ledger in memory keeps."""
    return {
        "accounts": {
            a.account_id: (
                a.budget_id, a.budget, a.subject.text, a.window_start, a.window_end, a.enforcement, a.counts,
                *a.figures(Unit.TOKENS), *a.figures(Unit.COST), *a.figures(Unit.CALLS),
            )
            for a in memory.accounts.values()
        },
        "reservations": {
            r.reservation_id: (
                r.state, r.held_tokens, r.held_uncached_tokens, r.held_nanos, r.path, r.created_at, r.expires_at,
                r.ended_at,
                r.ended_id is not None, None if r.ended_id is None or r.event_id is None else r.ended_id == r.event_id,
                r.event_id, r.facts.user, r.facts.model, r.requested.model, r.facts.run_id, r.end_reason,
            )
            for r in memory.rows.reservations.values()
        },
        "endings": {r.ended_id: (r.ended_at,) for r in memory.rows.reservations.values() if r.ended_id is not None},
        "events": {
            e.event_id: (
                e.reservation_id, e.facts.user, e.facts.cost_center, e.facts.agent_type, e.facts.request_type,
                e.facts.provider, e.facts.model, e.facts.run_id, e.facts.tool, e.usage.input_tokens,
                e.usage.output_tokens, e.usage.cache_read_tokens, e.usage.cache_write_5m_tokens,
                e.usage.cache_write_1h_tokens, e.usage.reasoning_tokens, e.cost_nanos, e.path, e.occurred_at,
                e.posted_at, e.overrun, e.late, e.estimated, e.unpriced, e.clamped, e.failed, e.response_id,
                e.original_input_tokens, e.repetition, e.earlier_event_id, e.kind, e.details is None, e.calls,
            )
            for e in memory.rows.events.values()
        },
        "runs": {
            r.run_id: (r.state, r.user, r.strict, r.ended_at) for r in memory.rows.runs.values()
        },
        "hourly": _summed(memory, lambda hour, day, center, user, agent, model, kind: (hour, center, agent, model)),
        "daily": _summed(memory, lambda hour, day, center, user, agent, model, kind: (day, user, agent, model, kind)),
        "tags": {key: tuple(amounts) for key, amounts in memory.daily_tags.items()},
        "keys": {name: (key.fingerprint, key.answer, key.target_id) for name, key in memory.rows.keys.items()},
    }  # fmt: skip


def _summed(memory: MemoryLedger, key_of: Any) -> dict[tuple[datetime | str, ...], tuple[int, ...]]:
    sums: dict[tuple[datetime | str, ...], tuple[int, ...]] = {}
    for key, amounts in memory.hourly_daily.items():
        before = sums.get(key_of(*key), (0,) * 7)
        sums[key_of(*key)] = tuple(a + b for a, b in zip(before, amounts, strict=True))
    return sums
