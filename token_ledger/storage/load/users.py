"""Loads users whose record decides on a cost center."""

from collections.abc import Mapping

from token_ledger.core.batch.administration import SetUsers
from token_ledger.core.batch.commands import OpenRun, Record, Reserve
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered

LOAD_USERS = f"""
select {rows.USER.select("u")}
from unnest($1::bigint[], $2::text[]) as wanted (tenant_id, user_id)
cross join lateral (
    select * from users as stored
    where stored.tenant_id = wanted.tenant_id and stored.user_id = wanted.user_id and not stored.erased limit 1
) as u
"""


async def load_users(
    connection: Connection,
    ordered: Ordered,
    configs: Mapping[TenantId, TenantConfig],
    loaded: Mapping[TenantId, Loaded],
) -> None:
    """Load the users whose record decides something about a command."""
    users = {(tenant, user.user) for tenant, command in ordered.of(SetUsers) for user in command.users}
    if any(configs[tenant].has_users for tenant in loaded):
        named: list[tuple[TenantId, Reserve | Record | OpenRun]] = [*ordered.calls, *ordered.of(OpenRun)]
        for tenant, each in named:
            if configs[tenant].has_users and each.user is not None and each.cost_center is None:
                users.add((tenant, each.user))
    if users:
        for row in await connection.fetch(LOAD_USERS, *zip(*users, strict=True)):
            user = rows.USER.read(row)
            loaded[row[0]].users[user.user] = user
