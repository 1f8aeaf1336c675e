"""Owns what callers ask for: one value per verb, already parsed and within its bounds."""

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Self

from token_ledger.core.batch import administration
from token_ledger.core.batch.idempotency import KeyedCommand, UnkeyedCommand
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.details import Details, Kind
from token_ledger.core.model.event import OLDEST
from token_ledger.core.model.frozen import value
from token_ledger.core.model.hold_cost import CacheWrite
from token_ledger.core.model.other_kinds import Others
from token_ledger.core.model.principal import Role
from token_ledger.core.model.run import RunState
from token_ledger.core.model.usage import Usage


@value
class Reserve(KeyedCommand):
    """May I make this call? User and cost center come from its run if it has one."""

    verb: ClassVar[str] = "reserve"
    made_for: ClassVar[Role] = Role.AGENT
    agent_type: str
    provider: str
    model: str
    input_tokens: int
    max_output_tokens: int
    run_id: int | None = None
    user: str | None = None
    cost_center: str | None = None
    request_type: str = "chat"
    cached_input_tokens: int = 0
    cache_write: CacheWrite | None = None
    ttl_seconds: int = 300
    tool: str | None = None
    requires: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    apply: tuple[str, ...] = ()
    max_usage: Others = ()
    """The most that the call may use of the kinds that few calls have."""
    service_tier: str | None = None
    """How the provider will serve the call, if not in the standard way."""


@value
class Lease(Reserve):
    """May I make up to `calls` such calls without asking each time? The sizes are those of one call."""

    verb: ClassVar[str] = "lease"
    calls: int = 1


@value
class Preflight(UnkeyedCommand):
    """Would these calls fit now, with a count for each? Nothing is held, so the answer is about this instant."""

    verb: ClassVar[str] = "preflight"
    calls: tuple[tuple[Reserve, int], ...]


def settle_key(reservation_id: int) -> str:
    """Return the key of a settlement that is sent without one. It belongs to its hold, whoever settles it."""
    return f"settle:{reservation_id}"


def is_settle_key(key: str) -> bool:
    """Return whether a key reads like the own key of some hold."""
    return key.startswith("settle:") and key[7:].isdigit()


@value
class OtherModel:
    """What another model used that the provider called within a call. Without a provider, it is that of the call."""

    provider: str | None
    model: str
    usage: Usage
    service_tier: str | None = None


MOST_OTHER_MODELS = 8
"""How many other models one call can have."""
OTHER_MODEL = "other_model"
"""The key space of the events of other models within a call."""


def other_model_keys(event_id: int, number: int = MOST_OTHER_MODELS) -> list[tuple[str, str]]:
    """Return the sources and keys of the events of other models within the call that an event is about."""
    return [(f"{Settle.verb}@{OTHER_MODEL}", f"{event_id}:{place}") for place in range(number)]


@value
class Settle(KeyedCommand):
    """The call was made: what it really used. Provider and model default to those of the hold.

    With `part` the hold stays open: a call of a lease, or a part of a streamed call (its use since the last part).
    """

    verb: ClassVar[str] = "settle"
    made_for: ClassVar[Role] = Role.AGENT
    reservation_id: int
    usage: Usage
    provider: str | None = None
    model: str | None = None
    occurred_at: datetime | None = None
    failed: bool = False
    estimated: bool = False
    response_id: str | None = None
    original_input_tokens: int | None = None
    part: bool = False
    tool: str | None = None
    service_tier: str | None = None
    """How the provider served the call, if not in the standard way."""
    other_models: tuple[OtherModel, ...] = ()
    details: Details | None = None

    def sent_by(self, kind: Role) -> Self:
        """Return the command with its key among those of a kind of principal, so that none has a hold's own key."""
        if self.key == settle_key(self.reservation_id) and not self.part:
            return self
        if kind is self.made_for and not is_settle_key(self.key):
            return self
        return replace(self, key_space=kind.value)


@value
class Extend(KeyedCommand):
    """The call takes longer: let the hold expire `ttl_seconds` from now, unless it expires later anyway."""

    verb: ClassVar[str] = "extend"
    made_for: ClassVar[Role] = Role.AGENT
    reservation_id: int
    ttl_seconds: int


@value
class Release(KeyedCommand):
    """The call was certainly not made: give the hold back."""

    verb: ClassVar[str] = "release"
    made_for: ClassVar[Role] = Role.AGENT
    reservation_id: int
    reason: str | None = None


def event_key_source(event_source: str) -> str:
    """Return what the keys of events from a source are unique within."""
    return f"event:{event_source}"


@lru_cache(maxsize=1_024)  # every event asks for it a few times, and most come from few sources
def event_keys(event_source: str, key_space: str) -> str:
    """Return what the keys of events from a source are unique within, in a key space that only the ledger uses."""
    source = event_key_source(event_source)
    return f"{key_space}:{source}" if key_space else source


def other_model_key_space(number: int) -> str:
    """Return the key space of another model within a recorded call, from 1; each has the key of the call."""
    return f"{OTHER_MODEL}{number}"


MOST_READINGS = 16
"""How many later readings of one unfinished call are booked; more are kept in quarantine, as contradictions."""
READING = "reading"
"""What the key spaces of later readings of imported calls begin with."""


def call_key_spaces() -> list[str]:
    """Return the key spaces in which calls of one recorded event can be booked: itself, other models, readings."""
    spaces = ["", *map(other_model_key_space, range(1, MOST_OTHER_MODELS + 1))]
    return [*spaces, *(later for space in spaces for later in _reading_key_spaces(space))]


def _reading_key_spaces(key_space: str) -> list[str]:
    behind = f".{key_space}" if key_space else ""
    return [f"{READING}{number}{behind}" for number in range(1, MOST_READINGS + 1)]


def sources_of_events(event_source: str) -> list[str]:
    """Return every source that keys of events from a source can have."""
    return [event_keys(event_source, space) for space in (*call_key_spaces(), CONTRADICTION)]


@value
class Record(KeyedCommand):
    """A call was made without a hold: book it. Keys are unique within the source of the event, as in CloudEvents.

    So they are the same for all kinds of principals: an event that an importer repeats is booked once. `event_kind` is
    None for the call of a model. A tool call may have a cost that its caller states; without a model it names none.
    """

    verb: ClassVar[str] = "record"
    event_source: str
    agent_type: str
    provider: str
    model: str
    usage: Usage
    run_id: int | None = None
    user: str | None = None
    cost_center: str | None = None
    request_type: str = "chat"
    occurred_at: datetime | None = None
    failed: bool = False
    estimated: bool = False
    response_id: str | None = None
    tool: str | None = None
    service_tier: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    event_kind: Kind | None = None
    cost_nanos: int | None = None
    details: Details | None = None
    counts_since: datetime | None = None
    """Of a call that is imported: see `model.event.counts_on`. It may be of any age."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """The event as it came, kept where it has to be quarantined. It holds counts and names, never prompts."""
    may_grow: bool = False
    """Whether the import may have met the call while it was made, so that a later one of it has more usage."""
    is_spooled: bool = False
    """Whether it waited in a client's spool: then it may be of any age as well, and has a `counts_since`."""

    def imported_since(self, now: datetime) -> datetime | None:
        """Return `counts_since` if the call is booked like an imported one: a spooled one is only once it is old."""
        if self.is_spooled and (self.occurred_at is None or self.occurred_at >= now - OLDEST):
            return None
        return self.counts_since

    @property
    def source(self) -> str:
        """What the key is unique within: all events of a source."""
        return event_keys(self.event_source, self.key_space)


@value
class Quarantine(KeyedCommand):
    """An event that could not be read: keep it as it came, but for texts that nobody asked for."""

    verb: ClassVar[str] = "quarantine"
    event_source: str
    code: str
    detail: str
    body: Any

    @property
    def source(self) -> str:
        """What the key is unique within: all events of a source."""
        return event_keys(self.event_source, self.key_space)


Report = Settle | Record | Quarantine
"""What says that money was spent. None is ever dropped: what can't be booked is kept in quarantine."""


@value
class KeepUnbooked(KeyedCommand):
    """A report was refused for a reason that is not in it, by the database for example: keep it, under its own key."""

    verb: ClassVar[str] = "keep_unbooked"
    report: Report

    @property
    def source(self) -> str:
        """What the key is unique within: the same as that of the report."""
        return self.report.source


CONTRADICTION = "contradiction"
"""The key space of reports whose own key was used for another request."""


def kept_apart(report: Report) -> Report:
    """Return a report with the key that it is kept under if its own was used for another request."""
    return replace(report, key=f"{report.fingerprint.hex()}:{report.key}", key_space=CONTRADICTION)


def later_readings(record: Record) -> list[Record]:
    """Return a record of an imported call with each key that a later reading of it can have, in their order."""
    return [replace(record, key_space=space) for space in _reading_key_spaces(record.key_space)]


@value
class OpenRun(KeyedCommand):
    """Start a run, with limits of its own and a split over agent types.

    A sub-run takes user and cost center from its parent. With `attach` the answer is an open run of the same
    `external_id` if there is one, and no other is started.
    """

    verb: ClassVar[str] = "open_run"
    made_for: ClassVar[Role] = Role.AGENT
    user: str | None = None
    cost_center: str | None = None
    external_id: str | None = None
    limits: Limits = Limits()
    iterations: int | None = None
    shares: tuple[Share, ...] = ()
    strict: bool = False
    parent_run_id: int | None = None
    attach: bool = False


@value
class EndRun(KeyedCommand):
    """Close or cancel a run and its sub-runs: later reserves are refused, settles are still booked.

    `actor` is the administrator who does it, and goes to the audit log; agents and users have none.
    """

    verb: ClassVar[str] = "end_run"
    made_for: ClassVar[Role] = Role.AGENT
    run_id: int
    state: RunState
    actor: str | None = None


@value
class Step(KeyedCommand):
    """Begin another iteration of a run; refused when the run or one of its ancestors has no iterations left."""

    verb: ClassVar[str] = "step"
    made_for: ClassVar[Role] = Role.AGENT
    run_id: int
    label: str | None = None


@value
class Rebalance(KeyedCommand):
    """Split what a run has available again over agent types; those not named keep what they have used."""

    verb: ClassVar[str] = "rebalance"
    made_for: ClassVar[Role] = Role.AGENT
    run_id: int
    shares: tuple[Share, ...]


@value
class TendAccounts(UnkeyedCommand):
    """Let grants lapse that are due, and close accounts whose window has ended and that hold nothing."""

    verb: ClassVar[str] = "tend_accounts"
    account_ids: tuple[int, ...]


DUE_BESIDE_COMMANDS = 64
"""How many due holds every batch expires beside its commands: bounded, so that a backlog can't make it slow."""


@value
class ExpireDue(UnkeyedCommand):
    """Make a batch happen that expires up to `most` of the holds that are due."""

    verb: ClassVar[str] = "expire_due"
    most: int = DUE_BESIDE_COMMANDS


Command = (
    Reserve
    | Lease
    | Preflight
    | Settle
    | Extend
    | Release
    | administration.ForceRelease
    | Record
    | Quarantine
    | KeepUnbooked
    | OpenRun
    | EndRun
    | Step
    | Rebalance
    | administration.ChangeRun
    | administration.CreateBudget
    | administration.ChangeBudget
    | administration.ReplaceBudget
    | administration.ArchiveBudget
    | administration.SetTrigger
    | administration.RenameModel
    | administration.SetPrice
    | administration.SetAlias
    | administration.SetDiscount
    | administration.SetModel
    | administration.GiveGrant
    | administration.AskIncrease
    | administration.DecideIncrease
    | administration.Reverse
    | administration.Recost
    | administration.SetUsers
    | administration.EraseUser
    | administration.SetCalendar
    | administration.SetDuplicates
    | administration.StopTenant
    | TendAccounts
    | ExpireDue
)
