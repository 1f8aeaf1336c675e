"""Writes what a batch decided, for all tenants of the batch at once: what few batches write is here.

One statement a table; rows are tuples in the order of the statement's columns.
"""

import json
from collections.abc import Sequence
from typing import Any

from token_ledger.core.trigger import advice_value
from token_ledger.storage.bookings import Decided, Rows, Write, facts_columns, plan_bookings, segments
from token_ledger.storage.limit_writes import plan_limits
from token_ledger.storage.setup_writes import plan_setup
from token_ledger.storage.statements import array_text, insert_from_arrays, plan_rows, update_from_arrays

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

INSERT_KEYS = insert_from_arrays(
    "operation_keys",
    "tenant_id bigint, source text, key text, fingerprint bytea, answer text, target_id bigint, booked_at timestamptz",
)

INSERT_ACCOUNTS = insert_from_arrays(
    "accounts",
    "tenant_id bigint, account_id bigint, budget_id bigint, budget text, subject text, window_start timestamptz,"
    " window_end timestamptz, enforcement text, counts text, limit_tokens bigint, limit_nanos bigint,"
    " limit_calls bigint, base_tokens bigint, base_nanos bigint, base_calls bigint, thresholds text::smallint[]",
)

INSERT_DENIALS = insert_from_arrays(
    "denials",
    f"tenant_id bigint, denial_id bigint, {_FACTS}, code text, enforced boolean, refusals jsonb, input_tokens bigint,"
    " max_output_tokens bigint, fits_output_tokens bigint, created_at timestamptz",
)

INSERT_FIRINGS = insert_from_arrays(
    "trigger_firings",
    "tenant_id bigint, reservation_id bigint, trigger text, technique text, applied boolean, evidence jsonb,"
    " fired_at timestamptz",
)

INSERT_KEPT = insert_from_arrays(
    "quarantine",
    "tenant_id bigint, quarantine_id bigint, source text, key text, code text, detail text, body jsonb,"
    " kept_at timestamptz",
)

INSERT_RUNS = insert_from_arrays(
    "runs",
    "tenant_id bigint, run_id bigint, external_id text, user_id text, cost_center text, state text, strict boolean,"
    " limit_tokens bigint, limit_nanos bigint, limit_calls bigint, allocated jsonb, created_at timestamptz,"
    " ended_at timestamptz, ancestors text::bigint[], limit_iterations bigint, iterations bigint",
)

UPDATE_RUNS = update_from_arrays(
    "runs",
    "tenant_id bigint, run_id bigint",
    "state text, ended_at timestamptz, limit_tokens bigint, limit_nanos bigint, limit_calls bigint, allocated jsonb,"
    " limit_iterations bigint, iterations bigint",
)

INSERT_STEPS = insert_from_arrays(
    "run_steps",
    "tenant_id bigint, step_id bigint, run_id bigint, iteration bigint, label text, booked_at timestamptz",
)

ADD_DAILY_TAGS = (
    insert_from_arrays(
        "daily_tag_usage as t",
        f"tenant_id bigint, segment bigint, day timestamptz, tag text, value text, {_AMOUNTS}",
    )
    + f" on conflict (tenant_id, day, tag, value, segment) {_ADD_AMOUNTS}"
)

ADD_RUN_USAGE = (
    insert_from_arrays(
        "run_usage as t",
        f"tenant_id bigint, segment bigint, run_id bigint, agent_type text, tool text, model text, {_AMOUNTS}",
    )
    + f" on conflict (tenant_id, run_id, agent_type, tool, model, segment) {_ADD_AMOUNTS}"
)


def plan_writes(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements that write the changes of all tenants of a batch, in order, with copies of all values.

    What a batch decides on may change once its writes are planned: the next batch is decided on top of it.
    """
    writes = plan_rows([(INSERT_ACCOUNTS, _new_accounts(decided))])
    writes += plan_bookings(decided)
    writes += plan_limits(decided)
    writes += plan_rows(
        [
            (INSERT_KEYS, _keys(decided)),
            (ADD_DAILY_TAGS, _daily_tags(decided)),
            (ADD_RUN_USAGE, _run_usage(decided)),
            (INSERT_DENIALS, _denials(decided)),
            (INSERT_FIRINGS, _firings(decided)),
            (INSERT_KEPT, _kept(decided)),
            (INSERT_RUNS, _new_runs(decided)),
            (UPDATE_RUNS, _changed_runs(decided)),
            (INSERT_STEPS, _steps(decided)),
        ]
    )
    return writes + plan_setup(decided)


async def send(connection: Any, writes: Sequence[Write]) -> None:
    """Send planned statements in order."""
    for statement, arguments in writes:
        await connection.execute(statement, *arguments)


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
            a.enforcement, a.counts, a.limit_tokens, a.limit_nanos, a.limit_calls, *a.base.amounts,
            array_text(a.thresholds),
        )
        for tenant, _, writes in decided
        for a in writes.new_accounts
    ]  # fmt: skip


def _daily_tags(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, segment, *key, *amounts)
        for (tenant, _, writes), segment in zip(decided, segments(decided), strict=True)
        for key, amounts in writes.tag_rollups.items()
    ]


def _run_usage(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, segment, *key, *amounts)
        for (tenant, _, writes), segment in zip(decided, segments(decided), strict=True)
        for key, amounts in writes.run_rollups.items()
    ]


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
            r.limits.nanos, r.limits.calls, json.dumps(r.allocated), r.created_at, r.ended_at, array_text(r.ancestors),
            r.limit_iterations, r.iterations,
        )
        for tenant, _, writes in decided
        for r in writes.new_runs
    ]  # fmt: skip


def _changed_runs(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, r.run_id, r.state, r.ended_at, r.limits.tokens, r.limits.nanos, r.limits.calls,
            json.dumps(r.allocated), r.limit_iterations, r.iterations,
        )
        for tenant, _, writes in decided
        for r in writes.changed_runs.values()
    ]  # fmt: skip


def _steps(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, s.step_id, s.run_id, s.iteration, s.label, now)
        for tenant, now, writes in decided
        for s in writes.steps
    ]
