"""Keeps the trouble of one tenant from the others: what a duty can't do for a tenant is noted, and the others go on.

Work is asked for many tenants at once, as that is cheap. Where it fails it is divided, until the tenant at fault is
alone; that one is left out then, for longer and longer. What is no tenant's fault is raised: the whole duty fails.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.clocks import ClockDoubted
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.failures import Failure
from token_ledger.storage.upkeep.leadership import NotLeading
from token_ledger.worker.repeating import LONGEST_PAUSE_SECONDS, pause_seconds

log = logging.getLogger(__name__)
Found = TypeVar("Found")
Count = Callable[[str, str], None]
"""Counts that a duty failed for a tenant: both by name."""


def _is_no_tenants_fault(error: BaseException) -> bool:
    """Tell whether an error would meet every tenant; an error of the database's own may be about one tenant's rows."""
    if isinstance(error, DatabaseAway):
        return error.failure is not Failure.BROKEN or isinstance(error.__cause__, ClockDoubted)
    return isinstance(error, NotLeading) or not isinstance(error, Exception)


def _uncounted(duty: str, tenant: str) -> None:
    """Count nothing."""


class TenantFailures:
    """The tenants that one duty has failed for, and until when they are left out."""

    def __init__(self, duty: str, count: Count = _uncounted, clock: Callable[[], float] = time.monotonic) -> None:
        self._duty = duty
        self._count = count
        self._clock = clock
        self._times: dict[TenantId, int] = {}
        self._until: dict[TenantId, float] = {}

    def ready(self, tenants: Iterable[TenantId]) -> list[TenantId]:
        """Return the tenants that the duty is to be done for now."""
        now = self._clock()
        return [tenant for tenant in tenants if self._until.get(tenant, now) <= now]

    async def each(
        self, names: Mapping[TenantId, str], work: Callable[[Sequence[TenantId]], Awaitable[Found]]
    ) -> list[Found]:
        """Do work for all tenants that are ready, together, or in parts without those that it fails for."""
        tenants = self.ready(names)
        return await self._divided(tenants, names, work) if tenants else []

    async def _divided(
        self, tenants: Sequence[TenantId], names: Mapping[TenantId, str],
        work: Callable[[Sequence[TenantId]], Awaitable[Found]],
    ) -> list[Found]:  # fmt: skip
        try:
            return [await work(tenants)]
        except Exception as error:  # whatever it is: an overflow, a row that can't be read
            if _is_no_tenants_fault(error):
                raise
            if len(tenants) == 1:
                self.note(tenants[0], names[tenants[0]], error)
                return []
        middle = len(tenants) // 2
        return [
            *await self._divided(tenants[:middle], names, work),
            *await self._divided(tenants[middle:], names, work),
        ]

    @contextmanager
    def alone(self, tenant: TenantId, name: str) -> Iterator[None]:
        """Do a tenant's part of the duty within the block; where it fails, go on behind it."""
        try:
            yield
        except Exception as error:  # see above
            self.note(tenant, name, error)
        else:
            self.done(tenant)

    def done(self, tenant: TenantId) -> None:
        """Forget that the duty has failed for a tenant, because it has just succeeded."""
        self._times.pop(tenant, None)
        self._until.pop(tenant, None)

    def note(self, tenant: TenantId, name: str, error: BaseException) -> None:
        """Note that the duty failed for a tenant; raise the error if that is no tenant's fault."""
        if _is_no_tenants_fault(error):
            raise error
        times = self._times[tenant] = self._times.get(tenant, 0) + 1
        self._until[tenant] = self._clock() + pause_seconds(0.0, times, LONGEST_PAUSE_SECONDS)
        self._count(self._duty, name)
        reason = f"{type(error).__name__}: {error}"[:300]
        log.warning(
            "recurring work failed for a tenant, going on with the others",
            extra={"task": self._duty, "tenant": name, "reason": reason, "times": times},
        )
