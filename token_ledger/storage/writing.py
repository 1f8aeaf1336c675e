"""Writes what a batch decided, for all tenants of the batch at once: what few batches write is here.

One statement a table; rows are tuples in the order of the statement's columns.
"""

import json
from collections.abc import Sequence
from typing import Any

from token_ledger.core.trigger import advice_value
from token_ledger.storage.bookings import Decided, Rows, Write, facts_columns, plan_bookings


def _insert(table: str, columns: str) -> str:
    """Return the statement that inserts rows from an array for every column; `columns` reads "name type, …"."""
    named = [column.split() for column in columns.split(",")]
    names = ", ".join(name for name, _ in named)
    arrays = ", ".join(f"${position}::{kind}[]" for position, (_, kind) in enumerate(named, start=1))
    return f"insert into {table} ({names}) select {names} from unnest({arrays}) as v ({names})"


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

ADD_DAILY_TAGS = (
    _insert("daily_tag_usage as t", f"tenant_id bigint, day timestamptz, tag text, value text, {_AMOUNTS}")
    + f" on conflict (tenant_id, day, tag, value) {_ADD_AMOUNTS}"
)


def plan_writes(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements that write the changes of all tenants of a batch, in order, with copies of all values.

    What a batch decides on may change once its writes are planned: the next batch is decided on top of it.
    """
    writes = _plan([(INSERT_ACCOUNTS, _new_accounts(decided)), (INSERT_LIMIT_ENTRIES, _limit_entries(decided))])
    writes += plan_bookings(decided)
    writes += _plan(
        [
            (INSERT_KEYS, _keys(decided)),
            (ADD_DAILY_TAGS, _daily_tags(decided)),
            (INSERT_DENIALS, _denials(decided)),
            (INSERT_FIRINGS, _firings(decided)),
            (INSERT_KEPT, _kept(decided)),
            (INSERT_RUNS, _new_runs(decided)),
            (UPDATE_RUNS, _ended_runs(decided)),
            (INSERT_BUDGETS, _new_budgets(decided)),
            (ARCHIVE_BUDGETS, _archived_budgets(decided)),
            (SET_TRIGGERS, _triggers(decided)),
        ]
    )
    raised = [int(tenant) for tenant, _, writes_of in decided if writes_of.config_changed]
    if raised:
        writes.append((RAISE_CONFIG_VERSIONS, (raised,)))
    return writes


async def send(connection: Any, writes: Sequence[Write]) -> None:
    """Send planned statements in order."""
    for statement, arguments in writes:
        await connection.execute(statement, *arguments)


def _plan(tables: Sequence[tuple[str, Rows]]) -> list[Write]:
    return [(statement, tuple(zip(*rows, strict=True))) for statement, rows in tables if rows]


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


def _daily_tags(decided: Sequence[Decided]) -> Rows:
    return [(tenant, *key, *amounts) for tenant, _, writes in decided for key, amounts in writes.tag_rollups.items()]


def _denials(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, d.denial_id, *facts_columns(d.facts), d.code, d.enforced, json.dumps(d.refusals), d.input_tokens,
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
