"""Loads what few batches need: users, requests for more, attachable runs, grants, accounts of earlier windows.

Each is asked for only where a command, an account or a budget calls for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from token_ledger.core.administration import DecideIncrease, GiveGrant, SetUsers
from token_ledger.core.commands import Command, OpenRun, Preflight, Record, Reserve
from token_ledger.core.loaded import Loaded
from token_ledger.core.tenant import TenantConfig, TenantId
from token_ledger.storage.rows import (
    ACCOUNT_COLUMNS,
    GRANT_COLUMNS,
    INCREASE_COLUMNS,
    RUN_COLUMNS,
    USER_COLUMNS,
    account_from,
    grant_from,
    increase_from,
    of_table,
    run_from,
    user_from,
)  # fmt: skip

Connection = Any
Ordered = Sequence[tuple[TenantId, Command]]

LOAD_USERS = f"""
select {of_table("u", USER_COLUMNS)}
from unnest($1::bigint[], $2::text[]) as wanted (tenant_id, user_id)
cross join lateral (
    select * from users as stored
    where stored.tenant_id = wanted.tenant_id and stored.user_id = wanted.user_id limit 1
) as u
"""

LOAD_INCREASES = f"""
select {of_table("i", INCREASE_COLUMNS)}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, increase_id)
join increases as i using (tenant_id, increase_id)
"""

# The newest that is open, like all that it is a part of; these come with it.
LOAD_ATTACHABLE = f"""
with attachable as materialized (
    select {of_table("r", RUN_COLUMNS)}
    from unnest($1::bigint[], $2::text[]) as wanted (tenant_id, external_id)
    cross join lateral (
        select * from runs as stored
        where stored.tenant_id = wanted.tenant_id and stored.external_id = wanted.external_id
          and stored.state = 'open' and not exists (
            select from runs as above
            where above.tenant_id = stored.tenant_id and above.run_id = any(stored.ancestors) and above.state <> 'open'
          )
        order by stored.run_id desc limit 1
    ) as r
)
select true as is_asked, * from attachable
union all
select false, {of_table("r", RUN_COLUMNS)}
from attachable cross join lateral unnest(attachable.ancestors) as wanted (run_id)
cross join lateral (
    select * from runs as stored
    where stored.tenant_id = attachable.tenant_id and stored.run_id = wanted.run_id limit 1
) as r
"""

LOAD_GRANTS = f"""
select {of_table("g", GRANT_COLUMNS)}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, account_id)
join grants as g using (tenant_id, account_id) where g.lapsed_at is null
"""

LOAD_EARLIER = f"""
select {of_table("a", ACCOUNT_COLUMNS)}
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[])
     as wanted (tenant_id, budget_id, subject, window_start)
cross join lateral (
    select * from accounts as stored
    where stored.tenant_id = wanted.tenant_id and stored.budget_id = wanted.budget_id
      and stored.subject = wanted.subject and stored.window_start < wanted.window_start
    order by stored.window_start desc limit 1
) as a
"""

AccountName = tuple[int, int, str, datetime]
"""Tenant, budget, subject, start of the window."""


async def load_named(
    connection: Connection,
    ordered: Ordered,
    configs: Mapping[TenantId, TenantConfig],
    loaded: Mapping[TenantId, Loaded],
) -> None:
    """Load the users, the requests for more and the attachable runs that commands are about."""
    if users := {(tenant, name) for tenant, command in ordered for name in _users_of(command, configs[tenant])}:
        for row in await connection.fetch(LOAD_USERS, *zip(*users, strict=True)):
            user = user_from(row)
            loaded[row[0]].users[user.user] = user
    if asked := [(tenant, each.increase_id) for tenant, each in ordered if isinstance(each, DecideIncrease)]:
        for row in await connection.fetch(LOAD_INCREASES, *zip(*asked, strict=True)):
            loaded[row[0]].increases[row[1]] = increase_from(row)
    attaching = [
        (tenant, each.external_id)
        for tenant, each in ordered
        if isinstance(each, OpenRun) and each.attach and each.external_id is not None
    ]
    if attaching:
        for row in await connection.fetch(LOAD_ATTACHABLE, *zip(*attaching, strict=True)):
            into = loaded[row["tenant_id"]]
            run = into.runs.setdefault(row["run_id"], run_from(row))
            if row["is_asked"]:
                into.attachable_runs[row["external_id"]] = run.run_id


async def load_earlier_accounts(
    connection: Connection, missing: Sequence[AccountName], loaded: Mapping[TenantId, Loaded]
) -> None:
    """Load the newest account before each of these, which do not exist yet and which something may roll over to."""
    if not missing:
        return
    for row in await connection.fetch(LOAD_EARLIER, *zip(*missing, strict=True)):
        account = account_from(row)
        into = loaded[row[0]]
        known = next((each for each in into.accounts if each.account_id == account.account_id), None)
        if known is None:
            into.accounts.append(account)
        into.earlier_accounts[account.budget_id, account.subject] = known or account


async def load_grants(
    connection: Connection,
    ordered: Ordered,
    instants: Mapping[TenantId, datetime],
    loaded: Mapping[TenantId, Loaded],
) -> None:
    """Load the grants of accounts on which some are due, and of those that a command grants something on."""
    wanted = {
        (tenant, account.account_id)
        for tenant, into in loaded.items()
        for account in into.accounts
        if account.grants_until is not None and account.grants_until <= instants[tenant]
    }
    for tenant, command in ordered:
        if isinstance(command, GiveGrant):
            wanted.add((tenant, command.account_id))
        elif isinstance(command, DecideIncrease) and command.increase_id in loaded[tenant].increases:
            wanted.add((tenant, loaded[tenant].increases[command.increase_id].account_id))
    if wanted:
        for row in await connection.fetch(LOAD_GRANTS, *zip(*wanted, strict=True)):
            loaded[row[0]].grants.setdefault(row[1], grant_from(row))


def _users_of(command: Command, config: TenantConfig) -> Iterable[str]:
    """Return the users whose record decides something about a command."""
    if isinstance(command, SetUsers):
        return [user.user for user in command.users]
    if not config.has_users:
        return []
    if isinstance(command, Preflight):
        return [call.user for call, _ in command.calls if call.user is not None]
    if isinstance(command, Reserve | Record | OpenRun) and command.user is not None and command.cost_center is None:
        return [command.user]
    return []
