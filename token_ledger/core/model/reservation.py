"""Owns the life of a hold: states, events and the table of what each event does.

Code only looks transitions up in the table, an event that it does not list changes nothing, and the picture in
ARCHITECTURE.md is drawn from it. A lease is a hold for many calls: each call draws on it, none ends it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.hold_cost import Announced
from token_ledger.core.model.parts import DrawnUse
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.refusal import Refusal
from token_ledger.core.model.trigger import Advice, Technique


class HoldState(StrEnum):
    """The states of a hold."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class HoldEvent(StrEnum):
    """What can happen to a hold."""

    DRAW = "draw"
    EXTEND = "extend"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"
    FORCE = "force"


TRANSITIONS: dict[HoldState, dict[HoldEvent, HoldState]] = {
    HoldState.HELD: {
        HoldEvent.DRAW: HoldState.HELD,
        HoldEvent.EXTEND: HoldState.HELD,
        HoldEvent.SETTLE: HoldState.SETTLED,
        HoldEvent.RELEASE: HoldState.RELEASED,
        HoldEvent.EXPIRE: HoldState.EXPIRED,
        HoldEvent.FORCE: HoldState.EXPIRED,
    },
    HoldState.EXPIRED: {
        HoldEvent.DRAW: HoldState.EXPIRED,
        HoldEvent.SETTLE: HoldState.SETTLED,
    },
    HoldState.SETTLED: {},
    HoldState.RELEASED: {},
}
"""The next state by state and event. Whoever forces the end of a hold does not know whether its call was made, so that
is an expiry: what is reported later is still booked."""


@dataclass(slots=True)
class Reservation:
    """A hold: amounts set aside on the accounts of its path until it ends.

    `requested` is the model as it was asked for; `facts` has its name in the books, after a downgrade that of the
    cheaper one. `held_tokens` counts all tokens, `held_uncached_tokens` those not expected from a cache. The `held_*`
    amounts were set aside at the beginning; `drawn_*` is what parts of the call, or calls of a lease, have used since,
    `drawn_use` that of the parts of one call by the model that served them.
    `changes` counts draws and extensions, so that a process can tell whether its copy of the hold is current.
    `discount_id` is the tenant's discount on the price, None if there is none. `advice` are the triggers that fired,
    `warnings` the soft and shadow accounts that had too little left. `announced` is what few calls say of themselves
    beside their tokens. `end_reason` is why it was ended without a settle, if that was said. `key` and `fingerprint`
    are those of the request that made it, known only to the batch that makes it.
    """

    reservation_id: int
    facts: CallFacts
    requested: ModelName
    input_tokens: int
    cached_input_tokens: int
    max_output_tokens: int
    held_tokens: int
    held_uncached_tokens: int
    held_nanos: int
    price_id: int
    path: list[int]
    created_at: datetime
    expires_at: datetime
    ttl_seconds: int
    state: HoldState = HoldState.HELD
    ended_at: datetime | None = None
    ended_id: int | None = None
    event_id: int | None = None
    advice: tuple[Advice, ...] = ()
    warnings: tuple[Refusal, ...] = ()
    lease: bool = False
    held_calls: int = 1
    drawn_tokens: int = 0
    drawn_uncached_tokens: int = 0
    drawn_nanos: int = 0
    drawn_calls: int = 0
    changes: int = 0
    drawn_use: tuple[DrawnUse, ...] = ()
    announced: Announced | None = None
    discount_id: int | None = None
    end_reason: str | None = None
    key: str = ""
    fingerprint: bytes = b""

    @property
    def remaining(self) -> tuple[int, int, int, int]:
        """Return what is still set aside: tokens, uncached tokens, nano-dollars, calls."""
        if not self.changes:
            return self.held_tokens, self.held_uncached_tokens, self.held_nanos, self.held_calls
        return (
            max(0, self.held_tokens - self.drawn_tokens),
            max(0, self.held_uncached_tokens - self.drawn_uncached_tokens),
            max(0, self.held_nanos - self.drawn_nanos),
            max(0, self.held_calls - self.drawn_calls),
        )

    @property
    def to_call(self) -> ModelName:
        """The model to call, by the name that its provider knows: as asked for, or as a downgrade says."""
        for fired in self.advice:
            if fired.applied and fired.downgrade is not None:
                return ModelName(fired.downgrade.to_provider, fired.downgrade.to_model)
        return self.requested

    @property
    def is_compressed(self) -> bool:
        """Whether the caller is told to compress its prompt."""
        return any(fired.applied and fired.technique is Technique.AGGRESSIVE_COMPRESSION for fired in self.advice)

    def after(self, event: HoldEvent) -> HoldState | None:
        """Return the state an event leads to, or None where the table has none."""
        return TRANSITIONS[self.state].get(event)
