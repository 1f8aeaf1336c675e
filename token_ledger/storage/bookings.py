"""Writes what every batch writes: balances, holds, events with their keys, roll-ups (design D9 to D12).

The rows of a table travel as one array of a batch type (see the first migration), tenants and instants as arrays that
the rows point into with `lock`, counted from one. A hold and an event are written together with the key that made
them, and an event that settles ends its hold in the same statement.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from token_ledger.core.books import ORDINAL_BITS
from token_ledger.core.reservation import CallFacts
from token_ledger.core.tenant import TenantId
from token_ledger.core.writes import Writes

Decided = tuple[TenantId, datetime, Writes]
"""A tenant, the instant of its batch and what the batch changes."""

Rows = list[tuple[Any, ...]]

Write = tuple[str, tuple[Any, ...]]
"""A statement and its arguments."""

_LOCKED = "($2::bigint[])[v.lock] as tenant_id, ($3::timestamptz[])[v.lock] as now"
_FACTS = "user_id, cost_center, agent_type, request_type, provider, model, run_id, tool, tags"
_AMOUNTS = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_nanos",
)  # fmt: skip

# Both keys of an account are named, so that either index finds it with one probe.
UPDATE_ACCOUNTS = f"""
update accounts as a
set settled_tokens = v.settled_tokens, settled_nanos = v.settled_nanos, settled_calls = v.settled_calls,
    held_tokens = v.held_tokens, held_nanos = v.held_nanos, held_calls = v.held_calls
from (select {_LOCKED}, v.* from unnest($1::account_balance_row[]) as v) as v
where a.tenant_id = v.tenant_id and a.account_id = v.account_id
  and a.budget_id = v.budget_id and a.subject = v.subject and a.window_start = v.window_start
"""

INSERT_RESERVATIONS = f"""
with given as materialized (select {_LOCKED}, v.* from unnest($1::reservation_row[]) as v), keyed as (
    insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)
    select tenant_id, 'reserve', key, fingerprint, 'reservation', reservation_id, now from given
)
insert into reservations (
    tenant_id, reservation_id, state, {_FACTS}, requested_model, input_tokens, cached_input_tokens, max_output_tokens,
    held_tokens, held_uncached_tokens, held_nanos, price_id, path, created_at, expires_at, ttl_seconds,
    directive, warnings
)
select tenant_id, reservation_id, 'held', {_FACTS}, requested_model, input_tokens, cached_input_tokens,
       max_output_tokens, held_tokens, held_uncached_tokens, held_nanos, price_id, path, now,
       now + ttl_seconds * interval '1 second', ttl_seconds, directive, warnings
from given
"""

END_RESERVATIONS = """
update reservations as r set state = v.state, ended_at = v.ended_at, ended_id = v.ended_id
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::bigint[])
     as v (tenant_id, reservation_id, state, ended_at, ended_id)
where r.tenant_id = v.tenant_id and r.reservation_id = v.reservation_id
"""

INSERT_EVENTS = f"""
with given as materialized (select {_LOCKED}, v.* from unnest($1::usage_event_row[]) as v), keyed as (
    insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)
    select tenant_id, source, key, fingerprint, 'event', event_id, now from given
), settled as (
    update reservations as r
    set state = 'settled', event_id = g.event_id,
        ended_id = coalesce(r.ended_id, g.event_id), ended_at = coalesce(r.ended_at, g.now)
    from given as g where r.tenant_id = g.tenant_id and r.reservation_id = g.reservation_id
)
insert into usage_events (
    tenant_id, event_id, booked_at, occurred_at, posted_at, reservation_id, {_FACTS}, input_tokens, output_tokens,
    cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, original_input_tokens,
    cost_nanos, price_id, path, overrun, late, estimated, unpriced, clamped, failed, response_id
)
select tenant_id, event_id, now, coalesce(occurred_at, now), coalesce(occurred_at, now), reservation_id, {_FACTS},
       input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
       original_input_tokens, cost_nanos, price_id, path, overrun, late, estimated, unpriced, clamped, failed,
       response_id
from given
"""


SEGMENT_BITS = 8
"""How many batches of a tenant add to the same rows of its roll-ups, as a power of two (see `rollup_tables`)."""


def segment_of(row_id: int) -> int:
    """Return the segment, from 1, of the batch that an id is of: ids begin with the sequence number of their batch."""
    return (row_id >> ORDINAL_BITS + SEGMENT_BITS) + 1


def segments(decided: Sequence[Decided]) -> list[int]:
    """Return the segment of each batch; 0 for one that booked nothing, which adds to no roll-up."""
    booked = (writes.events or writes.parts for _, _, writes in decided)
    return [segment_of(events[0].event_id) if events else 0 for events in booked]


def _add_to(table: str, row: str, key: str) -> str:
    amounts = ", ".join(_AMOUNTS)
    sums = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in _AMOUNTS)
    return (
        f"insert into {table} as t (tenant_id, {key}, {amounts}, segment)"
        f" select ($2::bigint[])[v.lock], {key}, {amounts}, ($3::bigint[])[v.lock] from unnest($1::{row}[]) as v"
        f" on conflict (tenant_id, {key}, segment) do update set {sums}"
    )


ADD_HOURLY = _add_to("hourly_usage", "hourly_usage_row", "hour, cost_center, agent_type, model")
ADD_DAILY = _add_to("daily_usage", "daily_usage_row", "day, user_id, agent_type, model, request_type")


def plan_bookings(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements for balances, holds, events and roll-ups; none for a table that does not change."""
    tenants = [tenant for tenant, _, _ in decided]
    instants = [now for _, now, _ in decided]
    writes: list[Write] = []
    if balances := _account_balances(decided):
        writes.append((UPDATE_ACCOUNTS, (balances, tenants, instants)))
    if given := _given_reservations(decided):
        writes.append((INSERT_RESERVATIONS, (given, tenants, instants)))
    if ended := _ended_reservations(decided):
        writes.append((END_RESERVATIONS, tuple(zip(*ended, strict=True))))
    if events := _events(decided):
        writes.append((INSERT_EVENTS, (events, tenants, instants)))
    if hourly := _hourly(decided):
        writes.append((ADD_HOURLY, (hourly, tenants, segments(decided))))
        writes.append((ADD_DAILY, (_daily(decided), tenants, segments(decided))))
    return writes


def facts_columns(facts: CallFacts) -> tuple[Any, ...]:
    """Return the facts of a call in the order of their columns."""
    if not facts.tags:
        return (*facts[:8], None)
    return (*facts[:8], json.dumps(dict(facts.tags)))


def _account_balances(decided: Sequence[Decided]) -> Rows:
    return [
        (
            lock, account_id, a.budget_id, a.subject, a.window_start, a.settled_tokens, a.settled_nanos,
            a.settled_calls, a.held_tokens, a.held_nanos, a.held_calls,
        )
        for lock, (_, _, writes) in enumerate(decided, start=1)
        for account_id, a in writes.changed_accounts.items()
    ]  # fmt: skip


def _given_reservations(decided: Sequence[Decided]) -> Rows:
    return [
        (
            lock, r.reservation_id, r.key, r.fingerprint, *facts_columns(r.facts), r.requested_model, r.input_tokens,
            r.cached_input_tokens, r.max_output_tokens, r.held_tokens, r.held_uncached_tokens, r.held_nanos,
            r.price_id, r.path, r.ttl_seconds, r.directive, r.warnings,
        )
        for lock, (_, _, writes) in enumerate(decided, start=1)
        for r in writes.new_reservations
    ]  # fmt: skip


def _ended_reservations(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, r.reservation_id, state, now, r.ended_id)
        for tenant, now, writes in decided
        for r, state in writes.ended_reservations
    ]


def _events(decided: Sequence[Decided]) -> Rows:
    return [
        (
            lock, e.event_id, e.source, e.key, e.fingerprint, None if e.occurred_at is now else e.occurred_at,
            e.reservation_id, *facts_columns(e.facts), *e.usage.counts, e.original_input_tokens, e.cost_nanos,
            e.price_id, e.path, e.overrun, e.late, e.estimated, e.unpriced, e.clamped, e.failed, e.response_id,
        )
        for lock, (_, now, writes) in enumerate(decided, start=1)
        for e in writes.events
    ]  # fmt: skip


def _hourly(decided: Sequence[Decided]) -> Rows:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for lock, (_, _, writes) in enumerate(decided, start=1):
        for (hour, _day, cost_center, _user, agent_type, model, _kind), amounts in writes.rollups.items():
            _add(sums, (lock, hour, cost_center, agent_type, model), amounts)
    return [(*key, *amounts) for key, amounts in sums.items()]


def _daily(decided: Sequence[Decided]) -> Rows:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for lock, (_, _, writes) in enumerate(decided, start=1):
        for (_hour, day, _cost_center, user, agent_type, model, kind), amounts in writes.rollups.items():
            _add(sums, (lock, day, user, agent_type, model, kind), amounts)
    return [(*key, *amounts) for key, amounts in sums.items()]


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], amounts: list[int]) -> None:
    found = sums.get(key)
    sums[key] = amounts if found is None else [a + b for a, b in zip(found, amounts, strict=True)]
