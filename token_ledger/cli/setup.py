"""Prepares databases: schema and prices, tenants and keys, and the whole of it for a laptop (design D16)."""

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from token_ledger.cli.actor import actor
from token_ledger.config import Settings
from token_ledger.core.tenant import TenantId
from token_ledger.storage.api_keys import OPERATOR_TENANT, Role, add_key
from token_ledger.storage.audit import note_change
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.embedded import embedded_url, start_embedded
from token_ledger.storage.migrations import migrate
from token_ledger.storage.prices import seed_prices
from token_ledger.storage.tenants import add_tenant, find_tenant

LAPTOP_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys of a laptop's own service, kept beside its data for its one user."""

    tenant: str
    admin_key: str
    operator_key: str


def prepare_laptop(settings: Settings) -> tuple[str, Credentials]:
    """Start the embedded PostgreSQL, bring it up to date and make a tenant with keys; return its address and keys."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    url = embedded_url(start_embedded(settings.data_dir))
    prepare_database(url)
    return url, _credentials(settings, url)


def prepare_database(url: str) -> int:
    """Migrate a database and seed its price book; return how many prices were added."""

    async def prepare() -> int:
        try:
            await migrate(url)
        except OSError as error:
            raise DatabaseAway(f"the database can't be reached: {str(error) or type(error).__name__}") from error
        return await seed_prices(url)

    return asyncio.run(prepare())


async def make_tenant(settings: Settings, url: str, name: str, time_zone: str) -> tuple[TenantId, str]:
    """Make a tenant and an admin key; ValueError if the name is taken."""
    database = Database(url, writers=1, readers=1)
    try:
        async with database.reading() as connection:
            tenant = await add_noted_tenant(connection, name, time_zone)
            if tenant is None:
                raise ValueError(f"there is a tenant named {name!r} already")
            key, _ = await add_key(
                connection, tenant, Role.ADMIN, "first admin",
                environment=settings.environment, pepper=settings.pepper(), actor=actor(),
            )  # fmt: skip
        return tenant, key
    finally:
        await database.close()


async def add_noted_tenant(
    connection: Any, name: str, time_zone: str, *, week_start: int = 0, fiscal_month: int = 1
) -> TenantId | None:
    """Make a tenant, with the entry in its audit log that says by whom; None if the name is taken."""
    tenant = await add_tenant(connection, name, time_zone, week_start=week_start, fiscal_month=fiscal_month)
    if tenant is not None:
        after = {"name": name, "time_zone": time_zone, "week_start": week_start, "fiscal_month": fiscal_month}
        await note_change(connection, tenant, actor(), "tenant.create", str(tenant), after=after)
    return tenant


async def make_key(settings: Settings, url: str, tenant_name: str, role: Role, name: str) -> str:
    """Make a key for a tenant, or for the operator; ValueError if there is no such tenant."""
    database = Database(url, writers=1, readers=1)
    try:
        if role is Role.OPERATOR:
            tenant: TenantId | None = OPERATOR_TENANT
        else:
            async with database.reading() as connection:
                tenant = await find_tenant(connection, tenant_name)
        if tenant is None:
            raise ValueError(f"there is no tenant named {tenant_name!r}")
        async with database.reading(tenant) as connection:
            key, _ = await add_key(
                connection, tenant, role, name,
                environment=settings.environment, pepper=settings.pepper(), actor=actor(),
            )  # fmt: skip
        return key
    finally:
        await database.close()


def _credentials(settings: Settings, url: str) -> Credentials:
    path: Path = settings.data_dir / "credentials.json"
    if path.exists():
        return Credentials(**json.loads(path.read_text()))
    credentials = asyncio.run(_make_credentials(settings, url))
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(credentials), file)
    return credentials


async def _make_credentials(settings: Settings, url: str) -> Credentials:
    try:
        _, admin_key = await make_tenant(settings, url, LAPTOP_TENANT, "UTC")
    except ValueError:  # the data outlived the file: the tenant gets another key
        admin_key = await make_key(settings, url, LAPTOP_TENANT, Role.ADMIN, "laptop")
    operator_key = await make_key(settings, url, "", Role.OPERATOR, "laptop")
    return Credentials(LAPTOP_TENANT, admin_key, operator_key)
