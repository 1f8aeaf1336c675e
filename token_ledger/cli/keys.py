"""The commands for API keys: `key`, `keys`, `rotate-key` and `revoke-key`."""

import argparse
import asyncio
from datetime import timedelta

from pydantic import ValidationError

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, open_database, tenant_named
from token_ledger.cli.names import read_words
from token_ledger.config import Settings
from token_ledger.core.model.principal import OPERATOR_TENANT, Role
from token_ledger.storage.api_keys import add_key, list_keys, revoke_key, rotate_key
from token_ledger.wire.bodies.api_keys import RotationBody

NO_TENANT = "-"


def create_key(settings: Settings, options: argparse.Namespace) -> int:
    """Create an API key and print it."""
    role, name = _key_role(options), read_words("--name", options.name)
    with named_database(settings) as url:
        print(asyncio.run(make_key(settings, url, options.tenant, role, name)))
    return 0


def _key_role(options: argparse.Namespace) -> Role:
    """Return the role of a new key; ValueError says why a key of the tenant can't have it, and what to do instead."""
    is_operator = options.role == Role.OPERATOR
    if is_operator and options.tenant != NO_TENANT:
        raise ValueError(
            f"an operator manages all tenants and belongs to none, so its key can't be one of {options.tenant!r};"
            f" write: token-ledger key {NO_TENANT} --role operator"
        )
    if options.tenant == NO_TENANT and not is_operator:
        raise ValueError(f"{NO_TENANT} stands for no tenant, which only a key of the role operator has; name a tenant")
    return Role(options.role)


async def make_key(settings: Settings, url: str, tenant_name: str, role: Role, name: str) -> str:
    """Return a new key of a tenant, or of the operator; ValueError if there is no such tenant."""
    async with open_database(url) as database:
        tenant = OPERATOR_TENANT if role is Role.OPERATOR else await tenant_named(database, tenant_name)
        async with database.changing(tenant) as connection:
            key, _ = await add_key(
                connection, tenant, role, name,
                environment=settings.environment, pepper=settings.pepper(), actor=actor(),
            )  # fmt: skip
    return key


def show_keys(settings: Settings, options: argparse.Namespace) -> int:
    """List a tenant's API keys."""

    async def show(url: str) -> None:
        async with open_database(url) as database:
            tenant = await tenant_named(database, options.tenant)
            async with database.reading(tenant) as connection:
                keys = await list_keys(connection, tenant)
        for key in keys:
            ends = key.revoked_at or key.expires_at
            end = f"  ends {ends:%Y-%m-%d %H:%M}" if ends else ""
            print(f"{key.key_id}  {key.role:<8} {key.name}{end}")

    with named_database(settings) as url:
        asyncio.run(show(url))
    return 0


def replace_key(settings: Settings, options: argparse.Namespace) -> int:
    """Print a new key that replaces another, which stays valid for the overlap."""
    try:
        overlap = RotationBody(overlap_seconds=options.overlap_hours * 3_600)
    except ValidationError:
        raise ValueError("--overlap-hours: the old key can stay valid for 0 to 168 hours (a week)") from None

    async def replace(url: str) -> None:
        async with open_database(url) as database:
            tenant = await tenant_named(database, options.tenant)
            async with database.changing(tenant) as connection:
                rotated = await rotate_key(
                    connection, tenant, options.key_id, timedelta(seconds=overlap.overlap_seconds),
                    environment=settings.environment, pepper=settings.pepper(), actor=actor(),
                )  # fmt: skip
        if rotated is None:
            raise _no_key(options, "valid API key")
        print(rotated.key)

    with named_database(settings) as url:
        asyncio.run(replace(url))
    return 0


def end_key(settings: Settings, options: argparse.Namespace) -> int:
    """Revoke an API key."""

    async def end(url: str) -> None:
        async with open_database(url) as database:
            tenant = await tenant_named(database, options.tenant)
            async with database.changing(tenant) as connection:
                if await revoke_key(connection, tenant, options.key_id, actor=actor()) is None:
                    raise _no_key(options, "API key")

    with named_database(settings) as url:
        asyncio.run(end(url))
    return 0


def _no_key(options: argparse.Namespace, what: str) -> ValueError:
    return ValueError(
        f"there is no {what} {options.key_id!r}; token-ledger keys {options.tenant} lists the keys of the tenant"
    )
