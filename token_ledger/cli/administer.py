"""What the commands of those who administer do; `parsers` says how they are called."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

from pydantic import ValidationError

from token_ledger.api.translate_admin import set_users_command
from token_ledger.api.wire_admin import RotationBody, UsersBody
from token_ledger.cli.actor import actor
from token_ledger.cli.apply import apply, ledger_of
from token_ledger.cli.complaints import checked_name
from token_ledger.cli.declared import read_declared
from token_ledger.cli.user_lists import read_users
from token_ledger.config import Settings
from token_ledger.core.administration import EraseUser, StopTenant
from token_ledger.core.commands import Command
from token_ledger.core.outcomes import Changed, Refused, StopAnswer
from token_ledger.core.tenant import TenantId
from token_ledger.storage.api_keys import list_keys, revoke_key, rotate_key
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import find_tenant

_USERS = 1_000
"""How many users one command sets."""


def apply_file(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Set up what a file says, or say what would be changed."""
    declared = read_declared(options.file)
    change = not (options.plan or options.diff)
    differing = asyncio.run(apply(url, declared, change=change, prune=options.prune, tell=print))
    if not differing:
        print("nothing to change")
    return 1 if options.diff and differing else 0


def stop(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Stop every call of a tenant."""
    return _change(url, options.tenant, StopTenant(_key(), b"", checked_name("--reason", options.reason), actor()))


def resume(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Let a tenant's calls go on."""
    return _change(url, options.tenant, StopTenant(_key(), b"", None, actor()))


def erase_user(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Put a pseudonym in a user's place."""
    return _change(url, options.tenant, EraseUser(_key(), b"", checked_name("user", options.user), actor()))


def import_users(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Make the users of a CSV file known."""
    users = read_users(options.file)
    bodies = [
        UsersBody(idempotency_key=_key(), users=tuple(users[start : start + _USERS]))
        for start in range(0, len(users), _USERS)
    ]
    return _change(url, options.tenant, *(set_users_command(body, actor()) for body in bodies))


def show_keys(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """List a tenant's API keys."""

    async def show(database: Database, tenant: TenantId) -> None:
        async with database.reading(tenant) as connection:
            for key in await list_keys(connection, tenant):
                ends = key["revoked_at"] or key["expires_at"]
                print(
                    f"{key['key_id']}  {key['role']:<8} {key['name']}"
                    + (f"  ends {ends:%Y-%m-%d %H:%M}" if ends else "")
                )

    return asyncio.run(_with_tenant(url, options.tenant, show))


def rotate(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Print a key in the place of another."""
    try:
        overlap = RotationBody(overlap_seconds=options.overlap_hours * 3_600)
    except ValidationError:
        raise ValueError("--overlap-hours: an old key goes on for 0 to 168 hours, which is a week") from None

    async def make(database: Database, tenant: TenantId) -> None:
        async with database.reading(tenant) as connection:
            rotated = await rotate_key(
                connection, tenant, options.key_id, timedelta(seconds=overlap.overlap_seconds),
                environment=settings.environment, pepper=settings.pepper(), actor=actor(),
            )  # fmt: skip
        if rotated is None:
            raise ValueError(f"there is no API key {options.key_id!r} in force")
        print(rotated.key)

    return asyncio.run(_with_tenant(url, options.tenant, make))


def revoke(url: str, settings: Settings, options: argparse.Namespace) -> int:
    """Revoke an API key."""

    async def end(database: Database, tenant: TenantId) -> None:
        async with database.reading(tenant) as connection:
            if await revoke_key(connection, tenant, options.key_id, actor=actor()) is None:
                raise ValueError(f"there is no API key {options.key_id!r}")

    return asyncio.run(_with_tenant(url, options.tenant, end))


async def _with_tenant(url: str, name: str, work: Callable[[Database, TenantId], Awaitable[None]]) -> int:
    database = Database(url, writers=1, readers=1)
    try:
        await work(database, await _tenant(database, name))
    finally:
        await database.close()
    return 0


def _change(url: str, name: str, *commands: Command) -> int:
    async def submit() -> None:
        async with ledger_of(url) as (database, commits):
            tenant = await _tenant(database, name)
            for command in commands:
                outcome = await commits.submit(tenant, command)
                if isinstance(outcome, Refused):
                    raise ValueError(outcome.detail)
                assert isinstance(outcome, Changed | StopAnswer)
                print(f"{outcome.entry.action}: {outcome.entry.target}")

    asyncio.run(submit())
    return 0


async def _tenant(database: Database, name: str) -> TenantId:
    async with database.reading() as connection:
        tenant = await find_tenant(connection, name)
    if tenant is None:
        raise ValueError(f"there is no tenant named {name!r}")
    return tenant


def _key() -> str:
    return f"cli:{uuid4().hex}"
