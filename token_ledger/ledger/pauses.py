"""Owns for how many batches of a tenant a shorter way is not tried, because it has just led nowhere."""

from token_ledger.core.model.tenant import TenantId


class Pauses:
    """How many batches of each tenant are left to a pause; most tenants have none."""

    def __init__(self) -> None:
        self._left: dict[TenantId, int] = {}

    def begin(self, tenant: TenantId, batches: int) -> None:
        """Let a tenant's next batches not try it."""
        if batches:
            self._left[tenant] = batches

    def is_over(self, tenant: TenantId) -> bool:
        """Count a batch of a tenant, and tell whether it may try."""
        left = self._left.pop(tenant, 0)
        if left > 1:
            self._left[tenant] = left - 1
        return not left
