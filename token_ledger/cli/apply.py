"""The command `apply`: compares a file with what is set up, prints the differences, and makes the changes.

Changes go through the ledger like any administrator's request, so they are in the audit log. Before the first change,
of any tenant, all of them are tried on a copy of the books, so a file is refused as a whole.
"""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Callable, Sequence

from token_ledger.cli.connections import named_database, on_same_database, open_ledger
from token_ledger.cli.recosting_offer import recosting_offers
from token_ledger.cli.setup_changes import Change, TenantState, declared_rule, find_changes, planned_calendar
from token_ledger.cli.setup_file import SetupFile, TenantTerms, read_setup_file
from token_ledger.cli.tenants import add_noted_tenant
from token_ledger.config import Settings
from token_ledger.core.batch.administration import SetAlias, SetPrice
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Outcome, Refused
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.price_terms import book_with
from token_ledger.core.model.tenant import TenantConfig, TenantId, User
from token_ledger.core.model.window import Calendar
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.price_terms import load_price_terms
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.reads.budgets import find_budgets
from token_ledger.storage.reads.model_names import find_spellings
from token_ledger.storage.reads.triggers import find_triggers
from token_ledger.storage.reads.users import find_users
from token_ledger.storage.tenants import find_tenant
from token_ledger.storage.upkeep.periods import database_now

_USERS_PER_PAGE = 1_000
_TRIAL_SEQUENCE = 1 << 40
"""A sequence number that no real batch will reach, so ids given while trying changes are nobody else's."""


def apply_file(settings: Settings, options: argparse.Namespace) -> int:
    """Set up what a file says, or print what would be changed."""
    setup = read_setup_file(options.file)
    change = not (options.plan or options.diff)
    with named_database(settings) as url:
        count, made = asyncio.run(apply(url, setup, options, change=change, tell=print))
    if not count:
        print("nothing to change")
    for name in made:
        command = f"token-ledger key {shlex.quote(name)} --role admin{on_same_database(options)}"
        print(f"{name} has no API key yet; make one with: {command}", file=sys.stderr)
    return 1 if options.diff and count else 0


async def apply(
    url: str, setup: SetupFile, options: argparse.Namespace, *, change: bool, tell: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Tell what differs from a file, make the changes if `change`, and return how many there are, and new tenants.

    Raises ValueError if the ledger refuses a change, normally before anything is changed.
    """
    count, made = 0, []
    async with open_ledger(url) as (database, commits):
        async with database.reading() as connection:
            prices = await load_price_book(connection)
        plans: list[tuple[TenantTerms, TenantState, list[Change]]] = []
        for tenant in setup.tenants:
            state = await _load_state(database, tenant, prices)
            changes = find_changes(tenant, state, prune=options.prune)
            _try_changes(tenant, state, changes)
            plans.append((tenant, state, changes))
        for tenant, state, changes in plans:
            number = state.number
            if number is None:
                tell(f"{tenant.name}: create the tenant")
                count += 1
                if change:
                    number = await _create_tenant(database, tenant)
                    made.append(tenant.name)
            planned = planned_calendar(tenant, state)
            if planned is not None:
                tell(f"{tenant.name}: {planned}")
            for step in changes:
                tell(f"{tenant.name}: {step.text}")
                count += 1
                if change and number is not None:
                    _check_accepted(tenant, step, await commits.submit(number, step.command))
            priced = [
                ModelName(step.command.provider, step.command.model)
                for step in changes
                if isinstance(step.command, SetPrice | SetAlias)
            ]
            for offer in await recosting_offers(database, options, tenant.name, priced) if change and priced else ():
                tell(offer)
    return count, made


def _try_changes(tenant: TenantTerms, state: TenantState, changes: Sequence[Change]) -> None:
    """Raise ValueError if the ledger would refuse one of the changes; they are decided on books that are discarded."""
    books = Books(state.config, state.prices, _TRIAL_SEQUENCE, state.now, Loaded())
    for step, outcome in zip(changes, decide(books, [step.command for step in changes]), strict=True):
        _check_accepted(tenant, step, outcome)


def _check_accepted(tenant: TenantTerms, step: Change, outcome: Outcome) -> None:
    if isinstance(outcome, Refused):
        raise ValueError(f"{tenant.name}: {step.text}: {outcome.detail}")


async def _create_tenant(database: Database, tenant: TenantTerms) -> TenantId:
    async with database.changing() as connection:
        number = await add_noted_tenant(
            connection, tenant.name, tenant.time_zone,
            week_start=tenant.week_start, fiscal_month=tenant.fiscal_month,
        )  # fmt: skip
    if number is None:
        raise ValueError(f"{tenant.name}: somebody else has just created this tenant; apply the file again")
    return number


async def _load_state(database: Database, tenant: TenantTerms, prices: PriceBook) -> TenantState:
    async with database.reading() as connection:
        number = await find_tenant(connection, tenant.name)
        now = await database_now(connection)
    if number is None:
        config = TenantConfig(TenantId(0), 1, Calendar(declared_rule(tenant)))
        return TenantState(None, config, now, {}, prices.name_of, prices)
    async with database.reading(number) as connection:
        calendar, _ = await load_calendar(connection, number)
        users: dict[str, User] = {}
        after = ""
        while page := await find_users(connection, number, after=after, limit=_USERS_PER_PAGE):
            users.update((user.user, user) for user in page)
            after = page[-1].user
        budgets = tuple(budget for budget, archived in await find_budgets(connection, number) if not archived)
        triggers = tuple(await find_triggers(connection, number))
        spellings = await find_spellings(connection, number)
        terms = await load_price_terms(connection, number)
    config = TenantConfig(number, 1, calendar, budgets, triggers, renamed=spellings.renamed, price_terms=terms)
    book = book_with(prices, terms)
    return TenantState(number, config, now, users, spellings.names_by(book), book)
