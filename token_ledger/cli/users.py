"""The commands for users: `import-users` and `erase-user`."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key, open_ledger, tenant_named
from token_ledger.cli.names import read_name
from token_ledger.cli.submission import accepted, in_words, submit
from token_ledger.config import Settings
from token_ledger.core.batch.administration import EraseUser, SetUsers
from token_ledger.core.model.audit import AuditEntry
from token_ledger.imports.users_csv import read_users
from token_ledger.storage.upkeep.erasures import is_known
from token_ledger.wire.bodies.users import UserBody, UsersBody
from token_ledger.wire.commands.users import set_users_command

MOST_USERS_AT_ONCE = 1_000
"""How many users one request to the API, and so one command to the ledger, may set."""


def import_users(settings: Settings, options: argparse.Namespace) -> int:
    """Set the users of a CSV file."""
    commands = set_users_commands(read_users(options.file))
    with named_database(settings) as url:
        entries = asyncio.run(submit(url, options.tenant, *commands))
    _print_changes(entries)
    return 0


def _print_changes(entries: Sequence[AuditEntry]) -> None:
    """Print what entries of the audit log say of users: each that was added or changed, and how many were."""
    counts = Counter(added=0, changed=0, unchanged=0)
    for entry in entries:
        before, after = entry.before or {}, entry.after or {}
        for user, cost_centers in after.items():
            if user not in before:
                counts["added"] += 1
                print(f"added {user}: {_in_words(cost_centers)}")
            elif before[user] != cost_centers:
                counts["changed"] += 1
                print(f"changed {user}: {_in_words(before[user])} → {_in_words(cost_centers)}")
            else:
                counts["unchanged"] += 1
    print(", ".join(f"{count:,} {what}" for what, count in counts.items()))


def _in_words(cost_centers: Sequence[Mapping[str, Any]]) -> str:
    """Return the cost centers of a user, as an entry of the audit log has them."""
    parts = [each["cost_center"] + (f" from {each['from']}" if each["from"] else "") for each in cost_centers]
    return ", ".join(parts) or "no cost center"


def set_users_commands(users: list[UserBody]) -> list[SetUsers]:
    """Return the commands that set users, as few as possible."""
    slices = [users[start : start + MOST_USERS_AT_ONCE] for start in range(0, len(users), MOST_USERS_AT_ONCE)]
    return [
        set_users_command(UsersBody(idempotency_key=new_idempotency_key(), users=tuple(part)), actor())
        for part in slices
    ]


def erase_user(settings: Settings, options: argparse.Namespace) -> int:
    """Begin to replace a user's name with a pseudonym; the worker that leads finishes it."""
    user = read_name("user", options.user)

    async def erase(url: str) -> None:
        async with open_ledger(url) as (database, commits):
            tenant = await tenant_named(database, options.tenant)
            async with database.reading(tenant) as connection:
                known = await is_known(connection, tenant, user)
            command = EraseUser(new_idempotency_key(), b"", user, actor(), known)
            print(in_words(accepted(await commits.submit(tenant, command))))

    with named_database(settings) as url:
        asyncio.run(erase(url))
    print("under way: a worker replaces the name in the journals; done when this command finds no such user")
    return 0
