"""Owns what callers ask for: one frozen value per verb, already parsed and within its bounds.

`key` makes a verb idempotent within its `source`; `fingerprint` tells whether a repeated key carries the same request.
"""

from datetime import datetime
from hashlib import blake2b
from typing import ClassVar

from token_ledger.core.administration import (
    ArchiveBudget,
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    CreateBudget,
    DecideIncrease,
    EraseUser,
    ForceRelease,
    GiveGrant,
    ReplaceBudget,
    SetCalendar,
    SetTrigger,
    SetUsers,
    StopTenant,
)  # fmt: skip
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Limits
from token_ledger.core.price import CacheWrite
from token_ledger.core.run import RunState
from token_ledger.core.usage import Usage
from token_ledger.core.values import value


def fingerprint(request: bytes) -> bytes:
    """Return the 16 bytes that stand for a request's canonical text."""
    return blake2b(request, digest_size=16).digest()


@value
class Reserve:
    """May I make this call? User and cost center come from the run where there is one."""

    source: ClassVar[str] = "reserve"
    key: str
    fingerprint: bytes
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


@value
class OpenLease(Reserve):
    """May I make up to `calls` such calls without asking each time? The sizes are those of one call."""

    source: ClassVar[str] = "lease"
    calls: int = 1


@value
class Preflight:
    """Would these calls fit now, so many of each? Nothing is held: the answer is about this instant."""

    source: ClassVar[str] = "preflight"
    calls: tuple[tuple[Reserve, int], ...]
    key: str = ""
    fingerprint: bytes = b""


@value
class Settle:
    """The call was made: what it really used. Provider and model default to those of the hold.

    With `part` the hold goes on: a call of a lease, or a part of a streamed call (what it used since the part before).
    """

    source: ClassVar[str] = "settle"
    key: str
    fingerprint: bytes
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


@value
class Extend:
    """The call goes on for longer: let the hold expire so many seconds from now, if that is later than it would."""

    source: ClassVar[str] = "extend"
    key: str
    fingerprint: bytes
    reservation_id: int
    ttl_seconds: int


@value
class Release:
    """The call surely was not made: give the hold back."""

    source: ClassVar[str] = "release"
    key: str
    fingerprint: bytes
    reservation_id: int
    reason: str | None = None


@value
class Record:
    """A call was made without a hold: book it. Its own `source` scopes the key, as in CloudEvents."""

    source: str
    key: str
    fingerprint: bytes
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
    tags: tuple[tuple[str, str], ...] = ()
    body: str = "{}"
    """The event as it came, kept where it has to be quarantined. It holds counts and names, never prompts."""


@value
class Quarantine:
    """An event that could not even be read: keep it, whatever it says."""

    source: str
    key: str
    fingerprint: bytes
    code: str
    detail: str
    body: str


@value
class OpenRun:
    """Start a run, with limits of its own and a split over agent types.

    A sub-run takes user and cost center from its parent. With `attach` an open run of the same `external_id` is
    answered with, instead of starting another.
    """

    source: ClassVar[str] = "run"
    key: str
    fingerprint: bytes
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
class EndRun:
    """Close or cancel a run: later reserves are refused, settles are still booked. So it is for its sub-runs.

    With an `actor` it is an administrator's doing, and noted as such; agents and users end runs in the ordinary way.
    """

    source: ClassVar[str] = "run_end"
    key: str
    fingerprint: bytes
    run_id: int
    state: RunState
    actor: str | None = None


@value
class TakeStep:
    """Begin another iteration of a run; refused once the run, or one it is a part of, has made all of its own."""

    source: ClassVar[str] = "step"
    key: str
    fingerprint: bytes
    run_id: int
    label: str | None = None


@value
class Rebalance:
    """Split what a run has available anew over agent types; those it does not name keep what they have used."""

    source: ClassVar[str] = "rebalance"
    key: str
    fingerprint: bytes
    run_id: int
    shares: tuple[Share, ...]


@value
class TendAccounts:
    """Let grants lapse that are due, and close accounts whose window has ended and on which nothing is held."""

    source: ClassVar[str] = "tend"
    account_ids: tuple[int, ...]
    key: str = ""
    fingerprint: bytes = b""


@value
class ExpireDue:
    """Nothing of its own: its batch expires the holds that are due, as every batch does."""

    source: ClassVar[str] = "expire"
    key: str = ""
    fingerprint: bytes = b""


Command = (
    Reserve | OpenLease | Preflight | Settle | Extend | Release | ForceRelease | Record | Quarantine
    | OpenRun | EndRun | TakeStep | Rebalance | ChangeRun
    | CreateBudget | ChangeBudget | ReplaceBudget | ArchiveBudget | SetTrigger
    | GiveGrant | AskIncrease | DecideIncrease
    | SetUsers | EraseUser | SetCalendar | StopTenant
    | TendAccounts | ExpireDue
)  # fmt: skip
