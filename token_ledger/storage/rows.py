"""Owns how the core's values are stored: a format for each, with its columns in the order of the value's parameters."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from token_ledger.core.batch.loaded import KeptEvent
from token_ledger.core.batch.outcomes import Code, Denial
from token_ledger.core.model.account import Account, EntryKind, Grant, LimitEntry, ThresholdEvent
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.budget import Budget, Counts, Enforcement, Limits, Terms, Unassigned
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.increase import Increase, IncreaseState
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.reservation import HoldState, Reservation
from token_ledger.core.model.run import Run, RunState, RunStep
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import User
from token_ledger.core.model.transfer import Transfer
from token_ledger.core.model.trigger import Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.core.model.window import CalendarRule, Window
from token_ledger.storage import json_columns
from token_ledger.storage.schema import ledger_tables, setup_tables
from token_ledger.storage.schema.columns import FACTS as FACT_COLUMNS
from token_ledger.storage.schema.row_format import Field, RowFormat


def rule_from(row: Mapping[str, Any]) -> CalendarRule:
    """Make a calendar rule from the columns `time_zone`, `week_start` and `fiscal_month`."""
    return CalendarRule(ZoneInfo(row["time_zone"]), row["week_start"], row["fiscal_month"])


def _named(name: str, column: str, read: Any = None, write: Any = None) -> Field:
    return Field(name, (column,), read, write)


def _coded(name: str, kind: Any) -> Field:
    return Field(name, (name,), kind)


def _json(name: str, read: Any = json_columns.parsed, write: Any = json_columns.object_text) -> Field:
    return Field(name, (name,), read, write)


def _limits(name: str, prefix: str = "", read: Any = Limits) -> Field:
    return Field(name, (f"{prefix}tokens", f"{prefix}nanos", f"{prefix}calls"), read, attrgetter("amounts"))


def _facts(
    user: str, cost_center: str, agent_type: str, request_type: str, provider: str, model: str, run_id: int | None,
    tool: str | None, tags: Any,
) -> CallFacts:  # fmt: skip
    pairs = json_columns.pairs_from(tags) if tags else ()
    return CallFacts(user, cost_center, agent_type, request_type, provider, model, run_id, tool, pairs)


def _facts_columns(facts: CallFacts) -> tuple[Any, ...]:
    return (*facts[:8], json_columns.pairs_text(facts.tags) if facts.tags else None)


_FACTS = Field("facts", FACT_COLUMNS, _facts, _facts_columns)


def _model_name(name: str) -> Field:
    """Return the field of a model as callers name it; None where it is named as in the books."""
    return Field(
        name, (f"{name}_provider", f"{name}_model"),
        lambda provider, model: None if model is None else ModelName(provider or "", model),
        lambda named: (None, None) if named is None else named,
    )  # fmt: skip


RUN = RowFormat(
    ledger_tables.runs, Run,
    "run_id", _named("user", "user_id"), "cost_center", "external_id", "strict", _limits("limits", "limit_"),
    _json("allocated"), "created_at", _coded("state", RunState), "ended_at",
    _named("ancestors", "ancestors", tuple), "limit_iterations", "iterations",
)  # fmt: skip

STEP = RowFormat(ledger_tables.run_steps, RunStep, "step_id", "run_id", "iteration", "label")


BALANCES = ("settled_tokens", "settled_nanos", "settled_calls", "held_tokens", "held_nanos", "held_calls")
"""The columns of an account that most batches change."""


def _account(*columns: Any) -> Account:
    account = Account(*columns[:9])
    (
        account.settled_tokens, account.settled_nanos, account.settled_calls,
        account.held_tokens, account.held_nanos, account.held_calls,
        account.base, thresholds, account.fired, account.leases, account.grants_until, account.closed_at,
        account.earns, account.moved_to,
    ) = columns[9:]  # fmt: skip
    if thresholds:
        account.thresholds = tuple(thresholds)
        account.arm()
    return account


def _subject_columns(subject: Subject) -> tuple[str, str | None, str | None]:
    return subject.text, subject.get("user"), subject.get("run")


ACCOUNT = RowFormat(
    ledger_tables.accounts, _account,
    "account_id", "budget_id", "budget", _named("subject", "subject", Subject.from_text, attrgetter("text")),
    "window_start", "window_end", _coded("enforcement", Enforcement), _coded("counts", Counts),
    _limits("limits", "limit_"), *BALANCES, _limits("base", "base_"), "thresholds",
    Field("fired", ("fired_tokens", "fired_nanos", "fired_calls"), lambda *percents: percents),
    "leases", "grants_until", "closed_at", "earns", "moved_to",
)  # fmt: skip

NEW_ACCOUNT = RowFormat(
    ledger_tables.accounts, _account,
    *ACCOUNT.only(
        "account_id", "budget_id", "budget", "window_start", "window_end", "enforcement", "counts", "limits", "base",
        "thresholds", "earns",
    ).fields,
    Field("subject", ("subject", "subject_user", "subject_run"), None, _subject_columns),
)  # fmt: skip
"""To write only. Row-level security allows no index on an expression, so a user and a run have columns of their own."""


def _amounts(name: str) -> Field:
    return Field(name, (f"{name}_tokens", f"{name}_nanos", f"{name}_calls"), lambda *amounts: amounts, tuple)


TRANSFER = RowFormat(
    ledger_tables.transfers, Transfer,
    "transfer_id", "from_account", "to_account", _amounts("settled"), _amounts("held"),
)  # fmt: skip

LIMIT_ENTRY = RowFormat(
    ledger_tables.limit_entries, LimitEntry,
    "account_id", "entry_id", _coded("kind", EntryKind), _limits("by"), "hard", "reason", "actor",
    Field("bounds", ("bound_tokens", "bound_nanos", "bound_calls"), lambda *bounds: bounds, tuple),
)  # fmt: skip

THRESHOLD = RowFormat(
    ledger_tables.threshold_events, ThresholdEvent,
    "threshold_id", "account_id", "unit", "percent", "fired", "settled", _named("limit", "limit_amount"),
    "withdrawn",
)  # fmt: skip
"""To write only: the budget's name is the account's."""

GRANT = RowFormat(
    ledger_tables.grants, Grant,
    "grant_id", "account_id", _limits("amounts"), _limits("left", "left_"), _named("mark", "mark", tuple),
    "expires_at", "reason", "actor", "given_at", "lapsed_at",
)  # fmt: skip

INCREASE = RowFormat(
    ledger_tables.increases, Increase,
    "increase_id", "account_id", _limits("amounts"), "reason", "asked_by", "asked_at", _coded("state", IncreaseState),
    "decided_by", "decided_at", "note", "grant_id",
)  # fmt: skip


def _if_any(read: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda column: () if column is None else read(column)


def _text_if_any(write: Callable[[Any], str]) -> Callable[[Any], str | None]:
    return lambda values: write(values) if values else None


RESERVATION = RowFormat(
    ledger_tables.reservations, Reservation,
    "reservation_id", _FACTS, _model_name("requested"), "input_tokens", "cached_input_tokens", "max_output_tokens",
    "held_tokens", "held_uncached_tokens", "held_nanos", "price_id", "path", "created_at", "expires_at", "ttl_seconds",
    _coded("state", HoldState), "ended_at", "ended_id", "event_id",
    _json("advice", _if_any(json_columns.advice_from), _text_if_any(json_columns.advice_text)),
    _json("warnings", _if_any(json_columns.refusals_from), _text_if_any(json_columns.refusals_text)),
    "lease", "held_calls", "drawn_tokens", "drawn_uncached_tokens", "drawn_nanos", "drawn_calls", "changes",
    _json("drawn_use", _if_any(json_columns.drawn_use_from), _text_if_any(json_columns.drawn_use_text)),
    _json(
        "announced", lambda column: None if column is None else json_columns.announced_from(column),
        _text_if_any(json_columns.announced_text),
    ),
    "discount_id", "end_reason",
)  # fmt: skip


def _repetition(found: str | None) -> Repetition | None:
    return None if found is None else Repetition(found)


def _kind(stored: str | None) -> Kind | None:
    return None if stored is None else Kind(stored)


EVENT = RowFormat(
    ledger_tables.usage_events, UsageEvent,
    "event_id", "reservation_id", _FACTS, Field("usage", KINDS, Usage, attrgetter("counts")), "cost_nanos", "price_id",
    "path", "occurred_at", "posted_at", "overrun", "late", "estimated", "unpriced", "clamped", "failed", "response_id",
    "original_input_tokens", "calls", "part", _model_name("requested"), _model_name("served"), "held_path", "held_at",
    "corrects", _json("others", _if_any(json_columns.other_uses_from), _text_if_any(json_columns.other_uses_text)),
    "service_tier", _coded("repetition", _repetition), "earlier_event_id", _coded("kind", _kind),
    _json("details", json_columns.details_from_column, json_columns.details_text),
    "discount_id", "list_price_id", "list_cost_nanos", "counts_since", "recosts",
)  # fmt: skip

DENIAL = RowFormat(
    ledger_tables.denials, Denial,
    "denial_id", _FACTS, _coded("code", Code), "enforced",
    _json("refusals", json_columns.refusals_from, json_columns.refusals_text),
    "input_tokens", "max_output_tokens", "fits_output_tokens", "created_at", "calls",
)  # fmt: skip

KEPT = RowFormat(
    ledger_tables.quarantine, KeptEvent,
    "quarantine_id", "source", "key", "code", "detail", _json("body"),
)  # fmt: skip

AUDIT = RowFormat(
    setup_tables.audit_log, AuditEntry,
    "audit_id", "actor", "action", "target", _json("before"), _json("after"),
)  # fmt: skip


def _rollover(*amounts: int | None) -> Limits | None:
    return None if amounts == (None, None, None) else Limits(*amounts)


_ROLLOVER = Field(
    "rollover", ("rollover_tokens", "rollover_nanos", "rollover_calls"), _rollover,
    lambda cap: (None, None, None) if cap is None else cap.amounts,
)  # fmt: skip

BUDGET = RowFormat(
    setup_tables.budgets, Budget,
    "budget_id", "name",
    _json("selector", json_columns.selector_from, json_columns.selector_text),
    _limits("limits", "limit_"), _coded("window", Window), _coded("enforcement", Enforcement), _coded("counts", Counts),
    _named("thresholds", "thresholds", tuple),
    _ROLLOVER,
    "created_at", _json("overrides", json_columns.overrides_from, json_columns.overrides_text),
    _coded("unassigned", Unassigned), _json("named", json_columns.selector_from, json_columns.selector_text),
)  # fmt: skip

TERMS = RowFormat(
    setup_tables.budget_terms, Terms,
    "since", _limits("limits", "limit_"), _ROLLOVER,
    _json("overrides", json_columns.overrides_from, json_columns.overrides_text),
)  # fmt: skip


TRIGGER = RowFormat(
    setup_tables.triggers, Trigger,
    "trigger_id", _coded("kind", TriggerKind), "at_percent", _coded("mode", Mode), "per_call_tokens", "per_call_nanos",
    _json("downgrades", json_columns.downgrades_from, json_columns.downgrades_text),
)  # fmt: skip


USER = RowFormat(
    setup_tables.users, User,
    _named("user", "user_id"), _json("cost_centers", json_columns.cost_centers_from, json_columns.cost_centers_text),
)  # fmt: skip
