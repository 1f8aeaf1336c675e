"""Owns the commands that wait for a batch: how many may wait, whose, and in which turn they are taken.

A tenant has a bound of its own, and a key half of it, so one that asks faster than it can be served fills its own room
and nobody else's. What asks for something new (a hold, a run, a plan) is refused at the bound; what reports or ends
something is taken up to twice the bound: it is real spend, or gives room back, and a caller can only repeat it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from token_ledger.core.batch.commands import Command, OpenRun, Preflight, Reserve
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.errors import NoRoom

WAITING_OPERATIONS = 20_000
"""How many commands of all tenants may wait in a process: the callers of more would time out."""

WAITING_OF_TENANT = 2_048
"""How many of one tenant may wait: eight large batches."""

_ASKING = (Reserve, Preflight, OpenRun)


@dataclass(slots=True)
class Ticket:
    """A command, and the future that its caller waits for; `key_id` is the API key that it came with, if any."""

    command: Command
    outcome: "asyncio.Future[Outcome]"
    key_id: str | None = None


Batch = dict[TenantId, list[Ticket]]


class Room:
    """How many operations there may be of all tenants, of one tenant and of one key; and how many there are."""

    def __init__(self, most: int = WAITING_OPERATIONS, most_of_tenant: int = WAITING_OF_TENANT) -> None:
        self._most = most
        self._most_of_tenant = most_of_tenant
        self._count = 0
        self._by_tenant: Counter[TenantId] = Counter()
        self._by_key: Counter[tuple[TenantId, str]] = Counter()

    def why_full(self, tenant: TenantId, key_id: str | None, *, asking: bool, operations: int = 1) -> str | None:
        """Return why there is no room for operations of a tenant and key, or None if there is.

        A key that has none has room for as many as it sends at once.
        """
        times = 1 if asking else 2
        of_tenant = self._by_tenant[tenant]
        of_key = 0 if key_id is None else self._by_key[tenant, key_id]
        more = operations - 1 if of_key else 0
        if of_key + more >= times * self._most_of_tenant // 2:
            return f"{of_key} operations of this key are under way already; send less at a time and try again"
        if of_tenant + more >= times * self._most_of_tenant:
            return f"{of_tenant} operations of this tenant are under way already; send less at a time and try again"
        if self._count + more >= times * self._most:
            return f"{self._count} operations are under way already; try again"
        return None

    def enter(self, tenant: TenantId, key_id: str | None, operations: int = 1) -> None:
        """Count operations that begin."""
        self._count += operations
        self._by_tenant[tenant] += operations
        if key_id is not None:
            self._by_key[tenant, key_id] += operations

    def leave(self, tenant: TenantId, key_id: str | None, operations: int = 1) -> None:
        """Count operations no longer."""
        self._count -= operations
        self._by_tenant[tenant] -= operations
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        if key_id is not None:
            key = tenant, key_id
            self._by_key[key] -= operations
            if not self._by_key[key]:
                del self._by_key[key]


class WaitingRoom:
    """The waiting commands of a process, those of each tenant in their order."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self._waiting: Batch = {}

    def tenants(self) -> list[TenantId]:
        """Return the tenants with waiting commands, the one whose turn is next first."""
        return list(self._waiting)

    def count_of(self, tenant: TenantId) -> int:
        """Return how many commands of a tenant wait."""
        return len(self._waiting.get(tenant, ()))

    def add(self, tenant: TenantId, ticket: Ticket) -> None:
        """Let a command wait. Raises NoRoom if there is none for it."""
        asking = isinstance(ticket.command, _ASKING)
        if (full := self._room.why_full(tenant, ticket.key_id, asking=asking)) is not None:
            raise NoRoom(full)
        self._waiting.setdefault(tenant, []).append(ticket)
        self._room.enter(tenant, ticket.key_id)

    def put_back(self, tenant: TenantId, tickets: Sequence[Ticket]) -> None:
        """Let commands that were taken wait again, before newer ones; they keep their place whatever the room."""
        self._waiting[tenant] = [*tickets, *self._waiting.get(tenant, ())]
        for ticket in tickets:
            self._room.enter(tenant, ticket.key_id)

    def take(self, tenants: Sequence[TenantId], most: int) -> Batch:
        """Take up to `most` operations of these tenants: each gets an equal share, and the first ones what is left."""
        batch: Batch = {}
        share = max(1, most // len(tenants))
        for allowed in (share, most):
            for tenant in tenants:
                if most > 0 and tenant in self._waiting:
                    most -= self._take(tenant, min(allowed, most), batch)
        for tenant in batch:
            if (left := self._waiting.pop(tenant, None)) is not None:
                self._waiting[tenant] = left  # the next turn is another's
        return batch

    def take_all(self) -> Batch:
        """Take every waiting command."""
        return {tenant: self._taken(tenant, len(tickets)) for tenant, tickets in list(self._waiting.items())}

    def _take(self, tenant: TenantId, most: int, batch: Batch) -> int:
        """Move commands with up to this many operations to a batch, at least one; return how many operations."""
        tickets = self._waiting[tenant]
        taken = operations = 0
        while taken < len(tickets) and operations < most:
            operations += _operations(tickets[taken].command)
            taken += 1
        batch.setdefault(tenant, []).extend(self._taken(tenant, taken))
        return operations

    def _taken(self, tenant: TenantId, number: int) -> list[Ticket]:
        """Remove a tenant's first commands and return them."""
        tickets = self._waiting.pop(tenant)
        if number < len(tickets):
            self._waiting[tenant] = tickets[number:]
        for ticket in tickets[:number]:
            self._room.leave(tenant, ticket.key_id)
        return tickets[:number]


def _operations(command: Command) -> int:
    """Return how much of a batch a command takes: a preflight is a decision for each kind of call that it plans."""
    return len(command.calls) if isinstance(command, Preflight) else 1
