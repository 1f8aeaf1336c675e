"""The commands for tenants: `tenant`, `stop-tenant` and `resume-tenant`; `apply` has a module of its own."""

import argparse
import asyncio
import shlex
import sys
from typing import Any

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key, on_same_database, open_database
from token_ledger.cli.names import read_name, read_words
from token_ledger.cli.submission import in_words, submit
from token_ledger.config import Settings
from token_ledger.core.batch.administration import StopTenant
from token_ledger.core.model.principal import Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import add_key
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.tenants import add_tenant, check_zone


def create_tenant(settings: Settings, options: argparse.Namespace) -> int:
    """Create a tenant and print its first admin key."""
    name = read_name("the tenant's name", options.name)
    check_zone(options.time_zone)
    with named_database(settings) as url:
        _, key = asyncio.run(make_tenant(settings, url, name, options.time_zone))
    print(key, flush=True)
    again = f"token-ledger key {shlex.quote(name)} --role agent{on_same_database(options)}"
    print(
        f"this is the admin key of {name}, shown this once: keep it; set budgets with it (PUT /v1/users, POST"
        f" /v1/budgets, or token-ledger apply); make a key for agents with: {again}",
        file=sys.stderr,
    )
    return 0


async def make_tenant(settings: Settings, url: str, name: str, time_zone: str) -> tuple[TenantId, str]:
    """Return a new tenant and its admin key; ValueError if the name is taken."""
    async with open_database(url) as database, database.changing() as connection:
        tenant = await add_noted_tenant(connection, name, time_zone)
        if tenant is None:
            raise ValueError(f"there is a tenant named {name!r} already; token-ledger key makes another key for it")
        key, _ = await add_key(
            connection, tenant, Role.ADMIN, "first admin",
            environment=settings.environment, pepper=settings.pepper(), actor=actor(),
        )  # fmt: skip
    return tenant, key


async def add_noted_tenant(
    connection: Any, name: str, time_zone: str, *, week_start: int = 0, fiscal_month: int = 1
) -> TenantId | None:
    """Add a tenant, and an entry in its audit log that says who did; None if the name is taken."""
    tenant = await add_tenant(connection, name, time_zone, week_start=week_start, fiscal_month=fiscal_month)
    if tenant is not None:
        after = {"name": name, "time_zone": time_zone, "week_start": week_start, "fiscal_month": fiscal_month}
        await note_change(connection, tenant, actor(), "tenant.create", str(tenant), after=after)
    return tenant


def stop_tenant(settings: Settings, options: argparse.Namespace) -> int:
    """Refuse every new call of a tenant."""
    return _set_stop(settings, options.tenant, read_words("--reason", options.reason))


def resume_tenant(settings: Settings, options: argparse.Namespace) -> int:
    """End a tenant's emergency stop."""
    return _set_stop(settings, options.tenant, None)


def _set_stop(settings: Settings, tenant_name: str, reason: str | None) -> int:
    command = StopTenant(new_idempotency_key(), b"", reason, actor())
    with named_database(settings) as url:
        for entry in asyncio.run(submit(url, tenant_name, command)):
            print(in_words(entry))
    return 0
