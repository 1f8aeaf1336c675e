"""Writes what changes limits, and what few batches do to holds: leases, parts of calls, extensions (design D6, D8)."""

from collections.abc import Sequence

from token_ledger.core.account import Grant
from token_ledger.storage.bookings import Decided, Rows, Write, facts_columns
from token_ledger.storage.statements import array_text, insert_from_arrays, plan_rows, update_from_arrays

_FACTS = (
    "user_id text, cost_center text, agent_type text, request_type text, provider text, model text, run_id bigint,"
    " tool text, tags jsonb"
)

UPDATE_TERMS = update_from_arrays(
    "accounts",
    "tenant_id bigint, account_id bigint",
    "limit_tokens bigint, limit_nanos bigint, limit_calls bigint, base_tokens bigint, base_nanos bigint,"
    " base_calls bigint, enforcement text, fired_tokens smallint, fired_nanos smallint, fired_calls smallint,"
    " leases integer, grants_until timestamptz, closed_at timestamptz",
)

INSERT_LIMIT_ENTRIES = insert_from_arrays(
    "limit_entries",
    "tenant_id bigint, account_id bigint, entry_id bigint, kind text, tokens bigint, nanos bigint, calls bigint,"
    " hard smallint, reason text, actor text, booked_at timestamptz",
)

INSERT_THRESHOLDS = insert_from_arrays(
    "threshold_events",
    "tenant_id bigint, threshold_id bigint, account_id bigint, unit text, percent smallint, fired boolean,"
    " settled bigint, limit_amount bigint, booked_at timestamptz",
)

INSERT_GRANTS = insert_from_arrays(
    "grants",
    "tenant_id bigint, grant_id bigint, account_id bigint, tokens bigint, nanos bigint, calls bigint,"
    " left_tokens bigint, left_nanos bigint, left_calls bigint, mark text::bigint[], expires_at timestamptz,"
    " reason text, actor text, given_at timestamptz, lapsed_at timestamptz",
)

UPDATE_GRANTS = update_from_arrays(
    "grants",
    "tenant_id bigint, grant_id bigint",
    "left_tokens bigint, left_nanos bigint, left_calls bigint, mark text::bigint[], lapsed_at timestamptz",
)

SET_INCREASES = (
    insert_from_arrays(
        "increases",
        "tenant_id bigint, increase_id bigint, account_id bigint, tokens bigint, nanos bigint, calls bigint,"
        " reason text, asked_by text, asked_at timestamptz, state text, decided_by text, decided_at timestamptz,"
        " note text, grant_id bigint",
    )
    + " on conflict (tenant_id, increase_id) do update set state = excluded.state, decided_by = excluded.decided_by,"
    " decided_at = excluded.decided_at, note = excluded.note, grant_id = excluded.grant_id"
)

INSERT_LEASES = insert_from_arrays(
    "reservations",
    f"tenant_id bigint, reservation_id bigint, state text, {_FACTS}, requested_model text, input_tokens bigint,"
    " cached_input_tokens bigint, max_output_tokens bigint, held_tokens bigint, held_uncached_tokens bigint,"
    " held_nanos bigint, price_id bigint, path text::bigint[], created_at timestamptz, expires_at timestamptz,"
    " ttl_seconds integer, directive jsonb, warnings jsonb, lease boolean, held_calls bigint",
)

UPDATE_HOLDS = update_from_arrays(
    "reservations",
    "tenant_id bigint, reservation_id bigint",
    "expires_at timestamptz, drawn_tokens bigint, drawn_uncached_tokens bigint, drawn_nanos bigint,"
    " drawn_calls bigint, changes integer",
)

INSERT_PARTS = insert_from_arrays(
    "usage_events",
    "tenant_id bigint, event_id bigint, booked_at timestamptz, occurred_at timestamptz, posted_at timestamptz,"
    f" reservation_id bigint, {_FACTS}, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint,"
    " cache_write_5m_tokens bigint, cache_write_1h_tokens bigint, reasoning_tokens bigint,"
    " original_input_tokens bigint, cost_nanos bigint, price_id bigint, path text::bigint[], overrun boolean,"
    " late boolean, estimated boolean, unpriced boolean, clamped boolean, failed boolean, response_id text,"
    " calls smallint, part boolean",
)

INSERT_PART_KEYS = insert_from_arrays(
    "operation_keys",
    "tenant_id bigint, source text, key text, fingerprint bytea, answer text, target_id bigint, booked_at timestamptz",
)


def plan_limits(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements for limits, thresholds, grants, leases and parts; none for a table that does not change."""
    return plan_rows(
        [
            (INSERT_LEASES, _leases(decided)),
            (UPDATE_HOLDS, _changed_holds(decided)),
            (INSERT_PARTS, _parts(decided)),
            (INSERT_PART_KEYS, _part_keys(decided)),
            (UPDATE_TERMS, _terms(decided)),
            (INSERT_LIMIT_ENTRIES, _limit_entries(decided)),
            (INSERT_THRESHOLDS, _thresholds(decided)),
            (INSERT_GRANTS, _new_grants(decided)),
            (UPDATE_GRANTS, _changed_grants(decided)),
            (SET_INCREASES, _increases(decided)),
        ]
    )


def _terms(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, a.account_id, *a.limits.amounts, *a.base.amounts, a.enforcement, *a.fired, a.leases,
            a.grants_until, a.closed_at,
        )
        for tenant, _, writes in decided
        for a in writes.changed_terms.values()
    ]  # fmt: skip


def _limit_entries(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, e.account_id, e.entry_id, e.kind, *e.by.amounts, e.hard, e.reason, e.actor, now)
        for tenant, now, writes in decided
        for e in writes.limit_entries
    ]


def _thresholds(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, t.threshold_id, t.account_id, t.unit, t.percent, t.fired, t.settled, t.limit, now)
        for tenant, now, writes in decided
        for t in writes.thresholds
    ]


def _new_grants(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, g.grant_id, g.account_id, *g.amounts.amounts, *g.left.amounts, array_text(g.mark), g.expires_at,
            g.reason, g.actor, g.given_at, g.lapsed_at,
        )
        for tenant, _, writes in decided
        for g in writes.new_grants
    ]  # fmt: skip


def _changed_grants(decided: Sequence[Decided]) -> Rows:
    def row(tenant: int, grant: Grant) -> tuple[object, ...]:
        return tenant, grant.grant_id, *grant.left.amounts, array_text(grant.mark), grant.lapsed_at

    return [row(tenant, grant) for tenant, _, writes in decided for grant in writes.changed_grants.values()]


def _increases(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, i.increase_id, i.account_id, *i.amounts.amounts, i.reason, i.asked_by, i.asked_at, i.state,
            i.decided_by, i.decided_at, i.note, i.grant_id,
        )
        for tenant, _, writes in decided
        for i in writes.increases.values()
    ]  # fmt: skip


def _leases(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, r.reservation_id, "held", *facts_columns(r.facts), r.requested_model, r.input_tokens,
            r.cached_input_tokens, r.max_output_tokens, r.held_tokens, r.held_uncached_tokens, r.held_nanos,
            r.price_id, array_text(r.path), r.created_at, r.expires_at, r.ttl_seconds, r.directive, r.warnings, True,
            r.held_calls,
        )
        for tenant, _, writes in decided
        for r in writes.new_leases
    ]  # fmt: skip


def _changed_holds(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, r.reservation_id, r.expires_at, r.drawn_tokens, r.drawn_uncached_tokens, r.drawn_nanos,
            r.drawn_calls, r.changes,
        )
        for tenant, _, writes in decided
        for r in writes.changed_reservations.values()
    ]  # fmt: skip


def _parts(decided: Sequence[Decided]) -> Rows:
    return [
        (
            tenant, e.event_id, now, e.occurred_at, e.posted_at, e.reservation_id, *facts_columns(e.facts),
            *e.usage.counts, e.original_input_tokens, e.cost_nanos, e.price_id, array_text(e.path), e.overrun, e.late,
            e.estimated, e.unpriced, e.clamped, e.failed, e.response_id, e.calls, True,
        )
        for tenant, now, writes in decided
        for e in writes.parts
    ]  # fmt: skip


def _part_keys(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, e.source, e.key, e.fingerprint, "event", e.event_id, now)
        for tenant, now, writes in decided
        for e in writes.parts
    ]
