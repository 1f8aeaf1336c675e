"""Makes the core's values from rows. The column lists stand beside what reads them, so that both change together."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from token_ledger.core.account import Account, Grant
from token_ledger.core.audit import AuditEntry
from token_ledger.core.budget import Budget, Counts, Enforcement, Limits
from token_ledger.core.event import UsageEvent
from token_ledger.core.increase import Increase, IncreaseState
from token_ledger.core.loaded import KeptEvent
from token_ledger.core.outcomes import Code, Denial
from token_ledger.core.reservation import CallFacts, HoldState, Reservation
from token_ledger.core.run import Run, RunState, Step
from token_ledger.core.tenant import User
from token_ledger.core.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.usage import Usage
from token_ledger.core.window import CalendarRule, Window

Row = Mapping[str, Any]
NO_LIMITS = Limits()

FACT_COLUMNS = "user_id, cost_center, agent_type, request_type, provider, model, run_id, tool, tags"

RESERVATION_COLUMNS = f"""
tenant_id, reservation_id, state, {FACT_COLUMNS}, requested_model, input_tokens, cached_input_tokens,
max_output_tokens, held_tokens, held_uncached_tokens, held_nanos, price_id, path, created_at, expires_at,
ttl_seconds, ended_at, ended_id, event_id, directive, warnings, lease, held_calls, drawn_tokens,
drawn_uncached_tokens, drawn_nanos, drawn_calls, changes
"""

RUN_COLUMNS = """
tenant_id, run_id, external_id, user_id, cost_center, state, strict, limit_tokens, limit_nanos, limit_calls,
allocated, created_at, ended_at, ancestors, limit_iterations, iterations
"""

ACCOUNT_COLUMNS = """
tenant_id, account_id, budget_id, budget, subject, window_start, window_end, enforcement, counts,
limit_tokens, limit_nanos, limit_calls, settled_tokens, settled_nanos, settled_calls,
held_tokens, held_nanos, held_calls, base_tokens, base_nanos, base_calls, thresholds,
fired_tokens, fired_nanos, fired_calls, leases, grants_until, closed_at
"""

EVENT_COLUMNS = f"""
tenant_id, event_id, booked_at, occurred_at, posted_at, reservation_id, {FACT_COLUMNS}, input_tokens, output_tokens,
cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, original_input_tokens,
cost_nanos, price_id, path, overrun, late, estimated, unpriced, clamped, failed, response_id, calls, part
"""

DENIAL_COLUMNS = f"""
tenant_id, denial_id, {FACT_COLUMNS}, code, enforced, refusals, input_tokens, max_output_tokens,
fits_output_tokens, created_at
"""

KEPT_COLUMNS = "tenant_id, quarantine_id, source, key, code, detail, body"

BUDGET_COLUMNS = """
tenant_id, budget_id, name, selector, "window", enforcement, counts, limit_tokens, limit_nanos, limit_calls,
created_at, archived_at, thresholds, rollover_tokens, rollover_nanos, rollover_calls
"""

GRANT_COLUMNS = """
tenant_id, grant_id, account_id, tokens, nanos, calls, left_tokens, left_nanos, left_calls, mark, expires_at, reason,
actor, given_at, lapsed_at
"""

INCREASE_COLUMNS = """
tenant_id, increase_id, account_id, tokens, nanos, calls, reason, asked_by, asked_at, state, decided_by, decided_at,
note, grant_id
"""

STEP_COLUMNS = "tenant_id, step_id, run_id, iteration, label"

AUDIT_COLUMNS = "tenant_id, audit_id, actor, action, target, before, after"

USER_COLUMNS = "tenant_id, user_id, cost_centers"

TRIGGER_COLUMNS = """
tenant_id, trigger_id, kind, at_percent, mode, per_call_tokens, per_call_nanos, downgrades
"""


def of_table(alias: str, columns: str) -> str:
    """Return a column list with a table's alias before every name."""
    return ", ".join(f"{alias}.{column.strip()}" for column in columns.split(","))


def facts_from(columns: Sequence[Any]) -> CallFacts:
    """Make the facts of a call from `FACT_COLUMNS`."""
    user, cost_center, agent_type, request_type, provider, model, run_id, tool, tags = columns
    pairs = tuple(sorted(parsed(tags).items())) if tags else ()
    return CallFacts(user, cost_center, agent_type, request_type, provider, model, run_id, tool, pairs)


def reservation_from(columns: Sequence[Any]) -> Reservation:
    """Make a reservation from `RESERVATION_COLUMNS`."""
    fixed, ending = columns[12:24], columns[24:36]
    return Reservation(columns[1], facts_from(columns[3:12]), *fixed, HoldState(columns[2]), *ending)  # type: ignore[call-arg]


def run_from(row: Row) -> Run:
    """Make a run from `RUN_COLUMNS`."""
    return Run(
        run_id=row["run_id"],
        user=row["user_id"],
        cost_center=row["cost_center"],
        external_id=row["external_id"],
        strict=row["strict"],
        limits=Limits(row["limit_tokens"], row["limit_nanos"], row["limit_calls"]),
        allocated=parsed(row["allocated"]),
        created_at=row["created_at"],
        state=RunState(row["state"]),
        ended_at=row["ended_at"],
        ancestors=tuple(row["ancestors"]),
        limit_iterations=row["limit_iterations"],
        iterations=row["iterations"],
    )


def account_from(columns: Sequence[Any]) -> Account:
    """Make an account with its balance from `ACCOUNT_COLUMNS`."""
    (
        _, account_id, budget_id, budget, subject, start, end, enforcement, counts, tokens, nanos, calls,
        settled_tokens, settled_nanos, settled_calls, held_tokens, held_nanos, held_calls,
        base_tokens, base_nanos, base_calls, thresholds, *fired, leases, grants_until, closed_at,
    ) = columns  # fmt: skip
    account = Account(
        account_id, budget_id, budget, subject, start, end,
        Enforcement(enforcement), Counts(counts), Limits(tokens, nanos, calls),
    )  # fmt: skip
    account.settled_tokens, account.settled_nanos, account.settled_calls = settled_tokens, settled_nanos, settled_calls
    account.held_tokens, account.held_nanos, account.held_calls = held_tokens, held_nanos, held_calls
    base = Limits(base_tokens, base_nanos, base_calls)
    if base != NO_LIMITS:  # an account of the version before says nothing: it has the limit that it was opened with
        account.base = base
    account.leases, account.grants_until, account.closed_at = leases, grants_until, closed_at
    if thresholds:
        account.thresholds = tuple(thresholds)
        account.fired = (fired[0], fired[1], fired[2])
        account.arm()
    return account


def event_from(row: Row, facts: CallFacts) -> UsageEvent:
    """Make a usage event from `EVENT_COLUMNS`."""
    return UsageEvent(
        event_id=row["event_id"],
        reservation_id=row["reservation_id"],
        facts=facts,
        usage=Usage(
            row["input_tokens"], row["output_tokens"], row["cache_read_tokens"],
            row["cache_write_5m_tokens"], row["cache_write_1h_tokens"], row["reasoning_tokens"],
        ),
        cost_nanos=row["cost_nanos"],
        price_id=row["price_id"],
        path=row["path"],
        occurred_at=row["occurred_at"],
        posted_at=row["posted_at"],
        overrun=row["overrun"],
        late=row["late"],
        estimated=row["estimated"],
        unpriced=row["unpriced"],
        clamped=row["clamped"],
        failed=row["failed"],
        response_id=row["response_id"],
        original_input_tokens=row["original_input_tokens"],
        calls=row["calls"],
        part=row["part"],
    )  # fmt: skip


def denial_from(row: Row, facts: CallFacts) -> Denial:
    """Make a denial from `DENIAL_COLUMNS`."""
    return Denial(
        row["denial_id"], facts, Code(row["code"]), row["enforced"], parsed(row["refusals"]),
        row["input_tokens"], row["max_output_tokens"], row["fits_output_tokens"], row["created_at"],
    )  # fmt: skip


def kept_from(row: Row) -> KeptEvent:
    """Make a quarantined event from `KEPT_COLUMNS`."""
    return KeptEvent(row["quarantine_id"], row["source"], row["key"], row["code"], row["detail"], row["body"])


def budget_from(row: Row) -> Budget:
    """Make a budget from `BUDGET_COLUMNS`."""
    rollover = Limits(row["rollover_tokens"], row["rollover_nanos"], row["rollover_calls"])
    return Budget(
        budget_id=row["budget_id"],
        name=row["name"],
        selector=tuple(sorted(parsed(row["selector"]).items())),
        limits=Limits(row["limit_tokens"], row["limit_nanos"], row["limit_calls"]),
        window=Window(row["window"]),
        enforcement=Enforcement(row["enforcement"]),
        counts=Counts(row["counts"]),
        thresholds=tuple(row["thresholds"]),
        rollover=None if rollover == NO_LIMITS else rollover,
        created_at=row["created_at"],
    )


def trigger_from(row: Row) -> Trigger:
    """Make a trigger from `TRIGGER_COLUMNS`."""
    steps = (Downgrade(**{**step, "capabilities": tuple(step["capabilities"])}) for step in parsed(row["downgrades"]))
    return Trigger(
        row["trigger_id"], TriggerKind(row["kind"]), row["at_percent"], Mode(row["mode"]),
        row["per_call_tokens"], row["per_call_nanos"], tuple(steps),
    )  # fmt: skip


def grant_from(row: Sequence[Any]) -> Grant:
    """Make a grant from `GRANT_COLUMNS`."""
    _, grant_id, account_id, tokens, nanos, calls, left_tokens, left_nanos, left_calls, mark, *rest = row
    left = Limits(left_tokens, left_nanos, left_calls)
    return Grant(grant_id, account_id, Limits(tokens, nanos, calls), left, (mark[0], mark[1], mark[2]), *rest)


def increase_from(row: Sequence[Any]) -> Increase:
    """Make an increase from `INCREASE_COLUMNS`."""
    _, increase_id, account_id, tokens, nanos, calls, reason, asked_by, asked_at, state, *rest = row
    amounts = Limits(tokens, nanos, calls)
    return Increase(increase_id, account_id, amounts, reason, asked_by, asked_at, IncreaseState(state), *rest)


def step_from(row: Sequence[Any]) -> Step:
    """Make a step from `STEP_COLUMNS`."""
    _, step_id, run_id, iteration, label = row
    return Step(step_id, run_id, iteration, label)


def audit_from(row: Sequence[Any]) -> AuditEntry:
    """Make an entry of the audit log from `AUDIT_COLUMNS`."""
    _, audit_id, actor, action, target, before, after = row
    return AuditEntry(audit_id, actor, action, target, parsed(before), parsed(after))


def user_from(row: Sequence[Any]) -> User:
    """Make a user from `USER_COLUMNS`."""
    dated = [
        (datetime.fromisoformat(each["from"]) if each["from"] else None, each["cost_center"]) for each in parsed(row[2])
    ]
    return User(row[1], tuple(dated))


def rule_from(row: Row) -> CalendarRule:
    """Make a calendar rule from the columns `time_zone`, `week_start` and `fiscal_month`."""
    return CalendarRule(ZoneInfo(row["time_zone"]), row["week_start"], row["fiscal_month"])


def parsed(value: Any) -> Any:
    """Return a JSON column's value: asyncpg hands over text, SQLAlchemy what it has parsed already."""
    return json.loads(value) if isinstance(value, str) else value
