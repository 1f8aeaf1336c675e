"""Owns the answers to commands: refusals are values with a code, like every other outcome (design D3).

An outcome with `replayed` set is the stored answer to a repeated key, with the current state.
"""

import dataclasses
from datetime import datetime
from enum import StrEnum
from typing import Any

from token_ledger.core.account import Account, Grant
from token_ledger.core.audit import AuditEntry
from token_ledger.core.budget import Budget, Unit
from token_ledger.core.event import UsageEvent
from token_ledger.core.increase import Increase
from token_ledger.core.money import format_money
from token_ledger.core.price import Price
from token_ledger.core.reservation import CallFacts, Reservation
from token_ledger.core.run import Run, Step
from token_ledger.core.trigger import Trigger
from token_ledger.core.values import value


class Code(StrEnum):
    """Stable codes of refusals, as they stand on the wire."""

    TENANT_STOPPED = "tenant_stopped"
    BUDGET_EXCEEDED = "budget_exceeded"
    NOT_ALLOCATED = "not_allocated"
    LEASE_TOO_SMALL = "lease_too_small"
    ITERATIONS_EXCEEDED = "iterations_exceeded"
    UNKNOWN_MODEL = "unknown_model"
    RUN_NOT_FOUND = "run_not_found"
    RUN_NOT_OPEN = "run_not_open"
    RUN_TOO_DEEP = "run_too_deep"
    RUN_OF_ANOTHER = "run_of_another"
    RESERVATION_NOT_FOUND = "reservation_not_found"
    RESERVATION_NOT_OPEN = "reservation_not_open"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    INFEASIBLE_ALLOCATION = "infeasible_allocation"
    BUDGET_NOT_FOUND = "budget_not_found"
    BUDGET_EXISTS = "budget_exists"
    ACCOUNT_NOT_FOUND = "account_not_found"
    ACCOUNT_CLOSED = "account_closed"
    NO_LIMIT = "no_limit"
    INCREASE_NOT_FOUND = "increase_not_found"
    INCREASE_DECIDED = "increase_decided"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    INVALID_REQUEST = "invalid_request"


@value
class Refused:
    """The request changes nothing: its code, what is wrong, and the field at fault where there is one."""

    code: Code
    detail: str
    field: str | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


@value
class Granted:
    """A hold was given; `reservation` tells what was set aside and what the caller is advised.

    A lease comes with the price that its calls are counted by, so that its holder can admit them by itself.
    """

    reservation: Reservation
    price: Price | None = None
    replayed: bool = False


@value
class Denial:
    """A call that did not fit. `refusals` is the JSON value of every account that said no."""

    denial_id: int
    facts: CallFacts
    code: Code
    enforced: bool
    refusals: list[dict[str, Any]]
    input_tokens: int
    max_output_tokens: int
    fits_output_tokens: int | None
    created_at: datetime


@value
class Denied:
    """No hold was given, because of the refusals in `denial`."""

    denial: Denial
    replayed: bool = False


@value
class Settled:
    """The actual use was booked against its hold.

    `stop` says why the holder should make no further call (its run was ended, its tenant stopped), None if it may.
    """

    event: UsageEvent
    reservation: Reservation | None = None
    stop: str | None = None
    replayed: bool = False


@value
class Extended:
    """The hold expires later, or when it would have; and why its holder should make no further call, if so."""

    reservation: Reservation
    stop: str | None = None
    replayed: bool = False


@value
class Released:
    """The hold was given back."""

    reservation: Reservation
    replayed: bool = False


@value
class Recorded:
    """A call without a hold was booked."""

    event: UsageEvent
    replayed: bool = False


@value
class Quarantined:
    """What came could not be booked and is kept, to be looked at and booked again."""

    quarantine_id: int
    code: str
    detail: str
    replayed: bool = False


@value
class RunAnswer:
    """A run as it now stands, with its accounts where they are known."""

    run: Run
    accounts: tuple[Account, ...] = ()
    replayed: bool = False


@value
class BudgetAnswer:
    """A budget as it now stands."""

    budget: Budget
    archived: bool = False
    replayed: bool = False


@value
class TriggerAnswer:
    """A trigger as it now stands."""

    trigger: Trigger
    replayed: bool = False


@value
class StepTaken:
    """An iteration has begun."""

    step: Step
    run: Run
    replayed: bool = False


@value
class PreflightAnswer:
    """How many of the calls asked for would fit now, one after the other, and what stops the first that does not.

    `fits` counts per kind of call. `tokens` and `nanos` are the worst case of all that were asked for.
    """

    fits: tuple[int, ...]
    asked: tuple[int, ...]
    tokens: int
    nanos: int
    refusal: "Denied | Refused | None"
    warnings: list[dict[str, Any]]


@value
class GrantAnswer:
    """A grant and the account that it was given to, as they now stand."""

    grant: Grant
    account: Account
    replayed: bool = False


@value
class IncreaseAnswer:
    """What was asked for and what became of it."""

    increase: Increase
    replayed: bool = False


@value
class Changed:
    """The tenant's set-up was changed, as the audit log says."""

    entry: AuditEntry
    replayed: bool = False


@value
class StopAnswer:
    """All calls were stopped, or go on, as the audit log says; `stopped` is the reason of the stop in force now."""

    entry: AuditEntry
    stopped: str | None
    replayed: bool = False


@value
class Swept:
    """What was due has been done: so many holds expired, grants lapsed and accounts closed."""

    done: int = 0


Outcome = (
    Granted | Denied | Settled | Extended | Released | Recorded | Quarantined | PreflightAnswer
    | RunAnswer | StepTaken | BudgetAnswer | TriggerAnswer | GrantAnswer | IncreaseAnswer | Changed | StopAnswer
    | Swept | Refused
)  # fmt: skip


def refusal_value(account: Account, unit: Unit, requested: int) -> dict[str, Any]:
    """Return the JSON value of one account's refusal, as the caller sees it and as it is stored."""
    limit, settled, held = account.figures(unit)
    assert limit is not None, "an account without a limit refuses nothing"
    money = unit is Unit.COST

    def amount(figure: int) -> int | str:
        return format_money(figure) if money else figure

    return {
        "account_id": str(account.account_id),
        "budget": account.budget,
        "enforcement": account.enforcement.value,
        "subject": account.subject,
        "unit": unit.value,
        "limit": amount(limit),
        "settled": amount(settled),
        "held": amount(held),
        "available": amount(limit - settled - held),
        "requested": amount(requested),
        "window_start": account.window_start.isoformat(),
        "window_end": account.window_end.isoformat() if account.window_end else None,
    }
