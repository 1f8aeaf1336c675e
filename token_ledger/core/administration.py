"""Owns what those who administer a tenant ask for: one frozen value per verb, with who asks (`actor`).

Every one of them, once done, leaves an entry in the audit log.
"""

from datetime import datetime
from typing import ClassVar

from token_ledger.core.budget import DEFAULT_THRESHOLDS, Counts, Enforcement, Limits
from token_ledger.core.tenant import User
from token_ledger.core.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.values import value
from token_ledger.core.window import CalendarRule, Window


@value
class CreateBudget:
    """Set a limit for a selector per window."""

    source: ClassVar[str] = "budget"
    key: str
    fingerprint: bytes
    name: str
    selector: tuple[tuple[str, str], ...]
    limits: Limits
    window: Window
    enforcement: Enforcement = Enforcement.HARD
    counts: Counts = Counts.ALL
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    rollover: Limits | None = None
    actor: str = ""


@value
class ChangeBudget:
    """Change what a budget allows, also below what is spent; None leaves a part as it is.

    Open accounts take a new limit or enforcement with the next call that falls on them, thresholds begin with new
    accounts.
    """

    source: ClassVar[str] = "budget_change"
    key: str
    fingerprint: bytes
    budget_id: int
    limits: Limits | None = None
    enforcement: Enforcement | None = None
    thresholds: tuple[int, ...] | None = None
    rollover: Limits | None = None
    actor: str = ""


@value
class ReplaceBudget(CreateBudget):
    """Put a budget in the place of another, in one step, where the other can't be changed into it.

    What a budget selects, its window and what it counts are what its accounts are, so another begins with new ones.
    """

    source: ClassVar[str] = "budget_replacement"
    replaced_id: int = 0


@value
class ArchiveBudget:
    """Let a budget match no further call; its accounts stay."""

    source: ClassVar[str] = "budget_archive"
    key: str
    fingerprint: bytes
    budget_id: int
    actor: str = ""


@value
class SetTrigger:
    """Set the one trigger of a kind; it replaces the one before."""

    source: ClassVar[str] = "trigger"
    key: str
    fingerprint: bytes
    kind: TriggerKind
    at_percent: int
    mode: Mode
    per_call_tokens: int | None = None
    per_call_nanos: int | None = None
    downgrades: tuple[Downgrade, ...] = ()
    actor: str = ""


@value
class GiveGrant:
    """Give an account extra limit, until an instant or to the end of its window."""

    source: ClassVar[str] = "grant"
    key: str
    fingerprint: bytes
    account_id: int
    amounts: Limits
    reason: str
    actor: str
    expires_at: datetime | None = None


@value
class AskIncrease:
    """Ask for more on an account; an administrator decides."""

    source: ClassVar[str] = "increase"
    key: str
    fingerprint: bytes
    account_id: int
    amounts: Limits
    reason: str
    asked_by: str


@value
class DecideIncrease:
    """Approve or refuse what was asked for; approved, it raises the limit, with `expires_at` as a grant."""

    source: ClassVar[str] = "increase_decision"
    key: str
    fingerprint: bytes
    increase_id: int
    approve: bool
    actor: str
    note: str | None = None
    expires_at: datetime | None = None


@value
class ChangeRun:
    """Set limits of an open run anew, also below what is spent; None leaves a limit as it is."""

    source: ClassVar[str] = "run_change"
    key: str
    fingerprint: bytes
    run_id: int
    limits: Limits
    iterations: int | None
    reason: str
    actor: str


@value
class ForceRelease:
    """End a hold whose client is believed dead; what it should report later is booked all the same."""

    source: ClassVar[str] = "force_release"
    key: str
    fingerprint: bytes
    reservation_id: int
    reason: str
    actor: str


@value
class SetUsers:
    """Make users known, or change their cost centers; users that are not named stay as they are."""

    source: ClassVar[str] = "users"
    key: str
    fingerprint: bytes
    users: tuple[User, ...]
    actor: str


@value
class EraseUser:
    """Put a pseudonym in the place of a user's name wherever it stands; every sum stays."""

    source: ClassVar[str] = "erasure"
    key: str
    fingerprint: bytes
    user: str
    actor: str


@value
class SetCalendar:
    """Change time zone, week start or fiscal year from an instant on; each window begins anew after its own end."""

    source: ClassVar[str] = "calendar"
    key: str
    fingerprint: bytes
    rule: CalendarRule
    actor: str
    effective_from: datetime | None = None


@value
class StopTenant:
    """Stop every call of the tenant, or let them go on (`reason` None); settles are booked all the same."""

    source: ClassVar[str] = "stop"
    key: str
    fingerprint: bytes
    reason: str | None
    actor: str
