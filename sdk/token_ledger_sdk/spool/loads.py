"""What of a spool is sent together, and who is told what became of each record; sending it is left to the outbox."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from ..errors import ApiError, InvalidAnswer, Unavailable
from ..wire.fields import Fields
from .deliveries import (
    Fate,
    Outcome,
    Owner,
    bare_operation,
    ends_hold,
    fate_of,
    given_up_operation,
    held_by,
    is_over,
    outcome_of,
    report_operation,
)
from .lines import Record
from .spool import Spool, Ticket

_log = logging.getLogger("token_ledger_sdk")


class Load(NamedTuple):
    """Records that are on their way, the operations that they are sent as, and the holds that these are about."""

    taken: Sequence[tuple[Ticket, Record]]
    operations: Sequence[str]
    holds: Sequence[str]


class Loads:
    """Takes records of a spool to be sent, the oldest first, and acts on the answers; safe to use from any thread.

    What ends a hold waits while parts of its call are on their way, lest it overtakes them. `outcomes` counts what
    became of all records that were answered.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()  # guards what follows between threads; never held while waiting
        self._owners: dict[Ticket, Owner] = {}
        self._under_way: Counter[str] = Counter()
        self._instead: dict[Ticket, str] = {}
        self._refused: dict[str, ApiError] = {}
        self.outcomes: Counter[Outcome] = Counter()

    def own(self, ticket: Ticket, owner: Owner) -> None:
        """Tell somebody what will have become of a record."""
        self._owners[ticket] = owner

    def disown(self, ticket: Ticket) -> None:
        """Tell nobody of a record any more."""
        self._owners.pop(ticket, None)

    @property
    def waited_for(self) -> tuple[str, ...]:
        """The holds and leases, each once, that somebody waits to hear about."""
        return tuple({owner.reservation_id for owner in [*self._owners.values()]})

    def take_refused(self) -> Mapping[str, ApiError]:
        """Return the holds and leases about which something was refused that nobody else tells of, and forget them."""
        refused, self._refused = self._refused, {}
        return refused

    def take(self, most: int) -> Load | None:
        """Take the oldest records that need not wait for others; None if there are none.

        Say then that they `arrived`, or `put_back` what got no answer.
        """
        now = datetime.now(UTC)
        taken: list[tuple[Ticket, Record]] = []
        operations: list[str] = []
        holds: list[str] = []
        over, early = [], []
        with self._lock:
            for ticket, record in self._spool.take(most):
                operation = self._instead.get(ticket, record.operation)
                hold = held_by(operation)
                if is_over(record, now):
                    over.append(ticket)
                elif hold is not None and ends_hold(operation) and self._under_way[hold]:
                    early.append(ticket)
                else:
                    taken.append((ticket, record))
                    operations.append(operation)
                    if hold is not None:
                        holds.append(hold)
            self._under_way.update(holds)
        self._spool.done(over)
        self._spool.put_back(early)
        return Load(taken, operations, holds) if taken else None

    def put_back(self, load: Load) -> None:
        """Let records that got no answer be taken again."""
        self._is_back(load)
        self._spool.put_back([ticket for ticket, _ in load.taken])

    def arrived(self, load: Load, results: Sequence[Fields | ApiError]) -> Unavailable | None:
        """Act on what became of records; returns what kept some of them from being served."""
        self._is_back(load)
        done, kept, unavailable = [], [], None
        outcomes: Counter[Outcome] = Counter()
        for (ticket, record), operation, result in zip(load.taken, load.operations, results, strict=True):
            fate = fate_of(result, operation)
            if fate in (Fate.DONE, Fate.MOOT):
                done.append(ticket)
                outcomes[outcome_of(result, fate)] += 1
                self._tell(ticket, result if fate is Fate.DONE else None)
                continue
            if fate is Fate.SET_ASIDE and isinstance(result, ApiError):
                outcomes[Outcome.REFUSED] += 1
                self._spool.set_aside(ticket, record, str(result))
                self._tell(ticket, result)
                continue
            kept.append(ticket)
            if fate is Fate.DESCRIBE_LESS:
                self._instead[ticket] = bare_operation(operation)
            elif fate is Fate.GIVE_BACK and isinstance(result, Fields):
                self._instead[ticket] = given_up_operation(result)
            elif fate is Fate.REPORT:
                self._instead[ticket] = report_operation(operation, record.call)
            elif isinstance(result, Unavailable):
                unavailable = result
        with self._lock:
            self.outcomes.update(outcomes)
        self._spool.done(done)
        self._spool.put_back(kept)
        return unavailable

    def _is_back(self, load: Load) -> None:
        with self._lock:
            self._under_way.subtract(load.holds)
            for hold in load.holds:
                if self._under_way[hold] <= 0:
                    del self._under_way[hold]

    def _tell(self, ticket: Ticket, result: Fields | ApiError | None) -> None:
        self._instead.pop(ticket, None)
        owner = self._owners.pop(ticket, None)
        if result is None:
            return
        if isinstance(result, Fields):
            if result.has("quarantine_id"):  # an event that is not booked, and kept
                _log.warning("Token Ledger keeps a call in quarantine: %s", result.raw.get("detail"))
            if owner is not None:
                with suppress(InvalidAnswer):  # it is done, whatever else the answer says
                    owner.booked(result)
            return
        _log.warning("Token Ledger has not booked %s: %s", "a call" if owner is None else owner.reservation_id, result)
        if owner is not None and not owner.refused(result):
            self._refused[owner.reservation_id] = result
