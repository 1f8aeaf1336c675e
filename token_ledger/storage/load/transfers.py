"""Loads the accounts that a renamed model is on, and those that what was on other accounts has gone to."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from token_ledger.core.batch.administration import RenameModel
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.selector import ANY
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.accounts import LOAD_ACCOUNTS, load_earlier_accounts
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.ordered import Ordered
from token_ledger.storage.schema.batch_rows import array_text

# Of runs that have ended no more calls are admitted, so what is on their accounts stays.
LOAD_OF_MODELS = f"""
select {rows.ACCOUNT.select("a")}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, budget_id)
join accounts as a on a.tenant_id = wanted.tenant_id and a.budget_id = wanted.budget_id
where a.closed_at is null and (a.window_end is null or a.window_end > $3) and a.subject::jsonb ->> 'model' = any($4)
  and (a.subject_run is null or exists (
    select from runs as r where r.tenant_id = a.tenant_id and r.run_id = a.subject_run::bigint and r.state = 'open'
  ))
"""

_NO_KEYS = array_text(()), array_text(()), (), ()

LOAD_TRANSFERS = f"""
with recursive moved as (
    select t.* from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, account_id)
    join transfers as t on t.tenant_id = wanted.tenant_id and t.from_account = wanted.account_id
    union
    select t.* from moved as m
    join transfers as t on t.tenant_id = m.tenant_id and t.from_account = m.to_account
)
select {rows.TRANSFER.select("m")} from moved as m order by tenant_id, transfer_id
"""


async def load_renamed_accounts(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    ordered: Ordered,
    loaded: Mapping[TenantId, Loaded],
    prices: Mapping[TenantId, PriceBook],
) -> None:
    """Load the accounts per model, of windows under way, of the models that commands rename and of their new names."""
    renaming: dict[TenantId, list[RenameModel]] = {}
    for renamed_in, command in ordered.of(RenameModel):
        renaming.setdefault(renamed_in, []).append(command)
    for lock in locked if renaming else ():
        tenant, into = lock.tenant_id, loaded[lock.tenant_id]
        if tenant not in renaming:
            continue
        names = _names(renaming[tenant], into, configs[tenant], prices[tenant])
        budgets = [each.budget_id for each in configs[tenant].budgets if dict(each.selector).get("model") == ANY]
        models = [name.model for name in names]
        found = await connection.fetch(LOAD_OF_MODELS, [tenant] * len(budgets), budgets, lock.now, models)
        known = {account.account_id for account in into.accounts}
        into.accounts.extend(rows.ACCOUNT.read(row) for row in found if row[1] not in known)
        keys = {account.key for account in into.accounts}
        rolling = {*configs[tenant].rolling_budgets} & {*budgets}
        new = {
            (account.budget_id, account.subject.with_model(*name).text, account.window_start)
            for account in into.accounts
            for name in names
            if account.budget_id in rolling
        }
        await load_earlier_accounts(connection, [(tenant, *key) for key in new - keys], loaded)


def _names(
    commands: Iterable[RenameModel], loaded: Loaded, config: TenantConfig, prices: PriceBook
) -> set[ModelName]:  # fmt: skip
    """Return the names in the books that renamed models have, or can get."""
    name_of = partial(loaded.model_name, prices, config.renamed)
    names: set[ModelName] = set()
    for command in commands:
        becomes = prices.name_of(*command.becomes)
        names.update((name_of(*command.asked), name_of(*command.becomes), becomes, name_of(*becomes)))
    return names


async def load_transfers(connection: Connection, loaded: Mapping[TenantId, Loaded]) -> None:
    """Load the transfers from loaded accounts, and from where these led, with the accounts that they led to."""
    moved = [
        (tenant, account.account_id)
        for tenant, into in loaded.items()
        for account in into.accounts
        if account.moved_to is not None  # hardly ever
    ]
    if not moved:
        return
    reached: set[tuple[int, int]] = set()
    for row in await connection.fetch(LOAD_TRANSFERS, *zip(*moved, strict=True)):
        transfer = rows.TRANSFER.read(row)
        loaded[row[0]].transfers.setdefault(transfer.from_account, []).append(transfer)
        reached.add((row[0], transfer.to_account))
    reached -= {(tenant, each.account_id) for tenant, into in loaded.items() for each in into.accounts}
    if reached:
        for row in await connection.fetch(LOAD_ACCOUNTS, *_NO_KEYS, *map(array_text, zip(*reached, strict=True))):
            loaded[row[0]].accounts.append(rows.ACCOUNT.read(row))
