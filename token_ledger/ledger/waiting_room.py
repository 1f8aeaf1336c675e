"""Owns the commands that wait for a batch: how many may wait, whose, and in which turn they are taken.

A tenant has a bound of its own, and a key half of it, so one that asks faster than it can be served fills its own room
and nobody else's. What asks for something new (a hold, a run, a plan) is refused at the bound; what reports or ends
something is taken up to twice the bound: it is real spend, or gives room back, and a caller can only repeat it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from token_ledger.core.batch.administration import MOVES_CALLS
from token_ledger.core.batch.commands import OpenRun, Preflight, Reserve
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.doubts import Doubts, Ticket
from token_ledger.ledger.errors import NoRoom

WAITING_OPERATIONS = 20_000
"""How many commands of all tenants may wait in a process: the callers of more would time out."""

WAITING_OF_TENANT = 2_048
"""How many of one tenant may wait: eight large batches."""

_ASKING = (Reserve, Preflight, OpenRun)

Batch = dict[TenantId, list[Ticket]]


class Room:
    """How many operations there may be of all tenants, of one tenant and of one key; and how many there are."""

    def __init__(self, most: int = WAITING_OPERATIONS, most_of_tenant: int = WAITING_OF_TENANT) -> None:
        self._most = most
        self._most_of_tenant = most_of_tenant
        self.count = 0
        self._by_tenant: dict[TenantId, int] = {}
        self._by_key: dict[tuple[TenantId, str], int] = {}

    def why_full(self, tenant: TenantId, key_id: str | None, *, asking: bool, operations: int = 1) -> str | None:
        """Return why there is no room for operations of a tenant and key, or None if there is.

        A key that has none has room for as many as it sends at once.
        """
        times = 1 if asking else 2
        of_tenant = self._by_tenant.get(tenant, 0)
        of_key = 0 if key_id is None else self._by_key.get((tenant, key_id), 0)
        more = operations - 1 if of_key else 0
        if of_key + more >= times * self._most_of_tenant // 2:
            return f"{of_key} operations of this key are under way already; send less at a time and try again"
        if of_tenant + more >= times * self._most_of_tenant:
            return f"{of_tenant} operations of this tenant are under way already; send less at a time and try again"
        if self.count + more >= times * self._most:
            return f"{self.count} operations are under way already; try again"
        return None

    def enter(self, tenant: TenantId, key_id: str | None, operations: int = 1) -> None:
        """Count operations that begin."""
        self.count += operations
        _add(self._by_tenant, tenant, operations)
        if key_id is not None:
            _add(self._by_key, (tenant, key_id), operations)

    def leave(self, tenant: TenantId, key_id: str | None, operations: int = 1) -> None:
        """Count operations no longer."""
        self.count -= operations
        _add(self._by_tenant, tenant, -operations)
        if key_id is not None:
            _add(self._by_key, (tenant, key_id), -operations)


def _add(counts: dict[Any, int], key: Any, number: int) -> None:
    """Add to a count that stands only while it is not zero."""
    # A Counter would take longer: it deletes with a function in Python.
    count = counts.get(key, 0) + number
    if count:
        counts[key] = count
    else:
        del counts[key]


class WaitingRoom:
    """The waiting commands of a process, those of each tenant in their order."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self._waiting: Batch = {}
        """In the order of the tenants' turns; a list is empty where only doubted commands wait."""
        self._doubts: dict[TenantId, Doubts] = {}

    def tenants(self) -> list[TenantId]:
        """Return the tenants with waiting commands, the one whose turn is next first."""
        return list(self._waiting)

    @property
    def count(self) -> int:
        """How many commands wait."""
        return self._room.count

    def count_of(self, tenant: TenantId) -> int:
        """Return how many commands of a tenant wait that nobody doubts."""
        return len(self._waiting.get(tenant, ()))

    def is_doubted_next(self, tenant: TenantId) -> bool:
        """Tell whether the next batch of a tenant is one of doubted commands."""
        doubts = self._doubts.get(tenant)
        return doubts is not None and len(doubts) > 0 and (doubts.is_next or not self._waiting[tenant])

    def add(self, tenant: TenantId, ticket: Ticket) -> None:
        """Let a command wait. Raises NoRoom if there is none for it."""
        self._let_wait(tenant, ticket.key_id, [ticket], asking=isinstance(ticket.command, _ASKING))

    def add_reports(self, tenant: TenantId, key_id: str | None, tickets: Sequence[Ticket]) -> None:
        """Let reports of a key wait. Raises NoRoom if there is none for all of them."""
        self._let_wait(tenant, key_id, tickets, asking=False)

    def _let_wait(self, tenant: TenantId, key_id: str | None, tickets: Sequence[Ticket], *, asking: bool) -> None:
        if (full := self._room.why_full(tenant, key_id, asking=asking, operations=len(tickets))) is not None:
            raise NoRoom(full)
        waiting, doubts = self._waiting.setdefault(tenant, []), self._doubts.get(tenant)
        if doubts is not None and key_id in doubts:
            doubts.add(tickets)
        else:
            waiting.extend(tickets)
        self._room.enter(tenant, key_id, len(tickets))

    def put_back(self, tenant: TenantId, tickets: Sequence[Ticket]) -> None:
        """Let commands that were taken wait again, before newer ones; they keep their place whatever the room."""
        waiting, doubts = self._waiting.get(tenant, []), self._doubts.get(tenant)
        if doubts is not None and tickets[0].doubted:
            doubts.put_back(tickets)
            self._waiting[tenant] = waiting
        else:
            self._waiting[tenant] = [*tickets, *waiting]
        self._enter(tenant, tickets)

    def doubt(self, tenant: TenantId, refused: Sequence[Ticket], left: Sequence[Ticket]) -> None:
        """Doubt all commands with the keys of `refused` ones and of those that are `left`, which wait again."""
        doubts = self._doubts.setdefault(tenant, Doubts())
        doubts.lower(refused)
        doubts.put_back(left)
        self._enter(tenant, left)
        waiting = self._waiting.get(tenant, [])
        doubts.add([ticket for ticket in waiting if ticket.key_id in doubts])
        self._set_waiting(tenant, [ticket for ticket in waiting if not ticket.doubted])

    def trust(self, tenant: TenantId, key_id: str | None, most: int) -> None:
        """Doubt a key less, as a batch of it was stored; not at all where the next would have more than `most`."""
        trusted = self._doubts[tenant].trust(key_id, most)
        self._set_waiting(tenant, [*trusted, *self._waiting.get(tenant, ())])

    def take(self, tenants: Sequence[TenantId], most: int) -> Batch:
        """Take up to `most` operations of these tenants: each gets an equal share, and the first ones what is left."""
        batch: Batch = {}
        share = max(1, most // len(tenants))
        for allowed in (share, most):
            for tenant in tenants:
                if most > 0 and self._waiting.get(tenant) and not (tenant in batch and _moves_calls(batch[tenant][-1])):
                    most -= self._take(tenant, min(allowed, most), batch)
        for tenant in batch:
            if tenant in self._waiting or tenant in self._doubts:
                self._end_turn(tenant, doubted_next=True)
        return batch

    def take_doubted(self, tenant: TenantId) -> Batch:
        """Take the next doubted commands of a tenant."""
        tickets = self._doubts[tenant].take()
        self._leave(tenant, tickets)
        self._end_turn(tenant, doubted_next=False)
        return {tenant: tickets}

    def take_all(self) -> Batch:
        """Take every waiting command."""
        taken, self._waiting = self._waiting, {}
        for tenant, tickets in taken.items():
            if (doubts := self._doubts.get(tenant)) is not None:
                tickets.extend(doubts.take_all())
            self._leave(tenant, tickets)
        return taken

    def _take(self, tenant: TenantId, most: int, batch: Batch) -> int:
        """Move commands with up to this many operations to a batch, at least one; return how many operations.

        None comes after one that decides what the calls behind it fall on.
        """
        tickets = self._waiting[tenant]
        taken = operations = 0
        while taken < len(tickets) and operations < most:
            ticket = tickets[taken]
            operations += ticket.operations
            taken += 1
            if _moves_calls(ticket):
                break
        batch.setdefault(tenant, []).extend(tickets[:taken])
        self._leave(tenant, tickets[:taken])
        self._set_waiting(tenant, tickets[taken:])
        return operations

    def _set_waiting(self, tenant: TenantId, tickets: list[Ticket]) -> None:
        """Let these be the tenant's commands that nobody doubts; it keeps its turn while any command waits."""
        if tickets or len(self._doubts.get(tenant, ())):
            self._waiting[tenant] = tickets
        else:
            self._waiting.pop(tenant, None)

    def _end_turn(self, tenant: TenantId, *, doubted_next: bool) -> None:
        """Let the next turn be another tenant's, and this one's next batch of the other kind."""
        if (left := self._waiting.pop(tenant, None)) is not None:
            self._set_waiting(tenant, left)
        if (doubts := self._doubts.get(tenant)) is not None:
            doubts.is_next = doubted_next

    def _enter(self, tenant: TenantId, tickets: Sequence[Ticket]) -> None:
        for key_id, number in Counter(ticket.key_id for ticket in tickets).items():
            self._room.enter(tenant, key_id, number)

    def _leave(self, tenant: TenantId, tickets: Sequence[Ticket]) -> None:
        if tickets and all(ticket.key_id == tickets[0].key_id for ticket in tickets):
            self._room.leave(tenant, tickets[0].key_id, len(tickets))
            return
        for key_id, number in Counter(ticket.key_id for ticket in tickets).items():
            self._room.leave(tenant, key_id, number)


def _moves_calls(ticket: Ticket) -> bool:
    return type(ticket.command) in MOVES_CALLS
