"""Owns the life of a hold: states, events and the table of what each event does (design D1, D2, D8).

The table is the whole truth: code only fires it, an illegal event changes nothing, and the picture in
ARCHITECTURE.md is drawn from it. A lease is a hold for many calls: each call draws on it, none ends it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class HoldState(StrEnum):
    """Where a reservation stands."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class HoldEvent(StrEnum):
    """What can happen to a reservation."""

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
"""What leads where. An operator who forces a hold's end does not know whether its call was made: what is reported
later is still booked, so it is an expiry."""


class CallFacts(NamedTuple):
    """Who calls what for whom: the values that selectors choose by and events are attributed to.

    A tuple, because it is looked up by value several times for every call.
    """

    user: str
    cost_center: str
    agent_type: str
    request_type: str
    provider: str
    model: str
    run_id: int | None = None
    tool: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Reservation:
    """A hold: amounts set aside on the accounts of its path until it ends.

    `held_tokens` counts all tokens, `held_uncached_tokens` those not expected from a cache; they are what was set
    aside when it was given, `drawn_*` what parts of its call, or calls of a lease, have used since. `changes` counts
    draws and extensions, so that who knows the hold can tell whether they know all of it.
    `directive` and `warnings` are the JSON values of what the caller was told, None where there was nothing to tell.
    `key` and `fingerprint` are those of the request that made it, known only to the batch that makes it.
    """

    reservation_id: int
    facts: CallFacts
    requested_model: str
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
    directive: str | None = None
    warnings: str | None = None
    lease: bool = False
    held_calls: int = 1
    drawn_tokens: int = 0
    drawn_uncached_tokens: int = 0
    drawn_nanos: int = 0
    drawn_calls: int = 0
    changes: int = 0
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

    def after(self, event: HoldEvent) -> HoldState | None:
        """Return the state an event leads to, or None where the table has none."""
        return TRANSITIONS[self.state].get(event)
