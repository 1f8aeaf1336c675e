"""Owns the schema as a whole, which migrations are checked against: all tables, and which of them belong to tenants.

Every key starts with tenant_id; the exceptions are `tenants`, the identity providers and the global price book. No
foreign key points to usage_events, which is partitioned by month of booking. Ids come from the ledger (sequence and
ordinal), not from database sequences, so that their order is the order of decisions.
"""

from token_ledger.storage.schema import ledger_tables, rollup_tables, setup_tables
from token_ledger.storage.schema.columns import metadata

__all__ = ["GLOBAL_TABLES", "PARTITIONED_TABLES", "TENANT_TABLES", "metadata"]

GLOBAL_TABLES = frozenset(
    {
        setup_tables.identity_providers.name,
        setup_tables.price_aliases.name,
        setup_tables.prices.name,
        setup_tables.tenants.name,
        setup_tables.write_probes.name,
    }
)
"""Tables of no tenant, or that are read before the tenant is known."""
TENANT_TABLES = tuple(sorted(set(metadata.tables) - GLOBAL_TABLES))
PARTITIONED_TABLES = (ledger_tables.usage_events.name,)

assert rollup_tables.hourly_usage.metadata is metadata  # its tables are part of the schema too
