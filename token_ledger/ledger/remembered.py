"""Owns what a process remembers of tenants between their batches: set-up, prices, accounts, holds, names of models."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from token_ledger.core.batch.books import Books
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.storage.load.kept_state import KeptState, Known
from token_ledger.storage.load.model_names import RecentNames


@dataclass(slots=True)
class Remembered:
    """What is remembered of each tenant; all of it is as committed batches left it."""

    configs: dict[TenantId, TenantConfig] = field(default_factory=dict)
    books: dict[TenantId, PriceBook] = field(default_factory=dict)
    """The price book of each tenant, as of its set-up."""
    kept: KeptState = field(default_factory=KeptState)
    names: RecentNames = field(default_factory=RecentNames)

    def has_config(self, tenant: TenantId, version: int) -> bool:
        """Tell whether a version of a tenant's set-up is remembered."""
        config = self.configs.get(tenant)
        return config is not None and config.version == version

    def set_config(self, tenant: TenantId, config: TenantConfig, prices: PriceBook) -> None:
        """Remember a new version of a tenant's set-up, and nothing that was read with the one before."""
        self.configs[tenant], self.books[tenant] = config, prices
        self.names.forget(tenant)

    def keep(self, books: Books, known: dict[TenantId, Known]) -> None:
        """Keep what a committed batch leaves, unless the next one has taken out of `known` what it knew.

        It is taken out here as well: whoever has it changes it in place, so no two batches may.
        """
        tenant = books.config.tenant_id
        self.names.keep(tenant, books.writes)
        left = known.pop(tenant, None)
        if left is not None and books.writes.leaves_accounts_known:
            self.kept.keep(tenant, left)

    def forget(self, tenants: Iterable[TenantId]) -> None:
        """Forget what was read in a transaction or a part that was not committed."""
        for tenant in tenants:
            self.configs.pop(tenant, None)
            self.books.pop(tenant, None)
            self.names.forget(tenant)
