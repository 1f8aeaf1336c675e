"""Owns the rows that one batch of one tenant decides on; what is not among them does not exist."""

from dataclasses import dataclass, field

from token_ledger.core.account import Account, Grant
from token_ledger.core.audit import AuditEntry
from token_ledger.core.budget import Budget
from token_ledger.core.event import UsageEvent
from token_ledger.core.increase import Increase
from token_ledger.core.outcomes import Denial
from token_ledger.core.reservation import Reservation
from token_ledger.core.run import Run, Step
from token_ledger.core.tenant import User
from token_ledger.core.values import value


@value
class StoredKey:
    """What an idempotency key was used for: the request's fingerprint and the row it led to."""

    fingerprint: bytes
    answer: str
    target_id: int


@value
class KeptEvent:
    """A quarantined event: why it could not be booked, and its body."""

    quarantine_id: int
    source: str
    key: str
    code: str
    detail: str
    body: str


@dataclass(slots=True)
class Loaded:
    """Rows of one tenant as they stood under its lock."""

    keys: dict[tuple[str, str], StoredKey] = field(default_factory=dict)
    reservations: dict[int, Reservation] = field(default_factory=dict)
    due: list[int] = field(default_factory=list)
    runs: dict[int, Run] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    events: dict[int, UsageEvent] = field(default_factory=dict)
    denials: dict[int, Denial] = field(default_factory=dict)
    kept: dict[int, KeptEvent] = field(default_factory=dict)
    archived_budgets: dict[int, Budget] = field(default_factory=dict)
    grants: dict[int, Grant] = field(default_factory=dict)
    """All that have not lapsed of the accounts whose grants a command or the time can change, and those replayed."""
    increases: dict[int, Increase] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    earlier_accounts: dict[tuple[int, str], Account] = field(default_factory=dict)
    """The newest account before the current window, by budget and subject, of budgets that roll over."""
    attachable_runs: dict[str, int] = field(default_factory=dict)
    """The newest open run by external id."""
    steps: dict[int, Step] = field(default_factory=dict)
    audit: dict[int, AuditEntry] = field(default_factory=dict)
