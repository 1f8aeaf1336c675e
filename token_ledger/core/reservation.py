"""Owns the life of a hold: states, events and the table of what each event does (design D1, D2).

    held ──settle──▶ settled          held ──release──▶ released
      └──expire──▶ expired ──settle──▶ settled (late)

The table is the whole truth: code only fires it, and an illegal event changes nothing.
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

    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"


TRANSITIONS: dict[HoldState, dict[HoldEvent, HoldState]] = {
    HoldState.HELD: {
        HoldEvent.SETTLE: HoldState.SETTLED,
        HoldEvent.RELEASE: HoldState.RELEASED,
        HoldEvent.EXPIRE: HoldState.EXPIRED,
    },
    HoldState.EXPIRED: {HoldEvent.SETTLE: HoldState.SETTLED},
    HoldState.SETTLED: {},
    HoldState.RELEASED: {},
}


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

    `held_tokens` counts all tokens, `held_uncached_tokens` those not expected from a cache; a call counts one.
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
    key: str = ""
    fingerprint: bytes = b""

    def after(self, event: HoldEvent) -> HoldState | None:
        """Return the state an event leads to, or None where the table has none."""
        return TRANSITIONS[self.state].get(event)
