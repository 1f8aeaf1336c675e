"""Loads grants that are due, and those of accounts that get more or that lose a limit."""

from collections.abc import Iterable, Mapping, Sequence

from token_ledger.core.batch.administration import ChangeBudget, ChangeRun, DecideIncrease, GiveGrant
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.account import Account
from token_ledger.core.model.run import run_account_key
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.storage import rows
from token_ledger.storage.load.locks import Connection, Locked
from token_ledger.storage.load.ordered import Ordered

LOAD_GRANTS = f"""
select {rows.GRANT.select("g")}
from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, account_id)
join grants as g using (tenant_id, account_id) where g.lapsed_at is null
"""


def _granted(command: GiveGrant, loaded: Loaded) -> Iterable[int]:
    """Return the id of the account that a command names, and with a subject those of its other windows if loaded."""
    if command.account_id is not None:
        return [command.account_id]
    return [
        account.account_id
        for account in loaded.accounts
        if account.budget_id == command.budget_id and account.subject == command.subject
    ]


async def load_grants(
    connection: Connection,
    locked: Sequence[Locked],
    configs: Mapping[TenantId, TenantConfig],
    ordered: Ordered,
    loaded: Mapping[TenantId, Loaded],
) -> None:
    """Load the grants of accounts on which some are due, of those that get more, and of those that lose a limit."""
    wanted: set[tuple[int, int]] = set()
    for lock in locked:
        tenant, into = lock.tenant_id, loaded[lock.tenant_id]
        wanted.update(
            (tenant, account.account_id)
            for account in into.accounts
            if account.grants_until is not None and account.grants_until <= lock.now
        )
        wanted.update((tenant, account.account_id) for account in _losing(configs[tenant], into.accounts))
    wanted.update(_changed_by(ordered, loaded))
    if wanted:
        for row in await connection.fetch(LOAD_GRANTS, *zip(*wanted, strict=True)):
            loaded[row[0]].grants.setdefault(row[1], rows.GRANT.read(row))


def _losing(config: TenantConfig, accounts: Iterable[Account]) -> Iterable[Account]:
    """Return accounts that have a limit in a unit in which their budget has none any more."""
    budgets = config.budgets_by_id
    for account in accounts:
        budget = budgets.get(account.budget_id)
        limits = account.base if budget is None else budget.limits_of(account.subject)
        if account.base == limits:
            continue  # nearly always
        pairs = zip(account.base.amounts, limits.amounts, strict=True)
        if any(old is not None and new is None for old, new in pairs):
            yield account


def _changed_by(ordered: Ordered, loaded: Mapping[TenantId, Loaded]) -> Iterable[tuple[int, int]]:
    """Yield the accounts whose limits commands change, with their tenants."""
    for tenant, grant in ordered.of(GiveGrant):
        yield from ((tenant, account_id) for account_id in _granted(grant, loaded[tenant]))
    for tenant, decision in ordered.of(DecideIncrease):
        increase = loaded[tenant].increases.get(decision.increase_id)
        if increase is not None:
            yield tenant, increase.account_id
    for tenant, change in ordered.of(ChangeBudget):
        accounts = loaded[tenant].accounts
        yield from ((tenant, each.account_id) for each in accounts if each.budget_id == change.budget_id)
    for tenant, change_of_run in ordered.of(ChangeRun):
        key = run_account_key(change_of_run.run_id)
        yield from ((tenant, each.account_id) for each in loaded[tenant].accounts if each.key == key)
