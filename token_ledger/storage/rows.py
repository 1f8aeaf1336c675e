"""Makes the core's values from rows. The column lists stand beside what reads them, so that both change together."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from token_ledger.core.loaded import KeptEvent
from token_ledger.core.account import Account
from token_ledger.core.budget import Budget, Counts, Enforcement, Limits
from token_ledger.core.event import UsageEvent
from token_ledger.core.outcomes import Code, Denial
from token_ledger.core.reservation import CallFacts, HoldState, Reservation
from token_ledger.core.run import Run, RunState
from token_ledger.core.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.usage import Usage
from token_ledger.core.window import Window

Row = Mapping[str, Any]

FACT_COLUMNS = "user_id, cost_center, agent_type, request_type, provider, model, run_id, tool, tags"

RESERVATION_COLUMNS = f"""
tenant_id, reservation_id, state, {FACT_COLUMNS}, requested_model, input_tokens, cached_input_tokens,
max_output_tokens, held_tokens, held_uncached_tokens, held_nanos, price_id, path, created_at, expires_at,
ttl_seconds, ended_at, ended_id, event_id, directive, warnings
"""

RUN_COLUMNS = """
tenant_id, run_id, external_id, user_id, cost_center, state, strict, limit_tokens, limit_nanos, limit_calls,
allocated, created_at, ended_at
"""

ACCOUNT_COLUMNS = """
tenant_id, account_id, budget_id, budget, subject, window_start, window_end, enforcement, counts,
limit_tokens, limit_nanos, limit_calls, settled_tokens, settled_nanos, settled_calls,
held_tokens, held_nanos, held_calls
"""

EVENT_COLUMNS = f"""
tenant_id, event_id, booked_at, occurred_at, posted_at, reservation_id, {FACT_COLUMNS}, input_tokens, output_tokens,
cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, original_input_tokens,
cost_nanos, price_id, path, overrun, late, estimated, unpriced, clamped, failed, response_id
"""

DENIAL_COLUMNS = f"""
tenant_id, denial_id, {FACT_COLUMNS}, code, enforced, refusals, input_tokens, max_output_tokens,
fits_output_tokens, created_at
"""

KEPT_COLUMNS = "tenant_id, quarantine_id, source, key, code, detail, body"

BUDGET_COLUMNS = """
tenant_id, budget_id, name, selector, "window", enforcement, counts, limit_tokens, limit_nanos, limit_calls,
created_at, archived_at
"""

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
    fixed, ending = columns[12:24], columns[24:29]
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
    )


def account_from(columns: Sequence[Any]) -> Account:
    """Make an account with its balance from `ACCOUNT_COLUMNS`."""
    (
        _, account_id, budget_id, budget, subject, start, end, enforcement, counts, tokens, nanos, calls, *balance,
    ) = columns  # fmt: skip
    account = Account(
        account_id, budget_id, budget, subject, start, end,
        Enforcement(enforcement), Counts(counts), Limits(tokens, nanos, calls),
    )  # fmt: skip
    (
        account.settled_tokens, account.settled_nanos, account.settled_calls,
        account.held_tokens, account.held_nanos, account.held_calls,
    ) = balance  # fmt: skip
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
    return Budget(
        budget_id=row["budget_id"],
        name=row["name"],
        selector=tuple(sorted(parsed(row["selector"]).items())),
        limits=Limits(row["limit_tokens"], row["limit_nanos"], row["limit_calls"]),
        window=Window(row["window"]),
        enforcement=Enforcement(row["enforcement"]),
        counts=Counts(row["counts"]),
    )


def trigger_from(row: Row) -> Trigger:
    """Make a trigger from `TRIGGER_COLUMNS`."""
    steps = (Downgrade(**{**step, "capabilities": tuple(step["capabilities"])}) for step in parsed(row["downgrades"]))
    return Trigger(
        row["trigger_id"], TriggerKind(row["kind"]), row["at_percent"], Mode(row["mode"]),
        row["per_call_tokens"], row["per_call_nanos"], tuple(steps),
    )  # fmt: skip


def parsed(value: Any) -> Any:
    """Return a JSON column's value: asyncpg hands over text, SQLAlchemy what it has parsed already."""
    return json.loads(value) if isinstance(value, str) else value
