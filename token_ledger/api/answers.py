"""Owns the models of answers, for the OpenAPI document; what is sent is built in `values`.

A test checks that what is built is what the models say.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A response body; every field is always there."""

    model_config = ConfigDict(extra="forbid")


class Amounts(Answer):
    """Tokens, money and calls; null stands for no limit."""

    tokens: int | None
    cost: str | None
    calls: int | None


class Balance(Answer):
    """What an account may hold, has settled, holds, and has left."""

    limit: Amounts
    settled: Amounts
    held: Amounts
    available: Amounts


class AllocationAnswer(Answer):
    """An agent type's share of a run."""

    agent_type: str
    balance: Balance


class Iterations(Answer):
    """How many iterations a run may make and has made, those of its sub-runs included."""

    limit: int | None
    taken: int


class RunAnswerBody(Answer):
    """A run as it stands."""

    run_id: str
    parent_run_id: str | None
    ancestors: list[str]
    depth: int
    iterations: Iterations
    external_id: str | None
    state: str
    user: str
    cost_center: str
    strict: bool
    created_at: datetime
    ended_at: datetime | None
    balance: Balance | None
    allocations: list[AllocationAnswer]
    replayed: bool


class Evidence(Answer):
    """Why a trigger fired."""

    budget: str
    subject: dict[str, str]
    unit: str
    used: int | str
    limit: int | str
    percent: int


class AdviceAnswer(Answer):
    """A trigger that fired for this call."""

    trigger: str
    technique: str
    applied: bool
    model: str | None
    evidence: Evidence


class Directive(Answer):
    """What the caller is told to do."""

    model: str
    max_output_tokens: int
    compression: str
    stop: bool
    advice: list[AdviceAnswer]


class RefusalAnswer(Answer):
    """An account that said no."""

    account_id: str
    budget: str
    enforcement: str
    subject: dict[str, str]
    unit: str
    limit: int | str
    settled: int | str
    held: int | str
    available: int | str
    requested: int | str
    window_start: datetime
    window_end: datetime | None


class ReservationAnswer(Answer):
    """A hold as it stands, and what the caller was told."""

    reservation_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    run_id: str | None
    held: Amounts
    provider: str
    model: str
    directive: Directive
    warnings: list[RefusalAnswer]
    replayed: bool


class LeaseAnswer(Answer):
    """A lease as it stands, and the rates that its calls are counted by, in dollars per million tokens."""

    lease_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    seconds_left: float | None
    run_id: str | None
    calls: int
    held: Amounts
    provider: str
    model: str
    price: dict[str, Any] | None
    directive: Directive
    warnings: list[RefusalAnswer]
    replayed: bool


class StepAnswer(Answer):
    """An iteration that has begun."""

    run_id: str
    step_id: str
    iteration: int
    iterations: Iterations
    replayed: bool


class PreflightResult(Answer):
    """How many of the planned calls would fit now, per kind, and what stops the first that does not."""

    finishes: bool
    asked: list[int]
    fits: list[int]
    tokens: int
    cost: str
    stopped_by: dict[str, Any] | None
    warnings: list[RefusalAnswer]


class GrantAnswerBody(Answer):
    """A grant as it stands."""

    grant_id: str
    account_id: str
    amounts: Amounts
    left: Amounts
    expires_at: datetime | None
    lapsed_at: datetime | None
    reason: str
    given_by: str
    given_at: datetime
    replayed: bool = False


class IncreaseAnswerBody(Answer):
    """What was asked for, and what became of it."""

    increase_id: str
    account_id: str
    amounts: Amounts
    reason: str
    asked_by: str
    asked_at: datetime
    state: str
    decided_by: str | None
    decided_at: datetime | None
    note: str | None
    grant_id: str | None
    replayed: bool = False


class ChangeAnswer(Answer):
    """A change of the tenant's set-up, as the audit log has it."""

    audit_id: str
    actor: str
    action: str
    target: str
    before: Any
    after: Any
    replayed: bool = False


class StopAnswerBody(ChangeAnswer):
    """A stop or its end, as the audit log has it; `stopped` is the reason of the stop in force now, null without."""

    stopped: str | None


class StopState(Answer):
    """Why every call of the tenant is stopped; null while it works."""

    stopped: str | None


class OperationResults(Answer):
    """One result per operation, in order: the status and the body that its own route would have answered with."""

    results: list[dict[str, Any]]


class SettlementAnswer(Answer):
    """What was booked, what of the hold is still set aside, and why the caller should stop, if so."""

    reservation_id: str | None
    event_id: str
    state: str
    cost: str
    tokens: int
    overrun: bool
    late: bool
    unpriced: bool
    clamped: bool
    part: bool
    remaining: Amounts | None
    stop: str | None
    replayed: bool


class EventResult(Answer):
    """What became of one event of a list."""

    status: str
    event_id: str | None = None
    quarantine_id: str | None = None
    cost: str | None = None
    tokens: int | None = None
    replayed: bool | None = None
    code: str | None = None
    detail: str | None = None
    field: str | None = None


class EventResults(Answer):
    """One result per event, in order."""

    results: list[EventResult]


class KeptAnswer(Answer):
    """What could not be booked, why, and what became of it (`open`, `resolved`, `dismissed`)."""

    quarantine_id: str
    source: str
    key: str
    code: str
    detail: str
    body: Any
    kept_at: datetime
    state: str
    note: str | None
    decided_by: str | None
    decided_at: datetime | None


class BudgetAnswerBody(Answer):
    """A budget as it stands."""

    budget_id: str
    name: str
    selector: dict[str, str]
    limits: Amounts
    window: str
    enforcement: str
    counts: str
    thresholds: list[int]
    rollover: Amounts | None
    archived: bool
    replayed: bool


class TriggerAnswerBody(Answer):
    """A trigger as it stands."""

    kind: str
    at_percent: int
    mode: str
    per_call_tokens: int | None
    per_call_cost: str | None
    downgrades: list[dict[str, Any]]
    replayed: bool


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `errors` names the fields at fault."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    code: str
