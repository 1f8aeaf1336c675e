"""The spool of one client: records that wait until the service has them, on disk as long as there is room."""

from __future__ import annotations

import json
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .lines import NewerFormat, Record
from .places import SpoolPlace
from .segments import DAMAGED, SUFFIX, Segment
from .sync import sync_soon

_log = logging.getLogger("token_ledger_sdk")

MOST_BYTES = 256 * 1024 * 1024
"""So much waits on disk at most, some 400,000 calls."""
_SEGMENT_BYTES = 4 * 1024 * 1024
_MOST_IN_MEMORY = 10_000
"""So many records that could not be written to disk wait at most."""
ASIDE = "refused.jsonl"
"""The file of what the service refuses for good."""


class Ticket(NamedTuple):
    """Names a record that waits: in a file, or only in memory."""

    segment: Segment | None
    number: int


@dataclass(frozen=True, slots=True)
class SpoolState:
    """How much waits, how much of it only in memory, and how much was dropped because there was no room for it."""

    waiting: int
    bytes_on_disk: int
    only_in_memory: int
    dropped: int
    directory: Path | None


class Spool:
    """Records to be sent, oldest first; safe for threads, and in a fork it begins anew: the parent sends its own.

    `append` writes a record before it returns, so that it survives the death of the process, and at most a second later
    it is on the disk, so that it survives a power cut. What can't be written waits in memory, which is logged; so does
    everything without a `place`.
    """

    def __init__(self, place: SpoolPlace | None, *, most_bytes: int = MOST_BYTES) -> None:
        self._place = place
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._begin()
        _spools.add(self)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._segments: list[Segment] = []
        self._current: Segment | None = None
        self._memory: dict[int, Record] = {}
        self._next = 0
        self._ready: deque[Ticket] = deque()
        self._waiting = 0
        self._dropped = 0
        self._is_warned = False

    def belongs_to(self, tenant: str) -> bool:
        """Note which tenant the service says that the records are of; returns whether that is news."""
        return self._place is not None and self._place.belongs_to(tenant)

    @property
    def is_owner_known(self) -> bool:
        """Whether it is known of which tenant the records are, or nobody else can send them."""
        return self._place is None or self._place.is_owner_known

    @property
    def may_be_heir(self) -> bool:
        """Whether files lie here that may be the tenant's, but for which tenant that is."""
        return self._place is not None and self._place.may_be_heir

    @property
    def waiting(self) -> int:
        """How many records are not done."""
        return self._waiting

    @property
    def ready(self) -> int:
        """How many of these may be taken now."""
        return len(self._ready)

    def state(self) -> SpoolState:
        """Return how much waits, and where."""
        with self._lock:
            size = sum(segment.size for segment in self._segments)
            directory = None if self._place is None else self._place.directory
            return SpoolState(self._waiting, size, len(self._memory), self._dropped, directory)

    def append(self, record: Record, *, ready: bool = True) -> Ticket | None:
        """Keep a record; unless it is `ready`, whoever appended it is about to send it.

        Returns None if it was dropped because there is no room for it any more, which is logged and counted.
        """
        with self._lock:
            ticket = self._append(record)
            if ticket is None:
                self._dropped += 1
                _log.error(
                    "Token Ledger dropped a booking, number %d, because its spool is full: %d wait for the service: %s",
                    self._dropped, self._waiting, record.operation,
                )  # fmt: skip
                return None
            self._waiting += 1
            if ready:
                self._ready.append(ticket)
            return ticket

    def make_ready(self, tickets: Iterable[Ticket]) -> None:
        """Let records be taken that were appended as not ready."""
        with self._lock:
            self._ready.extend(tickets)

    def withdraw(self, ticket: Ticket) -> bool:
        """Let a record not be taken any more; returns whether it was ready."""
        with self._lock:
            is_ready = ticket in self._ready
            if is_ready:
                self._ready.remove(ticket)
            return is_ready

    def take(self, most: int) -> list[tuple[Ticket, Record]]:
        """Take the oldest records; each must be put back or done afterwards."""
        taken: list[tuple[Ticket, Record]] = []
        with self._lock:
            while self._ready and len(taken) < most:
                ticket = self._ready.popleft()
                if not self._is_waiting(ticket):
                    continue
                try:
                    taken.append((ticket, self._read(ticket)))
                except (OSError, ValueError, KeyError) as error:
                    self._waiting -= 1
                    _log.error("Token Ledger can't read a booking of its spool again, and drops it: %s", error)
                    self._dropped += 1
        return taken

    def put_back(self, tickets: Iterable[Ticket]) -> None:
        """Return records that got no answer, to be taken first."""
        with self._lock:
            self._ready.extendleft(reversed([*tickets]))

    def done(self, tickets: Iterable[Ticket]) -> None:
        """Forget records, because the service has them."""
        with self._lock:
            numbers: dict[Segment, list[int]] = {}
            for ticket in tickets:
                if not self._is_waiting(ticket):
                    continue
                self._waiting -= 1
                if ticket.segment is None:
                    self._memory.pop(ticket.number, None)
                else:
                    numbers.setdefault(ticket.segment, []).append(ticket.number)
            for segment, those in numbers.items():
                segment.done(those)
                if not segment.waiting:
                    self._emptied(segment)

    def set_aside(self, ticket: Ticket, record: Record, reason: str) -> None:
        """Take a record out that the service refuses for good and does not keep: into a file for people to read."""
        _log.error("Token Ledger can't book this, ever, and sets it aside: %s: %s", reason, record.operation)
        if self._place is not None:
            try:
                self._place.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                with (self._place.directory / ASIDE).open("a", encoding="utf-8") as file:
                    told = {"reason": reason, "operation": record.operation, "call": record.call}
                    file.write(json.dumps(told) + "\n")
            except OSError as error:
                _log.error("Token Ledger could not write it to a file either: %s", error)
        self.done([ticket])

    def adopt(self) -> int:
        """Take over what processes that are dead have left; returns how many records that are."""
        adopted = 0
        for directory in () if self._place is None else self._place.directories:
            for path in sorted(directory.glob(f"*{SUFFIX}")):
                if not any(segment.path == path for segment in self._segments):
                    adopted += self._adopt(path)
        return adopted

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        with self._lock:
            segments = [segment for segment in self._segments if not segment.is_synced]
        for segment in segments:
            try:
                segment.sync()
            except OSError as error:
                _log.error("Token Ledger's spool %s may not survive a power cut: %s", segment.path, error)

    def close(self) -> None:
        """Delete what is empty, and leave the rest to the next process."""
        with self._lock:
            for segment in self._segments:
                if segment.waiting:
                    segment.close()
                else:
                    segment.discard()
            self._segments, self._current = [], None
            self._ready.clear()

    def forget_parents(self) -> None:
        """Begin anew in a fork: what was copied is the parent's to send, as are the locks."""
        self._lock = threading.Lock()
        for segment in self._segments:
            segment.close()
        self._begin()

    def _append(self, record: Record) -> Ticket | None:
        if self._place is not None:
            try:
                segment = self._segment(self._place)
                if segment is not None:
                    ticket = Ticket(segment, segment.append(record))
                    self._is_warned = False
                    sync_soon(self)
                    return ticket
            except OSError as error:
                self._warn(self._place.directory, error)
        if len(self._memory) >= _MOST_IN_MEMORY:
            return None
        number, self._next = self._next, self._next + 1
        self._memory[number] = record
        return Ticket(None, number)

    def _warn(self, directory: Path, error: OSError) -> None:
        if not self._is_warned:
            self._is_warned = True
            _log.error(
                "Token Ledger can't write to its spool in %s, so bookings that the service has not taken are lost if"
                " this process dies: %s",
                directory, error,
            )  # fmt: skip

    def _segment(self, place: SpoolPlace) -> Segment | None:
        """Return the file to append to, None if there is as much on disk as may be."""
        current = self._current
        if current is None or current.size >= _SEGMENT_BYTES:
            if current is not None and not current.waiting:
                self._current = None
                self._emptied(current)
            if sum(segment.size for segment in self._segments) >= self._most_bytes:
                return None
            current = Segment.create(place.directory, place.service, place.owner)
            self._segments.append(current)
            self._current = current
        return current

    def _emptied(self, segment: Segment) -> None:
        if segment is not self._current:
            self._segments.remove(segment)
            segment.discard()
        elif segment.size > _SEGMENT_BYTES // 16:
            segment.clear()

    def _is_waiting(self, ticket: Ticket) -> bool:
        return ticket.number in (self._memory if ticket.segment is None else ticket.segment.waiting)

    def _read(self, ticket: Ticket) -> Record:
        return self._memory[ticket.number] if ticket.segment is None else ticket.segment.read(ticket.number)

    def _adopt(self, path: Path) -> int:
        try:
            taken = Segment.take_over(path)
        except (OSError, NewerFormat, ValueError) as error:
            _log.warning("Token Ledger left the spool %s alone: %s", path, error)
            return 0
        if taken is None:
            return 0
        segment, found = taken
        if found.damaged:
            _log.warning(
                "Token Ledger found %d damaged lines in the spool %s: they can't be sent, and %s has a copy",
                found.damaged, path, path.with_suffix(DAMAGED),
            )  # fmt: skip
        if not segment.waiting:
            segment.discard()
            return 0
        with self._lock:
            self._segments.append(segment)
            self._waiting += len(segment.waiting)
            self._ready.extend(Ticket(segment, number) for number in segment.waiting)
        return len(segment.waiting)


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in [*_spools]:
        spool.forget_parents()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
