"""Answers of tools, kept for a time, and calls under way, which several callers wait for.

What is kept are copies: neither what the first caller was given nor what later ones get is shared. A write removes what
was read from what it changes, and makes what is being read now stale, so that it is not kept.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from cachetools import TLRUCache

from ..wire.events import ToolCall
from .cache_statistics import CacheStatistics
from .tool_terms import Mark

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer in the cache, with the event of the call that it is from."""

    value: object
    event: ToolCall
    marks: frozenset[Mark]
    seconds: float

    def copy(self) -> Any:
        """Return a copy of the answer that is the caller's alone."""
        return copy.deepcopy(self.value)


@dataclass(slots=True, eq=False)
class Flight(Generic[Event]):
    """A call of a tool under way, whose answer others may wait for; `done` is set when it has ended."""

    tool: str
    key: tuple[bytes, Hashable]
    marks: frozenset[Mark]
    done: Event
    is_stale: bool = False
    kept: Kept | None = None
    error: Exception | None = field(default=None)


class ToolCache(Generic[Event]):
    """The cache of a toolbox, for all its threads and tasks; a forked process begins with an empty one.

    `make_event` makes what those wait for who want the same answer.
    """

    def __init__(
        self, make_event: Callable[[], Event], *, most_answers: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_event = make_event
        self._most_answers = most_answers
        self._clock = clock
        self._counts: Counter[tuple[str, str]] = Counter()
        self.renew()
        _caches.add(self)

    def renew(self) -> None:
        """Begin with an empty cache: in a forked process, calls under way are the parent's, and so are its writes."""
        self._lock = threading.Lock()
        self._flights: dict[tuple[bytes, Hashable], Flight[Event]] = {}
        self._kept: TLRUCache[bytes, Kept] = TLRUCache(
            self._most_answers, lambda _, kept, now: now + kept.seconds, timer=self._clock
        )

    def look(
        self, tool: str, key: bytes, marks: frozenset[Mark], seat: Hashable, *, again: bool
    ) -> Kept | tuple[Flight[Event], bool]:
        """Return the answer; else the call under way, and whether it is this caller's to make.

        Callers of one `seat` wait for each other. `again` says that this caller has been counted before.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._counts[tool, "hits"] += not again
                return kept
            flight = self._flights.get((key, seat))
            if flight is not None:
                self._counts[tool, "joined"] += not again
                return flight, False
            flight = Flight(tool, (key, seat), marks, self._make_event())
            self._flights[key, seat] = flight
            if again:
                self._counts[tool, "joined"] -= 1
            self._counts[tool, "misses"] += 1
            return flight, True

    def land(self, flight: Flight[Event], kept: Kept | None, error: Exception | None = None) -> None:
        """End a call with what is to be kept, or with the error that those who wait for it get; they try with neither.

        Its caller sets `done` afterwards.
        """
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            flight.error = error
            if kept is None:
                return
            if flight.is_stale:
                self._counts[flight.tool, "stale"] += 1
                return
            flight.kept = kept
            self._kept[flight.key[0]] = kept
            self._counts[flight.tool, "stored"] += 1

    def invalidate(self, marks: frozenset[Mark]) -> int:
        """Forget what was read from what has changed, also of calls under way; returns how many were removed."""
        with self._lock:
            for flight in [each for each in self._flights.values() if not marks.isdisjoint(each.marks)]:
                flight.is_stale = True
                del self._flights[flight.key]  # who asks from now on must not get its answer
            removed = 0
            for key in [*self._kept]:
                kept = self._kept.get(key)  # None if its time has passed meanwhile
                if kept is not None and not marks.isdisjoint(kept.marks):
                    self._kept.pop(key, None)
                    self._counts[kept.event.tool, "invalidated"] += 1
                    removed += 1
            return removed

    def statistics(self, tool: str | None = None) -> CacheStatistics:
        """Return the counts of one tool, or of all."""
        totals: Counter[str] = Counter()
        with self._lock:
            for (name, kind), count in self._counts.items():
                if tool in (None, name):
                    totals[kind] += count
        return CacheStatistics(**totals)


_caches: WeakSet[ToolCache[Any]] = WeakSet()


def _renew_all() -> None:
    for cache in [*_caches]:
        cache.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_renew_all)
