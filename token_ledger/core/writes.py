"""Owns what one batch of one tenant changes: rows to add, rows to change, sums to add to."""

from dataclasses import dataclass, field
from datetime import datetime

from token_ledger.core.account import Account, Grant, LimitEntry, ThresholdEvent
from token_ledger.core.audit import AuditEntry
from token_ledger.core.budget import Budget
from token_ledger.core.commands import Command
from token_ledger.core.event import UsageEvent
from token_ledger.core.increase import Increase
from token_ledger.core.loaded import KeptEvent
from token_ledger.core.outcomes import Denial
from token_ledger.core.reservation import CallFacts, HoldState, Reservation
from token_ledger.core.run import Run, Step
from token_ledger.core.tenant import User
from token_ledger.core.trigger import Advice, Trigger
from token_ledger.core.window import CalendarRule

RollupKey = tuple[datetime, datetime, str, str, str, str, str]
"""Local hour, local day (both as UTC instants), cost center, user, agent type, model, request type."""


@dataclass(slots=True)
class Writes:
    """Everything that one batch of one tenant changes."""

    keys: list[tuple[Command, str, int]] = field(default_factory=list)
    new_accounts: list[Account] = field(default_factory=list)
    changed_accounts: dict[int, Account] = field(default_factory=dict)
    """Accounts whose balance changed."""
    changed_terms: dict[int, Account] = field(default_factory=dict)
    """Accounts of which anything else changed: limits, enforcement, thresholds reached, grants, leases, closing."""
    limit_entries: list[LimitEntry] = field(default_factory=list)
    thresholds: list[ThresholdEvent] = field(default_factory=list)
    new_grants: list[Grant] = field(default_factory=list)
    changed_grants: dict[int, Grant] = field(default_factory=dict)
    new_reservations: list[Reservation] = field(default_factory=list)
    new_leases: list[Reservation] = field(default_factory=list)
    changed_reservations: dict[int, Reservation] = field(default_factory=dict)
    """Holds that were drawn on or extended."""
    ended_reservations: list[tuple[Reservation, HoldState]] = field(default_factory=list)
    """Holds that were released or have expired; settled ones are ended by their event."""
    events: list[UsageEvent] = field(default_factory=list)
    parts: list[UsageEvent] = field(default_factory=list)
    """Events that do not end their hold."""
    denials: list[Denial] = field(default_factory=list)
    firings: list[tuple[int, CallFacts, Advice]] = field(default_factory=list)
    kept: list[KeptEvent] = field(default_factory=list)
    new_runs: list[Run] = field(default_factory=list)
    changed_runs: dict[int, Run] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    new_budgets: list[Budget] = field(default_factory=list)
    changed_budgets: list[Budget] = field(default_factory=list)
    archived_budgets: list[Budget] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    increases: dict[int, Increase] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    erased_users: list[tuple[str, str]] = field(default_factory=list)
    """Names and the pseudonyms that take their place, once all else is written."""
    calendar_changes: list[tuple[int, datetime, CalendarRule]] = field(default_factory=list)
    """With the ids of their entries in the audit log."""
    stops: list[str | None] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    rollups: dict[RollupKey, list[int]] = field(default_factory=dict)
    tag_rollups: dict[tuple[datetime, str, str], list[int]] = field(default_factory=dict)
    run_rollups: dict[tuple[int, str, str, str], list[int]] = field(default_factory=dict)
    """Run, agent type, tool (empty for none), model."""
    optimizations: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def config_changed(self) -> bool:
        """Whether the tenant's set-up has a new version after this batch."""
        return bool(
            self.new_budgets or self.changed_budgets or self.archived_budgets or self.triggers or self.users
            or self.erased_users or self.calendar_changes or self.stops
        )  # fmt: skip

    @property
    def stands_alone(self) -> bool:
        """Whether the next batch has to see these changes in the database, not laid over what it loads."""
        return self.config_changed or bool(
            self.new_grants or self.changed_grants or self.increases or self.audit
            or any(run.external_id is not None and run.ended_at is not None for run in self.changed_runs.values())
        )  # fmt: skip
