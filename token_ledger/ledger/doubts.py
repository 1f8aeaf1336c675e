"""Owns the commands of one tenant that wait for batches of their own, because the database may refuse them.

Finding the commands that it refuses takes as long as deciding hundreds of good ones. So what comes with a key of which
one was refused, or was not reached in such a search, waits here, and the tenant's other commands take turns with it. A
batch of a key has one command at first and twice as many after each that was stored as a whole; beyond a full batch
the doubts are over. Its requests take turns, so that hundreds of bad commands in one keep no other waiting.
"""

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass, field

from token_ledger.core.batch.commands import Command, Preflight
from token_ledger.core.batch.outcomes import Code, Outcome, Quarantined


@dataclass(slots=True, eq=False)
class Ticket:
    """A command, and the future that its caller waits for.

    `key_id` is the API key that it came with, if any, and `request` what the commands of one list have in common.
    Unless it `lasts`, its caller tells nobody before a later command has made it last.
    """

    command: Command
    outcome: "Future[Outcome]"
    key_id: str | None = None
    request: object = None
    doubted: bool = False
    lasts: bool = True

    @property
    def operations(self) -> int:
        """How much of a batch it takes: a preflight is a decision for each kind of call that it plans."""
        return len(self.command.calls) if isinstance(self.command, Preflight) else 1


DOUBTFUL = (Quarantined, Exception, type(None))
"""Kinds of outcomes that may say that the database refused a command, or that it was not reached."""


def is_refused(outcome: Outcome | Exception | None) -> bool:
    """Tell whether the database refused a command; a report of spend was kept then."""
    if isinstance(outcome, Quarantined):
        return outcome.code == Code.NOT_BOOKABLE and not outcome.replayed
    return isinstance(outcome, Exception)


@dataclass(slots=True)
class _Key:
    """How many operations the next batch of a key has, and what waits of it by request."""

    size: int = 1
    waiting: dict[object, list[Ticket]] = field(default_factory=dict)


class Doubts:
    """The keys of a tenant that are in doubt, in the order of their turns; one with nothing to do is passed over."""

    def __init__(self) -> None:
        self._keys: dict[str | None, _Key] = {}
        self.is_next = True
        """Whether the tenant's next batch is one of these; otherwise it is of what nobody doubts, if that waits."""

    def __len__(self) -> int:
        return sum(len(tickets) for key in self._keys.values() for tickets in key.waiting.values())

    def __contains__(self, key_id: str | None) -> bool:
        return key_id in self._keys

    def add(self, tickets: Sequence[Ticket]) -> None:
        """Doubt the keys of commands, and let these wait behind earlier ones of their request."""
        for ticket in tickets:
            ticket.doubted = True
            waiting = self._keys.setdefault(ticket.key_id, _Key()).waiting
            waiting.setdefault(ticket.request or ticket, []).append(ticket)

    def put_back(self, tickets: Sequence[Ticket]) -> None:
        """Doubt the keys of commands that were taken, and let these wait again before later ones of their request."""
        later = {key_id: key.waiting for key_id, key in self._keys.items()}
        for key in self._keys.values():
            key.waiting = {}
        self.add(tickets)
        for key_id, requests in later.items():
            for request, waiting in requests.items():
                self._keys[key_id].waiting.setdefault(request, []).extend(waiting)

    def lower(self, refused: Sequence[Ticket]) -> None:
        """Doubt the keys of refused commands: they get batches of half the size."""
        for key_id in dict.fromkeys(ticket.key_id for ticket in refused):
            key = self._keys.setdefault(key_id, _Key())
            key.size = max(1, key.size // 2)

    def trust(self, key_id: str | None, most: int) -> list[Ticket]:
        """Give a key batches of twice the size; beyond `most`, doubt it no more and return what waits of it."""
        key = self._keys[key_id]
        key.size *= 2
        if key.size <= most:
            return []
        del self._keys[key_id]
        tickets = [ticket for waiting in key.waiting.values() for ticket in waiting]
        for ticket in tickets:
            ticket.doubted = False
        return tickets

    def take(self) -> list[Ticket]:
        """Take the next batch: commands of the key whose turn it is, one of each of its requests in turn."""
        key_id = next(key_id for key_id, key in self._keys.items() if key.waiting)
        key = self._keys[key_id] = self._keys.pop(key_id)  # the next turn is another's
        taken: list[Ticket] = []
        while key.waiting and sum(ticket.operations for ticket in taken) < key.size:
            request = next(iter(key.waiting))
            first, *later = key.waiting.pop(request)
            taken.append(first)
            if later:
                key.waiting[request] = later
        return taken

    def take_all(self) -> list[Ticket]:
        """Take everything that waits."""
        tickets = [ticket for key in self._keys.values() for waiting in key.waiting.values() for ticket in waiting]
        for key in self._keys.values():
            key.waiting = {}
        return tickets
