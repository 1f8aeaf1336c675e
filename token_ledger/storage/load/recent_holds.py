"""Keeps the holds that a process gave recently, so that settling one loads at most what may have changed."""

from collections import OrderedDict

from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.tenant import TenantId


class RecentHolds:
    """Committed holds, the newest `most`; none that was drawn on, extended or ended, and no lease."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        # Not a dict: after many deletions at its front, finding its oldest key passes over all of them.
        self._holds: OrderedDict[tuple[TenantId, int], Reservation] = OrderedDict()

    def get(self, name: tuple[TenantId, int]) -> Reservation | None:
        """Return a hold by tenant and id, if it is still kept; a batch that failed may have changed its state."""
        hold = self._holds.get(name)
        # What a batch changed of it may never have been committed.
        return hold if hold is not None and not hold.changes else None

    def keep(self, tenant: TenantId, writes: Writes) -> None:
        """Keep the holds that a committed batch gave and drop those that it changed or ended."""
        for reservation in writes.new_reservations:
            self._holds[tenant, reservation.reservation_id] = reservation
        for event in writes.events:
            if event.reservation_id is not None:
                self._holds.pop((tenant, event.reservation_id), None)
        for hold, _ in writes.ended_reservations:
            self._holds.pop((tenant, hold.reservation_id), None)
        for reservation_id in writes.changed_reservations:
            self._holds.pop((tenant, reservation_id), None)
        while len(self._holds) > self._most:
            self._holds.popitem(last=False)

    def forget(self, tenant: TenantId) -> None:
        """Forget a tenant's holds, because its set-up has changed and they may belong to a pseudonym now."""
        for name in [name for name in self._holds if name[0] == tenant]:
            del self._holds[name]
