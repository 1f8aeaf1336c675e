"""Owns what one batch of one tenant changes: rows to add, rows to change, sums to add to."""

from datetime import datetime

from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.loaded import AskedName, KeptEvent
from token_ledger.core.batch.on_demand import OnDemand
from token_ledger.core.batch.outcomes import Denial
from token_ledger.core.batch.rollup_keys import RollupKey, RunKey, TagKey
from token_ledger.core.model.account import Account, Grant, LimitEntry, ThresholdEvent
from token_ledger.core.model.audit import AuditEntry
from token_ledger.core.model.budget import Budget, Terms
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.discount import Discount
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.increase import Increase
from token_ledger.core.model.model_facts import OwnFacts
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.price_terms import Alias, OwnPrice
from token_ledger.core.model.reservation import HoldState, Reservation
from token_ledger.core.model.run import Run, RunStep
from token_ledger.core.model.tenant import Erasure, User
from token_ledger.core.model.transfer import Transfer
from token_ledger.core.model.trigger import Advice, Technique, Trigger
from token_ledger.core.model.window import CalendarRule, Period

_ORDINARY = frozenset(
    {
        "model_names", "changed_accounts", "new_reservations", "ended_reservations", "events", "rollups", "tag_rollups",
        "run_rollups", "sums",
    }
)  # fmt: skip


class Writes:
    """Everything that one batch of one tenant changes."""

    keys = OnDemand(list[tuple[Command, str, int]])
    model_names = OnDemand(dict[AskedName, ModelName])
    """Names of models that were used for the first time or renamed, and what they are in the books from now on."""
    name_decisions = OnDemand(list[tuple[int, AskedName, ModelName, int | None]])
    """All decisions on these, with their ids, and the id of the entry in the audit log if an administrator decided."""
    transfers = OnDemand(list[Transfer])
    new_accounts = OnDemand(list[Account])
    changed_accounts = OnDemand(dict[int, Account])
    """Accounts whose balance changed."""
    changed_terms = OnDemand(dict[int, Account])
    """Accounts of which something else changed: limits, enforcement, thresholds, grants, leases, closing."""
    limit_entries = OnDemand(list[LimitEntry])
    thresholds = OnDemand(list[ThresholdEvent])
    new_grants = OnDemand(list[Grant])
    changed_grants = OnDemand(dict[int, Grant])
    new_reservations = OnDemand(list[Reservation])
    other_holds = OnDemand(list[Reservation])
    """Leases, and holds that no agent asked for: their keys are written apart from them."""
    changed_reservations = OnDemand(dict[int, Reservation])
    """Holds that were drawn on or extended."""
    ended_reservations = OnDemand(list[tuple[Reservation, HoldState]])
    """Holds that were released or have expired; settled ones are ended by their event."""
    events = OnDemand(list[UsageEvent])
    parts = OnDemand(list[UsageEvent])
    """Events that do not end their hold."""
    corrections = OnDemand(list[UsageEvent])
    """Events that take others back; they have no keys."""
    recostings = OnDemand(list[RecostedEvent])
    """Events that re-cost others; they have no keys."""
    denials = OnDemand(list[Denial])
    firings = OnDemand(list[tuple[int, Advice]])
    kept = OnDemand(list[KeptEvent])
    new_runs = OnDemand(list[Run])
    changed_runs = OnDemand(dict[int, Run])
    steps = OnDemand(list[RunStep])
    new_budgets = OnDemand(list[Budget])
    changed_budgets = OnDemand(list[Budget])
    archived_budgets = OnDemand(list[Budget])
    terms = OnDemand(list[tuple[int, int, Terms]])
    """With the ids of the budget and of the terms."""
    triggers = OnDemand(list[Trigger])
    own_prices = OnDemand(list[OwnPrice])
    discounts = OnDemand(list[Discount])
    aliases = OnDemand(list[Alias])
    model_facts = OnDemand(list[OwnFacts])
    increases = OnDemand(dict[int, Increase])
    users = OnDemand(dict[str, User])
    erasures = OnDemand(list[Erasure])
    """They begin after everything else is written."""
    calendar_changes = OnDemand(list[tuple[int, datetime, CalendarRule]])
    """With the ids of their entries in the audit log."""
    stops = OnDemand(list[str | None])
    finds_duplicates = OnDemand(list[bool])
    audit = OnDemand(list[AuditEntry])
    sums = OnDemand(dict[tuple[CallFacts, Period], list[int]])
    """What events add to all roll-ups, until the batch is decided; in the order of `Figures`."""
    rollups = OnDemand(dict[RollupKey, list[int]])
    """Sums in the order of `Figures`, here and in the next two."""
    tag_rollups = OnDemand(dict[TagKey, list[int]])
    run_rollups = OnDemand(dict[RunKey, list[int]])
    optimizations = OnDemand(list[tuple[Technique, bool]])

    @property
    def is_ordinary(self) -> bool:
        """Whether only holds, events and the sums of events were changed, as by nearly every batch."""
        return self.has_only(_ORDINARY)

    def has_only(self, fields: frozenset[str]) -> bool:
        """Tell whether nothing was changed but what the named fields say."""
        made = vars(self)
        # Nearly every batch is told apart by the names alone; another field may have been read, and so made, but empty.
        return fields.issuperset(made) or not any(made[name] for name in made.keys() - fields)

    @property
    def config_changed(self) -> bool:
        """Whether the tenant's set-up has a new version after this batch."""
        return bool(
            self.new_budgets or self.changed_budgets or self.archived_budgets or self.triggers or self.users
            or self.erasures or self.calendar_changes or self.stops or self.own_prices or self.aliases
            or self.discounts or self.model_facts
            or self.finds_duplicates
            or any(change_id is not None for _, _, _, change_id in self.name_decisions)
        )  # fmt: skip

    @property
    def stands_alone(self) -> bool:
        """Whether the next batch must wait until these changes can be read from the database."""
        return not self.is_ordinary and (bool(self.audit) or not self.leaves_accounts_known)

    @property
    def leaves_accounts_known(self) -> bool:
        """Whether the accounts are afterwards what the batch knows of them."""
        if self.is_ordinary:
            return True
        return not self.config_changed and not (
            self.new_grants or self.changed_grants or self.increases
            or any(run.external_id is not None and run.ended_at is not None for run in self.changed_runs.values())
        )  # fmt: skip
