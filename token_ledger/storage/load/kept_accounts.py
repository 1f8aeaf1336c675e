"""Keeps the accounts of tenants as this process's last batch left them, so that the next one need not load them.

Every change of an account takes a sequence number of its tenant. So nobody has changed one if the next batch finds the
ledger as the last one left it: the sequence number, the instant and the sums.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from token_ledger.core.batch.books import Books
from token_ledger.core.model.account import Account, AccountKey
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.load.locks import Locked, Stamp


@dataclass(slots=True)
class Known:
    """Accounts of one tenant, by id and by key; `is_current` says that nobody has changed anything of it since."""

    is_current: bool = False
    by_id: dict[int, Account] = field(default_factory=dict)
    by_key: dict[AccountKey, Account] = field(default_factory=dict)

    def add(self, books: Books) -> None:
        """Add the accounts of books on which all commands of a batch are decided."""
        self.by_id.update(books.accounts_by_id)
        self.by_key.update(books.accounts_by_key)
        self.is_current = True


class KeptAccounts:
    """The accounts of many tenants, at most `most` in all; those of the tenant that is idle longest go first."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._count = 0
        self._tenants: OrderedDict[TenantId, tuple[Stamp, Known]] = OrderedDict()

    def take(self, lock: Locked) -> Known:
        """Return what is kept of a tenant if it is current, and keep it no longer: the batch changes it in place."""
        kept = self._tenants.pop(lock.tenant_id, None)
        if kept is None:
            return Known()
        stamp, known = kept
        self._count -= len(known.by_id)
        return known if stamp == lock.stamp else Known()

    def keep(self, books: Books, known: Known) -> None:
        """Keep what a tenant's committed batch knew."""
        booked = books.loaded.booked_tokens, books.loaded.booked_nanos
        self._tenants[books.config.tenant_id] = (books.sequence, books.config.version, books.now, *booked), known
        self._count += len(known.by_id)
        while self._count > self._most:
            _, (_, dropped) = self._tenants.popitem(last=False)
            self._count -= len(dropped.by_id)
