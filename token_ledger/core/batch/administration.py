"""Owns what administrators of a tenant ask for: one value per verb, with who asks (`actor`).

Each of them leaves an entry in the audit log when it is done.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from token_ledger.core.batch.idempotency import KeyedCommand
from token_ledger.core.batch.recosting_sums import DecidedRecostings
from token_ledger.core.model.budget import (
    DEFAULT_THRESHOLDS,
    Counts,
    Enforcement,
    Limits,
    Overrides,
    Unassigned,
    Unit,
)
from token_ledger.core.model.frozen import value
from token_ledger.core.model.model_facts import ModelFacts
from token_ledger.core.model.price import ModelName, Price
from token_ledger.core.model.principal import Role
from token_ledger.core.model.recosting import FoundRecosting
from token_ledger.core.model.selector import Selector
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import User
from token_ledger.core.model.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.model.window import CalendarRule, Window


@value
class CreateBudget(KeyedCommand):
    """Set a limit for a selector per window."""

    verb: ClassVar[str] = "create_budget"
    name: str
    selector: Selector
    limits: Limits
    window: Window
    enforcement: Enforcement = Enforcement.HARD
    counts: Counts = Counts.ALL
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    rollover: Limits | None = None
    actor: str = ""
    overrides: Overrides = ()
    unassigned: Unassigned = Unassigned.SHARED


@value
class ChangeBudget(KeyedCommand):
    """Change what a budget allows, also below what is spent; None leaves a field as it is, so does a unit with None.

    Open accounts take the change over with the next call that falls on them.
    """

    verb: ClassVar[str] = "change_budget"
    budget_id: int
    limits: Limits | None = None
    enforcement: Enforcement | None = None
    thresholds: tuple[int, ...] | None = None
    rollover: Limits | None = None
    actor: str = ""
    removed_limits: tuple[Unit, ...] = ()
    removed_rollover: tuple[Unit, ...] = ()
    overrides: Overrides | None = None
    unassigned: Unassigned | None = None


@value
class ReplaceBudget(CreateBudget):
    """Archive a budget and create another, in one step: for fields that can't be changed.

    The accounts of a budget follow from its selector, its window and what it counts, so these need new accounts.
    """

    verb: ClassVar[str] = "replace_budget"
    replaced_id: int = 0


@value
class ArchiveBudget(KeyedCommand):
    """Stop a budget from selecting calls; its accounts stay."""

    verb: ClassVar[str] = "archive_budget"
    budget_id: int
    actor: str = ""


@value
class SetTrigger(KeyedCommand):
    """Set the trigger of a kind, in place of the one before."""

    verb: ClassVar[str] = "set_trigger"
    kind: TriggerKind
    at_percent: int
    mode: Mode
    per_call_tokens: int | None = None
    per_call_nanos: int | None = None
    downgrades: tuple[Downgrade, ...] = ()
    actor: str = ""


@value
class RenameModel(KeyedCommand):
    """Call a model otherwise in the books from now on; what was booked before keeps its name.

    `asked` is a name that callers use. If it is a name in the books itself, every name that leads to it goes along.
    """

    verb: ClassVar[str] = "rename_model"
    asked: ModelName
    becomes: ModelName
    reason: str
    actor: str


@value
class SetPrice(KeyedCommand):
    """Let a model, or all models that a pattern names, have a price of the tenant's own from an instant on.

    Without `valid_from` that is the instant of the decision. `rates` is the price as it is stored; without, the global
    price book counts again.
    """

    verb: ClassVar[str] = "set_price"
    provider: str
    model: str
    rates: Mapping[str, Any] | None
    price: Price | None
    actor: str
    valid_from: datetime | None = None


@value
class SetAlias(KeyedCommand):
    """Let a name of a model, or all names of a pattern, stand for a model; None ends that.

    For calls that are made from now on. A name that is in the books keeps its meaning there.
    """

    verb: ClassVar[str] = "set_alias"
    provider: str
    model: str
    stands_for: ModelName | None
    actor: str


@value
class SetDiscount(KeyedCommand):
    """Let a tenant pay a factor of what the global price book says, for a model or a pattern, from an instant on.

    Without `valid_from` that is the instant of the decision. `factor` is in billionths; None withdraws the discounts of
    this name that began before.
    """

    verb: ClassVar[str] = "set_discount"
    provider: str
    model: str
    factor: int | None
    actor: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@value
class SetModel(KeyedCommand):
    """Say what is known of a model beside its price; None says nothing any more, and what is published counts."""

    verb: ClassVar[str] = "set_model"
    provider: str
    model: str
    facts: ModelFacts | None
    actor: str


@value
class GiveGrant(KeyedCommand):
    """Give an account extra limit, until an instant or to the end of its window.

    The account is named by its id, or by budget and subject: then it is that of the window under way, which is made if
    there is none yet.
    """

    verb: ClassVar[str] = "give_grant"
    account_id: int | None
    amounts: Limits
    reason: str
    actor: str
    expires_at: datetime | None = None
    budget_id: int | None = None
    subject: Subject | None = None


@value
class AskIncrease(KeyedCommand):
    """Ask for a higher limit on an account, named as for a grant; an administrator decides."""

    verb: ClassVar[str] = "ask_increase"
    made_for: ClassVar[Role] = Role.AGENT
    account_id: int | None
    amounts: Limits
    reason: str
    asked_by: str
    budget_id: int | None = None
    subject: Subject | None = None


@value
class DecideIncrease(KeyedCommand):
    """Approve or refuse an increase. An approved one raises the limit, as a grant if it has an `expires_at`."""

    verb: ClassVar[str] = "decide_increase"
    increase_id: int
    approve: bool
    actor: str
    note: str | None = None
    expires_at: datetime | None = None


@value
class ChangeRun(KeyedCommand):
    """Change the limits of an open run, also below what is spent; None leaves a limit as it is.

    `iterations` of None ends their limit if `removes_iterations`.
    """

    verb: ClassVar[str] = "change_run"
    run_id: int
    limits: Limits
    iterations: int | None
    reason: str
    actor: str
    removed_limits: tuple[Unit, ...] = ()
    removes_iterations: bool = False


@value
class ForceRelease(KeyedCommand):
    """End a hold whose client is believed dead; what the client reports later is still booked."""

    verb: ClassVar[str] = "force_release"
    reservation_id: int
    reason: str
    actor: str


@value
class Reverse(KeyedCommand):
    """Take back what was booked under a key, which is this command's key too, so that it is taken back once.

    `events` are the ids of what was booked with the instants of the booking, and `reservation_id` is its hold if the
    key is one's. Finding them may take long, so it is done before the batch. `is_complete` says whether all are kept.
    """

    verb: ClassVar[str] = "reverse"
    event_source: str | None
    events: tuple[tuple[int, datetime], ...]
    reason: str
    actor: str
    reservation_id: int | None = None
    is_complete: bool = True

    @property
    def source(self) -> str:
        """What the key is unique within: as the key of what was booked."""
        return self.verb if self.event_source is None else f"{self.verb}:{self.event_source}"


@value
class RecostedCall:
    """A call to re-cost: its events with the instants of their booking, the newest last, and the name it is priced by.

    They are the parts of one call by one model, whose hold has ended, or one event. All of it is re-costed by the price
    of the instant `whole_at`; if that is None, only what had no price. `found` is what was decided when it was found,
    which is decided again only if something has changed since.
    """

    events: tuple[tuple[int, datetime], ...]
    called: ModelName
    whole_at: datetime | None = None
    found: FoundRecosting | None = None


@value
class Recost(KeyedCommand):
    """Book what calls cost more or less at prices that were set after them.

    Finding them may take long, so it is done before the batch. `following` is where those that are left begin, None
    where none are; `target` says of which models they are. `decided` are all of them as they were decided when found.
    """

    verb: ClassVar[str] = "recost"
    calls: tuple[RecostedCall, ...]
    target: str
    actor: str
    following: str | None = None
    decided: DecidedRecostings | None = None


@value
class SetUsers(KeyedCommand):
    """Add users, or replace their cost centers from the first given instant on; who is not named stays as they are."""

    verb: ClassVar[str] = "set_users"
    users: tuple[User, ...]
    actor: str


@value
class EraseUser(KeyedCommand):
    """Replace a user's name by a pseudonym everywhere; every sum stays.

    `known` says whether any row has the name. Finding that out may take long, so it is done before the batch.
    """

    verb: ClassVar[str] = "erase_user"
    user: str
    actor: str
    known: bool = True


@value
class SetCalendar(KeyedCommand):
    """Change time zone, week start or fiscal year from an instant on; windows under way end as they would have."""

    verb: ClassVar[str] = "set_calendar"
    rule: CalendarRule
    actor: str
    effective_from: datetime | None = None


@value
class SetDuplicates(KeyedCommand):
    """Say whether a provider's response that is reported again is the same call (`found`), or is booked again."""

    verb: ClassVar[str] = "set_duplicates"
    found: bool
    actor: str


@value
class StopTenant(KeyedCommand):
    """Stop every call of the tenant, or resume them (`reason` None); settles are booked in any case."""

    verb: ClassVar[str] = "stop_tenant"
    reason: str | None
    actor: str


MOVES_CALLS: frozenset[type[KeyedCommand]] = frozenset(
    {SetTrigger, RenameModel, SetPrice, SetAlias, SetUsers, EraseUser}
)
"""The commands after which a call may fall on other accounts than before, or be admitted where it was refused.

A batch loads its accounts before the first of its commands is decided, so it ends with such a command.
"""
