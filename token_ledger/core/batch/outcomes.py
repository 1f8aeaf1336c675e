"""Owns the answers to commands: refusals are values with a code, like every other outcome.

An outcome with `replayed` set is the stored answer to a repeated key, with the current state.
"""

import dataclasses
from datetime import datetime
from enum import StrEnum
from typing import Any

from token_ledger.core.model.account import Account, Grant
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.budget import Budget
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.frozen import value
from token_ledger.core.model.increase import Increase
from token_ledger.core.model.price import Price
from token_ledger.core.model.refusal import Refusal
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.run import Run, RunStep
from token_ledger.core.model.trigger import Trigger


class Code(StrEnum):
    """Stable codes of refusals."""

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
    RESERVATION_OPEN = "reservation_open"
    BOOKING_NOT_FOUND = "booking_not_found"
    BOOKING_REVERSED = "booking_reversed"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    INFEASIBLE_ALLOCATION = "infeasible_allocation"
    BUDGET_NOT_FOUND = "budget_not_found"
    BUDGET_EXISTS = "budget_exists"
    ACCOUNT_NOT_FOUND = "account_not_found"
    ACCOUNT_CLOSED = "account_closed"
    NO_LIMIT = "no_limit"
    INCREASE_NOT_FOUND = "increase_not_found"
    INCREASE_DECIDED = "increase_decided"
    USER_NOT_FOUND = "user_not_found"
    ERASURE_UNDER_WAY = "erasure_under_way"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    NOT_BOOKABLE = "not_bookable"
    INVALID_REQUEST = "invalid_request"


@value
class Refused:
    """The request changes nothing: a code, what is wrong, and the field of the command at fault if there is one."""

    code: Code
    detail: str
    field: str | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def missing(code: Code, noun: str, number: int, field: str | None = None) -> Refused:
    """Return the refusal of a command that names something which does not exist, or not any more."""
    field = field or f"{noun}_id"
    return Refused(code, f"there is no {noun} {number}; check {field}", field)


@value
class Granted:
    """A hold was given; `reservation` tells what was set aside and what the caller is advised.

    A lease comes with the price that its calls are counted by, so that its holder can admit them without asking, and
    with the rates that are assumed for what they announce and that price may lack.
    """

    reservation: Reservation
    price: Price | None = None
    replayed: bool = False
    assumed_rates: tuple[tuple[str, int], ...] = ()


@value
class Denial:
    """A call, or so many `calls` of a lease, that did not fit, with the refusals of accounts with too little left."""

    denial_id: int
    facts: CallFacts
    code: Code
    enforced: bool
    refusals: tuple[Refusal, ...]
    input_tokens: int
    max_output_tokens: int
    fits_output_tokens: int | None
    created_at: datetime
    calls: int = 1


@value
class Denied:
    """No hold was given, because of the refusals in `denial`."""

    denial: Denial
    replayed: bool = False


@value
class Settled:
    """The actual use was booked against its hold.

    `stop` says why the holder should make no further call (its run has ended, its tenant is stopped), else None.
    `others` are the events of other models within the call.
    """

    event: UsageEvent
    reservation: Reservation | None = None
    stop: str | None = None
    replayed: bool = False
    others: tuple[UsageEvent, ...] = ()


@value
class Extended:
    """The hold as it now expires; `stop` is as in `Settled`."""

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
    """A call without a hold was booked.

    `taken_back` are the corrections of an earlier reading of it, where an import had met the call unfinished.
    """

    event: UsageEvent
    replayed: bool = False
    taken_back: tuple[UsageEvent, ...] = ()


@value
class Quarantined:
    """What came could not be booked and is kept for review; `field` is what contradicts an earlier request, if any."""

    quarantine_id: int
    code: str
    detail: str
    replayed: bool = False
    field: str | None = None


@value
class RunAnswer:
    """A run as it now stands, with its accounts if the batch has them."""

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

    step: RunStep
    run: Run
    replayed: bool = False


@value
class PreflightAnswer:
    """How many of the planned calls would fit now, one after the other, and what stops the first that does not.

    `fits` and `asked` have a count for each kind of call. `tokens` and `nanos` are the worst case of all planned calls.
    """

    fits: tuple[int, ...]
    asked: tuple[int, ...]
    tokens: int
    nanos: int
    refusal: "Denied | Refused | None"
    warnings: tuple[Refusal, ...]


@value
class GrantAnswer:
    """A grant and its account, as they now stand."""

    grant: Grant
    account: Account
    replayed: bool = False


@value
class IncreaseAnswer:
    """An increase as it now stands."""

    increase: Increase
    replayed: bool = False


@value
class Changed:
    """The tenant's set-up was changed, as the audit log says; `under_way` if an erasure still has rows to rename."""

    entry: AuditEntry
    replayed: bool = False
    under_way: bool = False


@value
class Reversed:
    """What was booked under a key was taken back, as the audit log says."""

    entry: AuditEntry
    replayed: bool = False


@value
class Recosted:
    """Calls were re-costed, as the audit log says."""

    entry: AuditEntry
    replayed: bool = False


@value
class StopAnswer:
    """All calls were stopped or resumed, as the audit log says; `stopped` is the reason of the current stop, if any."""

    entry: AuditEntry
    stopped: str | None
    replayed: bool = False


@value
class Swept:
    """What was due has been done; `done` counts the accounts that were closed."""

    done: int = 0


Outcome = (
    Granted | Denied | Settled | Extended | Released | Recorded | Quarantined | PreflightAnswer
    | RunAnswer | StepTaken | BudgetAnswer | TriggerAnswer | GrantAnswer | IncreaseAnswer | Changed | Reversed
    | Recosted | StopAnswer
    | Swept | Refused
)  # fmt: skip
