"""Loads the increases that commands decide on."""

from collections.abc import Mapping

from token_ledger.core.batch.administration import DecideIncrease
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.locks import Connection
from token_ledger.storage.load.ordered import Ordered

LOAD_INCREASES = f"""
select {rows.INCREASE.select("i")}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, increase_id)
join increases as i using (tenant_id, increase_id)
"""


async def load_increases(connection: Connection, ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> None:
    """Load the increases that commands decide on."""
    if asked := [(tenant, each.increase_id) for tenant, each in ordered.of(DecideIncrease)]:
        for row in await connection.fetch(LOAD_INCREASES, *zip(*asked, strict=True)):
            loaded[row[0]].increases[row[1]] = rows.INCREASE.read(row)
