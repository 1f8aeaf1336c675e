"""Keeps what a batch knew of a tenant as it left it, so that the next one need not load it.

Every change of an account, an open hold or a run takes a sequence number of its tenant. So nobody has changed one if
the next batch finds the ledger as the last one left it: the sequence number, the instant, the sums, a random number.
What is not kept may exist all the same.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Any

from token_ledger.core.batch.books import Books
from token_ledger.core.model.account import Account, AccountKey
from token_ledger.core.model.reservation import HoldState, Reservation
from token_ledger.core.model.run import Run
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.load.locks import Locked, Stamp

MOST_HOLDS = 20_000
"""How many open holds of one tenant are kept; those that were touched longest ago go first."""
MOST_RUNS = 10_000
"""How many runs of one tenant are kept, in the same way."""


@dataclass(slots=True)
class Known:
    """What is known of one tenant: accounts by id and by key, open holds and runs by id.

    `left` is what the batch that knows it leaves in the tenant's ledger; None as long as nothing is known.
    """

    left: Stamp | None = None
    by_id: dict[int, Account] = field(default_factory=dict)
    by_key: dict[AccountKey, Account] = field(default_factory=dict)
    holds: OrderedDict[int, Reservation] = field(default_factory=OrderedDict)
    runs: OrderedDict[int, Run] = field(default_factory=OrderedDict)
    until: datetime | None = None
    """The first instant at which a window, a price or the calendar may change, if it was looked up."""
    _expiries: list[tuple[datetime, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many accounts, holds and runs it has."""
        return len(self.by_id) + len(self.holds) + len(self.runs)

    def add(self, books: Books, number: int) -> None:
        """Add what is in books on which all commands of a batch are decided; `number` is the batch's random one."""
        self.left = (
            books.sequence, books.config.version, books.now, books.loaded.booked_tokens, books.loaded.booked_nanos,
            number,
        )  # fmt: skip
        self.by_id.update(books.accounts_by_id)
        self.by_key.update(books.accounts_by_key)
        for reservation_id, hold in books.loaded.reservations.items():
            self.holds.pop(reservation_id, None)
            if hold.state is HoldState.HELD:  # retention deletes rows of others, without a sequence number
                self.holds[reservation_id] = hold
                heappush(self._expiries, (hold.expires_at, reservation_id))
        for run_id, run in books.loaded.runs.items():
            self.runs.pop(run_id, None)
            self.runs[run_id] = run
        _bound(self.holds, MOST_HOLDS)
        _bound(self.runs, MOST_RUNS)
        if len(self._expiries) > 2 * len(self.holds) + 1_000:
            self._expiries = [(hold.expires_at, reservation_id) for reservation_id, hold in self.holds.items()]
            heapify(self._expiries)

    def has_due(self, now: datetime) -> bool:
        """Tell whether a hold that is known has expired at an instant."""
        while self._expiries and self._expiries[0][0] <= now:
            expires_at, reservation_id = self._expiries[0]
            hold = self.holds.get(reservation_id)
            if hold is not None and hold.expires_at <= now:
                return True
            heappop(self._expiries)
            if hold is not None and hold.expires_at > expires_at:  # it was extended
                heappush(self._expiries, (hold.expires_at, reservation_id))
        return False

    def lineage_of(self, run_id: int) -> Mapping[int, Run]:
        """Return a run and all that it is a part of, by id; nothing unless all of them are known."""
        run = self.runs.get(run_id)
        if run is None or not all(ancestor in self.runs for ancestor in run.ancestors):
            return {}
        return {each: self.runs[each] for each in (run_id, *run.ancestors)}


def _bound(kept: "OrderedDict[int, Any]", most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


class KeptState:
    """What is known of many tenants, at most `most` rows in all; that of the tenant that is idle longest goes first."""

    def __init__(self, most: int = 70_000) -> None:
        self._most = most
        self._count = 0
        self._tenants: OrderedDict[TenantId, Known] = OrderedDict()

    def get(self, tenant: TenantId) -> Known | None:
        """Return what is kept of a tenant, to be looked at; `drop` it before anything of it is changed."""
        return self._tenants.get(tenant)

    def take(self, lock: Locked) -> Known:
        """Return what is kept of a tenant if it is current, and keep it no longer: the batch changes it in place."""
        known = self.drop(lock.tenant_id)
        return known if known is not None and known.left == lock.stamp else Known()

    def drop(self, tenant: TenantId) -> Known | None:
        """Keep nothing of a tenant any longer, and return what was kept."""
        known = self._tenants.pop(tenant, None)
        if known is not None:
            self._count -= known.size
        return known

    def keep(self, tenant: TenantId, known: Known) -> None:
        """Keep what a tenant's committed batch knew."""
        self.drop(tenant)
        self._tenants[tenant] = known
        self._count += known.size
        while self._count > self._most:
            _, dropped = self._tenants.popitem(last=False)
            self._count -= dropped.size
