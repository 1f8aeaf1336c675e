"""Owns what callers ask for: one frozen value per verb, already parsed and within its bounds.

`key` makes a verb idempotent within its `source`; `fingerprint` tells whether a repeated key carries the same request.
"""

from datetime import datetime
from hashlib import blake2b
from typing import ClassVar

from token_ledger.core.allocation import Share
from token_ledger.core.budget import Counts, Enforcement, Limits
from token_ledger.core.price import CacheWrite
from token_ledger.core.run import RunState
from token_ledger.core.trigger import Downgrade, Mode, TriggerKind
from token_ledger.core.usage import Usage
from token_ledger.core.values import value
from token_ledger.core.window import Window


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
class Settle:
    """The call was made: what it really used. Provider and model default to those of the hold."""

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
    """Start a run, with limits of its own and a split over agent types."""

    source: ClassVar[str] = "run"
    key: str
    fingerprint: bytes
    user: str
    cost_center: str
    external_id: str | None = None
    limits: Limits = Limits()
    shares: tuple[Share, ...] = ()
    strict: bool = False


@value
class EndRun:
    """Close or cancel a run: later reserves are refused, settles are still booked."""

    source: ClassVar[str] = "run_end"
    key: str
    fingerprint: bytes
    run_id: int
    state: RunState


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


@value
class ArchiveBudget:
    """Let a budget match no further call; its accounts stay."""

    source: ClassVar[str] = "budget_archive"
    key: str
    fingerprint: bytes
    budget_id: int


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


@value
class ExpireDue:
    """Nothing of its own: its batch expires the holds that are due, as every batch does."""

    source: ClassVar[str] = "expire"
    key: str = ""
    fingerprint: bytes = b""


Command = (
    Reserve | Settle | Release | Record | Quarantine | OpenRun | EndRun
    | CreateBudget | ArchiveBudget | SetTrigger | ExpireDue
)  # fmt: skip
