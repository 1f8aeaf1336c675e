"""Writes what a batch decided: set-based, one statement a table, for all tenants of the batch at once.

Rows are tuples in the order of the statement's arrays. Paths travel as array text, because an array of arrays would
be flattened by unnest.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from token_ledger.core.books import Writes
from token_ledger.core.reservation import CallFacts
from token_ledger.core.tenant import TenantId
from token_ledger.core.trigger import advice_value

Decided = tuple[TenantId, datetime, Writes]
"""A tenant, the instant of its batch and what the batch changes."""


def _insert(table: str, columns: str) -> str:
    """Return the statement that inserts rows from arrays. `columns`: "name type, …"; "sent>wanted" casts."""
    names, arrays, values = [], [], []
    for position, column in enumerate(columns.split(","), start=1):
        name, kind = column.split()
        sent, _, cast = kind.partition(">")
        names.append(name)
        arrays.append(f"${position}::{sent}[]")
        values.append(f"{name}::{cast}" if cast else name)
    return (
        f"insert into {table} ({', '.join(names)}) select {', '.join(values)}"
        f" from unnest({', '.join(arrays)}) as v ({', '.join(names)})"
    )


_FACTS = (
    "user_id text, cost_center text, agent_type text, request_type text, provider text, model text, run_id bigint,"
    " tool text, tags jsonb"
)
_AMOUNTS = (
    "calls bigint, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,"
    " reasoning_tokens bigint, cost_nanos bigint"
)
_ADD_AMOUNTS = "do update set " + ", ".join(
    f"{name} = t.{name} + excluded.{name}" for name in (part.split()[0] for part in _AMOUNTS.split(","))
)

INSERT_KEYS = _insert(
    "operation_keys",
    "tenant_id bigint, source text, key text, fingerprint bytea, answer text, target_id bigint, booked_at timestamptz",
)

INSERT_ACCOUNTS = _insert(
    "accounts",
    "tenant_id bigint, account_id bigint, budget_id bigint, budget text, subject text, window_start timestamptz,"
    " window_end timestamptz, enforcement text, counts text, limit_tokens bigint, limit_nanos bigint,"
    " limit_calls bigint",
)

INSERT_LIMIT_ENTRIES = _insert(
    "limit_entries",
    "tenant_id bigint, account_id bigint, entry_id bigint, kind text, tokens bigint, nanos bigint, calls bigint,"
    " booked_at timestamptz",
)

UPDATE_ACCOUNTS = """
update accounts as a
set settled_tokens = v.settled_tokens, settled_nanos = v.settled_nanos, settled_calls = v.settled_calls,
    held_tokens = v.held_tokens, held_nanos = v.held_nanos, held_calls = v.held_calls
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[])
     as v (tenant_id, account_id, settled_tokens, settled_nanos, settled_calls, held_tokens, held_nanos, held_calls)
where a.tenant_id = v.tenant_id and a.account_id = v.account_id
"""

INSERT_RESERVATIONS = _insert(
    "reservations",
    f"tenant_id bigint, reservation_id bigint, state text, {_FACTS}, requested_model text, input_tokens bigint,"
    " cached_input_tokens bigint, max_output_tokens bigint, held_tokens bigint, held_uncached_tokens bigint,"
    " held_nanos bigint, price_id bigint, path text>bigint[], created_at timestamptz, expires_at timestamptz,"
    " ttl_seconds integer, directive jsonb, warnings jsonb",
)

UPDATE_RESERVATIONS = """
update reservations as r
set state = v.state, ended_at = v.ended_at, ended_id = v.ended_id, event_id = v.event_id
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[])
     as v (tenant_id, reservation_id, state, ended_at, ended_id, event_id)
where r.tenant_id = v.tenant_id and r.reservation_id = v.reservation_id
"""

INSERT_EVENTS = _insert(
    "usage_events",
    f"tenant_id bigint, event_id bigint, booked_at timestamptz, occurred_at timestamptz, posted_at timestamptz,"
    f" reservation_id bigint, {_FACTS}, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint,"
    " cache_write_5m_tokens bigint, cache_write_1h_tokens bigint, reasoning_tokens bigint,"
    " original_input_tokens bigint, cost_nanos bigint, price_id bigint, path text>bigint[], overrun boolean,"
    " late boolean, estimated boolean, unpriced boolean, clamped boolean, failed boolean, response_id text",
)

INSERT_DENIALS = _insert(
    "denials",
    f"tenant_id bigint, denial_id bigint, {_FACTS}, code text, enforced boolean, refusals jsonb, input_tokens bigint,"
    " max_output_tokens bigint, fits_output_tokens bigint, created_at timestamptz",
)

INSERT_FIRINGS = _insert(
    "trigger_firings",
    "tenant_id bigint, reservation_id bigint, trigger text, technique text, applied boolean, evidence jsonb,"
    " fired_at timestamptz",
)

INSERT_KEPT = _insert(
    "quarantine",
    "tenant_id bigint, quarantine_id bigint, source text, key text, code text, detail text, body jsonb,"
    " kept_at timestamptz",
)

INSERT_RUNS = _insert(
    "runs",
    "tenant_id bigint, run_id bigint, external_id text, user_id text, cost_center text, state text, strict boolean,"
    " limit_tokens bigint, limit_nanos bigint, limit_calls bigint, allocated jsonb, created_at timestamptz,"
    " ended_at timestamptz",
)

UPDATE_RUNS = """
update runs as r set state = v.state, ended_at = v.ended_at
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[]) as v (tenant_id, run_id, state, ended_at)
where r.tenant_id = v.tenant_id and r.run_id = v.run_id
"""

INSERT_BUDGETS = _insert(
    "budgets",
    'tenant_id bigint, budget_id bigint, name text, selector jsonb, "window" text, enforcement text, counts text,'
    " limit_tokens bigint, limit_nanos bigint, limit_calls bigint, created_at timestamptz",
)

ARCHIVE_BUDGETS = """
update budgets as b set archived_at = v.archived_at
from unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) as v (tenant_id, budget_id, archived_at)
where b.tenant_id = v.tenant_id and b.budget_id = v.budget_id
"""

SET_TRIGGERS = (
    _insert(
        "triggers",
        "tenant_id bigint, trigger_id bigint, kind text, at_percent smallint, mode text, per_call_tokens bigint,"
        " per_call_nanos bigint, downgrades jsonb, set_at timestamptz",
    )
    + " on conflict (tenant_id, kind) do update set trigger_id = excluded.trigger_id,"
    " at_percent = excluded.at_percent, mode = excluded.mode, per_call_tokens = excluded.per_call_tokens,"
    " per_call_nanos = excluded.per_call_nanos, downgrades = excluded.downgrades, set_at = excluded.set_at"
)

RAISE_CONFIG_VERSIONS = (
    "update tenant_ledgers set config_version = config_version + 1 where tenant_id = any($1::bigint[])"
)

ADD_HOURLY = (
    _insert(
        "hourly_usage as t",
        f"tenant_id bigint, hour timestamptz, cost_center text, agent_type text, model text, {_AMOUNTS}",
    )
    + f" on conflict (tenant_id, hour, cost_center, agent_type, model) {_ADD_AMOUNTS}"
)

ADD_DAILY = (
    _insert(
        "daily_usage as t",
        f"tenant_id bigint, day timestamptz, user_id text, agent_type text, model text, request_type text, {_AMOUNTS}",
    )
    + f" on conflict (tenant_id, day, user_id, agent_type, model, request_type) {_ADD_AMOUNTS}"
)

ADD_DAILY_TAGS = (
    _insert("daily_tag_usage as t", f"tenant_id bigint, day timestamptz, tag text, value text, {_AMOUNTS}")
    + f" on conflict (tenant_id, day, tag, value) {_ADD_AMOUNTS}"
)


async def write(connection: Any, decided: Sequence[Decided]) -> None:
    """Write the changes of all tenants of a batch; nothing is sent for a table that does not change."""

    async def send(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            await connection.execute(statement, *zip(*rows, strict=True))

    await send(INSERT_ACCOUNTS, _new_accounts(decided))
    await send(INSERT_LIMIT_ENTRIES, _limit_entries(decided))
    await send(UPDATE_ACCOUNTS, _account_balances(decided))
    await send(INSERT_RESERVATIONS, _new_reservations(decided))
    await send(UPDATE_RESERVATIONS, _ended_reservations(decided))
    await send(INSERT_EVENTS, _events(decided))
    await send(INSERT_KEYS, _keys(decided))
    await send(ADD_HOURLY, _hourly(decided))
    await send(ADD_DAILY, _daily(decided))
    await send(ADD_DAILY_TAGS, _daily_tags(decided))
    await send(INSERT_DENIALS, _denials(decided))
    await send(INSERT_FIRINGS, _firings(decided))
    await send(INSERT_KEPT, _kept(decided))
    await send(INSERT_RUNS, _new_runs(decided))
    await send(UPDATE_RUNS, _ended_runs(decided))
    await send(INSERT_BUDGETS, _new_budgets(decided))
    await send(ARCHIVE_BUDGETS, _archived_budgets(decided))
    await send(SET_TRIGGERS, _triggers(decided))
    raised = [int(tenant) for tenant, _, writes in decided if writes.config_changed]
    if raised:
        await connection.execute(RAISE_CONFIG_VERSIONS, raised)


Rows = list[tuple[Any, ...]]


def _facts(facts: CallFacts) -> tuple[Any, ...]:
    return (
        facts.user, facts.cost_center, facts.agent_type, facts.request_type, facts.provider, facts.model,
        facts.run_id, facts.tool, json.dumps(dict(facts.tags)) if facts.tags else None,
    )  # fmt: skip


def _path(path: Iterable[int]) -> str:
    return "{" + ",".join(map(str, path)) + "}"


def _keys(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, command.source, command.key, command.fingerprint, answer, target_id, now)
        for tenant, now, writes in decided
        for command, answer, target_id in writes.keys
    ]


def _new_accounts(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, a.account_id, a.budget_id, a.budget, a.subject, a.window_start, a.window_end,
            a.enforcement, a.counts, a.limit_tokens, a.limit_nanos, a.limit_calls,
        )
        for tenant, _, writes in decided
        for a in writes.new_accounts
    ]  # fmt: skip


def _limit_entries(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, a.account_id, a.account_id, "opening", a.limit_tokens, a.limit_nanos, a.limit_calls, now)
        for tenant, now, writes in decided
        for a in writes.new_accounts
    ]


def _account_balances(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, account_id, a.settled_tokens, a.settled_nanos, a.settled_calls,
            a.held_tokens, a.held_nanos, a.held_calls,
        )
        for tenant, _, writes in decided
        for account_id, a in writes.changed_accounts.items()
    ]  # fmt: skip


def _new_reservations(decided: Sequence[Decided]) -> Rows:
    # As they were given: one that ends in the same batch is ended by its own update.
    return [
        (
            tenant, r.reservation_id, "held", *_facts(r.facts), r.requested_model, r.input_tokens,
            r.cached_input_tokens, r.max_output_tokens, r.held_tokens, r.held_uncached_tokens, r.held_nanos,
            r.price_id, _path(r.path), r.created_at, r.expires_at, r.ttl_seconds, r.directive, r.warnings,
        )
        for tenant, _, writes in decided
        for r in writes.new_reservations
    ]  # fmt: skip


def _ended_reservations(decided: Sequence[Decided]) -> Rows:
    # A hold can expire and be settled late in one batch: its last state is the one to write.
    return [
        (tenant, r.reservation_id, r.state, r.ended_at, r.ended_id, r.event_id)
        for tenant, _, writes in decided
        for r in {r.reservation_id: r for r in writes.ended_reservations}.values()
    ]


def _events(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, e.event_id, now, e.occurred_at, e.posted_at, e.reservation_id, *_facts(e.facts),
            e.usage.input_tokens, e.usage.output_tokens, e.usage.cache_read_tokens, e.usage.cache_write_5m_tokens,
            e.usage.cache_write_1h_tokens, e.usage.reasoning_tokens, e.original_input_tokens, e.cost_nanos,
            e.price_id, _path(e.path), e.overrun, e.late, e.estimated, e.unpriced, e.clamped, e.failed,
            e.response_id,
        )
        for tenant, now, writes in decided
        for e in writes.events
    ]  # fmt: skip


def _hourly(decided: Sequence[Decided]) -> Rows:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for tenant, _, writes in decided:
        for (hour, _day, cost_center, _user, agent_type, model, _kind), amounts in writes.rollups.items():
            _add(sums, (tenant, hour, cost_center, agent_type, model), amounts)
    return [(*key, *amounts) for key, amounts in sums.items()]


def _daily(decided: Sequence[Decided]) -> Rows:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for tenant, _, writes in decided:
        for (_hour, day, _cost_center, user, agent_type, model, kind), amounts in writes.rollups.items():
            _add(sums, (tenant, day, user, agent_type, model, kind), amounts)
    return [(*key, *amounts) for key, amounts in sums.items()]


def _daily_tags(decided: Sequence[Decided]) -> Rows:
    return [(tenant, *key, *amounts) for tenant, _, writes in decided for key, amounts in writes.tag_rollups.items()]


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], amounts: list[int]) -> None:
    found = sums.get(key)
    sums[key] = amounts if found is None else [a + b for a, b in zip(found, amounts, strict=True)]


def _denials(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, d.denial_id, *_facts(d.facts), d.code, d.enforced, json.dumps(d.refusals), d.input_tokens,
            d.max_output_tokens, d.fits_output_tokens, d.created_at,
        )
        for tenant, _, writes in decided
        for d in writes.denials
    ]  # fmt: skip


def _firings(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, reservation_id, a.kind, a.technique, a.applied, json.dumps(advice_value(a)["evidence"]), now)
        for tenant, now, writes in decided
        for reservation_id, _, a in writes.firings
    ]


def _kept(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, k.quarantine_id, k.source, k.key, k.code, k.detail, k.body, now)
        for tenant, now, writes in decided
        for k in writes.kept
    ]


def _new_runs(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, r.run_id, r.external_id, r.user, r.cost_center, r.state, r.strict, r.limits.tokens,
            r.limits.nanos, r.limits.calls, json.dumps(r.allocated), r.created_at, r.ended_at,
        )
        for tenant, _, writes in decided
        for r in writes.new_runs
    ]  # fmt: skip


def _ended_runs(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, r.run_id, r.state, r.ended_at)
        for tenant, _, writes in decided
        for r in {r.run_id: r for r in writes.ended_runs}.values()
    ]


def _new_budgets(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, b.budget_id, b.name, json.dumps(dict(b.selector)), b.window, b.enforcement, b.counts,
            b.limits.tokens, b.limits.nanos, b.limits.calls, now,
        )
        for tenant, now, writes in decided
        for b in writes.new_budgets
    ]  # fmt: skip


def _archived_budgets(decided: Sequence[Decided]) -> Rows:
    return [(tenant, b.budget_id, now) for tenant, now, writes in decided for b in writes.archived_budgets]


def _triggers(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, t.trigger_id, t.kind, t.at_percent, t.mode, t.per_call_tokens, t.per_call_nanos,
            json.dumps([_step(step) for step in t.downgrades]), now,
        )
        for tenant, now, writes in decided
        for t in {t.kind: t for t in writes.triggers}.values()
    ]  # fmt: skip


def _step(step: Any) -> dict[str, Any]:
    return {
        "provider": step.provider,
        "model": step.model,
        "to_provider": step.to_provider,
        "to_model": step.to_model,
        "capabilities": list(step.capabilities),
        "context_tokens": step.context_tokens,
    }
