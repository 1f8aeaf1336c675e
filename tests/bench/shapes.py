"""Owns the set-ups that are measured: the number of tenants and the budgets of each.

Limits are in tokens and money and are never reached: refusals are not measured.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.rows import Failure
from token_ledger.core.batch.administration import CreateBudget
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.batch.outcomes import BudgetAnswer
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.migrations import migrate
from token_ledger.storage.prices import load_price_book, seed_prices
from token_ledger.storage.tenants import add_tenant

FIRST_TENANT = "tenant-0"
_LIMITS = Limits(tokens=10**15, nanos=10**18)

Selector = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A number of tenants, each with these budgets; a call counts on one account of every budget."""

    name: str
    tenants: int
    budgets: tuple[tuple[Selector, Window], ...]

    @property
    def accounts(self) -> int:
        """The number of accounts on every call's path."""
        return len(self.budgets)


_EVERYTHING: Selector = ()
ONE_ACCOUNT = Shape("one_account", 1, ((_EVERYTHING, Window.TOTAL),))
TWO_TENANTS = Shape("two_tenants", 2, ONE_ACCOUNT.budgets)
SIX_ACCOUNTS = Shape(
    "six_accounts",
    1,
    (
        (_EVERYTHING, Window.TOTAL),
        (_EVERYTHING, Window.MONTH),
        ((("cost_center", "*"),), Window.MONTH),
        ((("user", "*"),), Window.DAY),
        ((("agent_type", "*"),), Window.DAY),
        ((("model", "*"),), Window.MONTH),
    ),
)
THOUSAND_TENANTS = Shape("thousand_tenants", 1000, ONE_ACCOUNT.budgets)


def filling(shape: Shape) -> Callable[[str], Awaitable[None]]:
    """Return the function that sets up an empty database with a shape."""

    async def fill(url: str) -> None:
        await migrate(url)
        await seed_prices(url)
        database = Database(url)
        try:
            await _set_up(database, shape)
        finally:
            await database.close()

    return fill


async def _set_up(database: Database, shape: Shape) -> None:
    async with database.reading() as connection:
        prices = await load_price_book(connection)
        tenants = [await add_tenant(connection, f"tenant-{number}", "UTC") for number in range(shape.tenants)]
    commits = GroupCommit(database, prices)
    budgets = [_budget(number, selector, window) for number, (selector, window) in enumerate(shape.budgets)]
    made = await asyncio.gather(
        *(commits.submit(tenant, budget) for tenant in tenants if tenant is not None for budget in budgets)
    )
    refused = [outcome for outcome in made if not isinstance(outcome, BudgetAnswer)]
    if refused or len(made) != shape.tenants * shape.accounts:
        raise Failure(f"the shape {shape.name} has {len(made)} budgets; refused: {refused[:1]}")
    await commits.drain()


def _budget(number: int, selector: Selector, window: Window) -> CreateBudget:
    name = f"budget {number}"
    return CreateBudget(name, fingerprint(name.encode()), name, selector, _LIMITS, window)
