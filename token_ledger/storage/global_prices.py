"""Changes the global price book, which takes the owner of the tables: what names stand for to every tenant.

Every process reads the book again when the set-up of a tenant has a new version, so a change gives all of them one.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.plain_data import alias_data
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.price_terms import Alias
from token_ledger.core.model.principal import OPERATOR_TENANT
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.database import Database
from token_ledger.storage.prices import LOAD_GLOBAL_ALIASES
from token_ledger.storage.tenants import all_tenants

AS_OWNER = "set local role none"
"""The role of the service may only read the global price book; whoever may change it has connected as its owner."""

INSERT_ALIAS = text(
    "insert into price_aliases (provider, model, to_provider, to_model)"
    " values (:provider, :model, :to_provider, :to_model)"
)
RAISE_VERSION = text("update tenant_ledgers set config_version = config_version + 1 where tenant_id = :tenant")


async def find_global_aliases(connection: AsyncConnection) -> list[Alias]:
    """Return what names stand for to every tenant."""
    rows = (await connection.execute(text(LOAD_GLOBAL_ALIASES))).all()
    newest = {
        (row.provider, row.model.casefold()): Alias(
            0, row.provider, row.model, None if row.to_model is None else ModelName(row.to_provider, row.to_model)
        )
        for row in rows
    }
    return [newest[name] for name in sorted(newest) if newest[name].stands_for is not None]


async def add_global_alias(
    database: Database, book: PriceBook, name: ModelName, stands_for: ModelName | None, actor: str
) -> None:
    """Let a name, or all names of a pattern, stand for a model to every tenant; None ends that."""
    provider = book.provider_named(name.provider)
    to_provider, to_model = stands_for or (None, None)
    async with database.changing(OPERATOR_TENANT) as connection:
        after = alias_data(stands_for)
        await note_change(connection, OPERATOR_TENANT, actor, "alias.set", f"{provider}/{name.model}", after=after)
        await connection.exec_driver_sql(AS_OWNER)
        values = {"provider": provider, "model": name.model, "to_provider": to_provider, "to_model": to_model}
        await connection.execute(INSERT_ALIAS, values)
    await announce(database)


async def announce(database: Database) -> None:
    """Let every process read the global price book again before its next batch of any tenant."""
    async with database.reading() as connection:
        tenants = [*await all_tenants(connection)]
    for tenant in tenants:  # one by one, so that nobody waits for the lock of another tenant
        async with database.changing(tenant) as connection:
            await connection.execute(RAISE_VERSION, {"tenant": tenant})
