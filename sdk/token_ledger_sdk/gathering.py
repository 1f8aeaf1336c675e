"""Which requests wait for others to come back, and travel together as soon as they have. Pure but for its lock.

The first requests leave at once, each by itself. While `LISTS` are on their way, those that come gather, and leave
together when one is back, or when all that are on their way take long: a request that hangs keeps nobody waiting for
more than `PATIENCE_SECONDS`. Whoever makes a request sends it, and those that wait with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .wire.answers import Answer, NoAnswer
from .wire.requests import ApiRequest
from .wire.together import MOST_BYTES, MOST_OPERATIONS

LISTS = 2
"""So many requests may be on their way before others wait for them."""
PATIENCE_SECONDS = 0.25
"""Who has been on the way for longer is not waited for."""


class Wakes(Protocol):
    """What wakes whoever waits."""

    def set(self) -> None:
        """Wake it."""


Signal = TypeVar("Signal", bound=Wakes)


class Place(Generic[Signal]):
    """One request among others: `outcome` is what came back, `signal` wakes whoever waits for it.

    `goes_alone`: it can't be answered in a list. `was_sent`: it may have been executed. `given_up`: its caller has gone
    while it was on its way.
    """

    __slots__ = ("given_up", "goes_alone", "outcome", "request", "signal", "was_sent")

    def __init__(self, request: ApiRequest, signal: Signal) -> None:
        self.request = request
        self.signal = signal
        self.outcome: Answer | NoAnswer | None = None
        self.goes_alone = False
        self.was_sent = False
        self.given_up = False


class Departure(Generic[Signal]):
    """What leaves together, and when it left."""

    __slots__ = ("left_at", "places")

    def __init__(self, places: list[Place[Signal]], left_at: float) -> None:
        self.places = places
        self.left_at = left_at


class Gathering(Generic[Signal]):
    """The requests of one process that wait, in their order, and those on their way; for any number of threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # never held while waiting
        self._waiting: dict[Place[Signal], None] = {}
        self._on_the_way: set[Departure[Signal]] = set()

    def join(self, place: Place[Signal]) -> Departure[Signal] | None:
        """Let a request wait; returns what its caller must send now, if anything can leave."""
        with self._lock:
            self._waiting[place] = None
            return self._depart(anyway=False)

    def depart(self, place: Place[Signal], *, anyway: bool) -> Departure[Signal] | None:
        """Return what the caller of a request that waits must send now, or `anyway`, though others are under way."""
        with self._lock:
            if place.goes_alone:
                place.goes_alone = False
                return self._leave([place])
            return self._depart(anyway=anyway) if place in self._waiting else None

    def patience_seconds(self, place: Place[Signal]) -> float | None:
        """Return how long a request's caller waits before it sends those that wait, None if another sees to that."""
        with self._lock:
            return PATIENCE_SECONDS if next(iter(self._waiting), None) is place else None

    def arrived(self, place: Place[Signal], outcome: Answer | NoAnswer | None) -> bool:
        """Note what came back for a request, None if it must be sent by itself; returns whether its caller waits."""
        with self._lock:
            place.outcome, place.goes_alone = outcome, outcome is None
            is_awaited = not place.given_up
        place.signal.set()
        return is_awaited

    def back(self, departure: Departure[Signal]) -> None:
        """Note that a departure is back, and wake whoever leaves next."""
        with self._lock:
            self._on_the_way.discard(departure)
            self._wake_first()

    def broke_off(self, departure: Departure[Signal]) -> list[Place[Signal]]:
        """Note that nobody waits for a departure's answer; returns those of it whose callers have gone."""
        with self._lock:
            self._on_the_way.discard(departure)
            open_places = [place for place in departure.places if place.outcome is None and not place.goes_alone]
            again = [place for place in open_places if not place.given_up]
            self._waiting = dict.fromkeys(again) | self._waiting
            self._wake_first()
            return [place for place in open_places if place.given_up]

    def gone(self, place: Place[Signal]) -> bool:
        """Note that a request's caller has gone; returns whether it is on its way, so that an answer will come."""
        with self._lock:
            if place in self._waiting:
                del self._waiting[place]
                self._wake_first()
                return False
            place.given_up = place.outcome is None and not place.goes_alone
            return place.given_up

    def given_up(self) -> list[ApiRequest]:
        """Return the requests on their way that nobody waits for."""
        with self._lock:
            return [each.request for departure in self._on_the_way for each in departure.places if each.given_up]

    def _depart(self, *, anyway: bool) -> Departure[Signal] | None:
        since = self._clock() - PATIENCE_SECONDS
        if not anyway and sum(each.left_at > since for each in self._on_the_way) >= LISTS:
            return None
        places: list[Place[Signal]] = []
        size = 0
        for place in self._waiting:
            size += len(place.request.content or b"")
            if len(places) == MOST_OPERATIONS or (places and size > MOST_BYTES):
                break
            places.append(place)
        for place in places:
            del self._waiting[place]
        self._wake_first()
        return self._leave(places)

    def _leave(self, places: list[Place[Signal]]) -> Departure[Signal]:
        departure = Departure(places, self._clock())
        self._on_the_way.add(departure)
        for place in places:
            place.was_sent = True
        return departure

    def _wake_first(self) -> None:
        for place in self._waiting:
            place.signal.set()
            return
