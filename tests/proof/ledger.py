"""One tenant of a real database, for tests that run commands and let time pass.

Time passes by moving every stored instant back, by whole days, in a time zone without daylight saving.
"""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from token_ledger.core.batch import commands, outcomes
from token_ledger.core.batch.idempotency import KeyedCommand
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.schema.all_tables import PARTITIONED_TABLES, TENANT_TABLES
from token_ledger.storage.tenants import add_tenant, all_tenants

Kind = TypeVar("Kind")
_numbers = itertools.count(1)
HOLD: dict[str, Any] = {"agent_type": "data", "provider": "openai", "model": "gpt-5.4", "input_tokens": 1_000,
        "max_output_tokens": 500}  # fmt: skip
NO_OTHERS: Mapping[str, int] = {}
_FAR = 100_000
"""Days, about 270 years."""


class Ledger:
    """One tenant of a database: runs commands one after the other, and has a connection as the owner."""

    def __init__(self, database: Database, owner: Any, prices: Any, tenant: TenantId) -> None:
        self.database = database
        self.owner = owner
        self.tenant = tenant
        self._prices = prices
        self.commits = GroupCommit(database, prices)
        self._verifier: Database | None = None

    async def ask(self, command: commands.Command, kind: type[Kind]) -> Kind:
        """Run a command with a new key if it has the key "k"; return its outcome, which must be of type `kind`."""
        named = command
        if isinstance(command, KeyedCommand) and command.key == "k":
            named = replace(command, key=f"key-{next(_numbers)}")
        outcome = await self.commits.submit(self.tenant, named)
        assert isinstance(outcome, kind), outcome
        return outcome

    async def hold(self, **fields: Any) -> int:
        """Reserve a call and return the id of the hold."""
        outcome = await self.ask(reserve(**fields), outcomes.Granted)
        return outcome.reservation.reservation_id

    async def settle(
        self, reservation_id: int, *tokens: int, others: Mapping[str, int] = NO_OTHERS, **fields: Any
    ) -> None:  # fmt: skip
        """Settle a call or a part of one; `tokens` are input, output and cache-read tokens, `others` other kinds."""
        usage = Usage(*tokens, others=others_of(others))
        await self.ask(commands.Settle("k", b"x", reservation_id, usage, **fields), outcomes.Settled)

    async def restart(self) -> None:
        """Continue like another process, which remembers nothing."""
        await self.commits.drain()
        self.commits = GroupCommit(self.database, self._prices)

    async def let_expire(self, reservation_id: int) -> None:
        """Let a hold expire."""
        await self.owner.execute(
            "update reservations set expires_at = now() - interval '1 second'"
            " where tenant_id = $1 and reservation_id = $2", self.tenant, reservation_id,
        )  # fmt: skip
        await self.restart()
        await self.commits.submit(self.tenant, commands.ExpireDue())

    async def is_clean(self) -> None:
        """Check the books of all tenants of the database, on a connection that plans each check only once."""
        if self._verifier is None:
            dsn = f"{self.database.dsn}{'&' if '?' in self.database.dsn else '?'}plan_cache_mode=force_generic_plan"
            self._verifier = Database(dsn, writers=1, readers=1, read_seconds=None)
        report = await verify(self._verifier)
        assert report.clean, report.as_text()

    async def close(self) -> None:
        """Close the connection that `is_clean` has made."""
        if self._verifier is not None:
            await self._verifier.close()

    async def move_back(self, days: int) -> None:
        """Let days pass: move everything stored about the tenant this many days back."""
        await self.commits.drain()
        oldest = await self.owner.fetchval("select min(booked_at) from usage_events")
        await make_partitions(self.owner, (oldest or datetime.now(UTC)) - timedelta(days=days))
        async with self.owner.transaction():
            for table, columns in await _instants(self.owner):
                moved = ", ".join(f'"{name}" = "{name}" - make_interval(days => $1)' for name in columns)
                for step in _steps(table, days):
                    await self.owner.execute(f"update {table} set {moved} where tenant_id = $2", step, self.tenant)
            for name in ("valid_from", "valid_until"):  # of prices and discounts, which verify compares
                await self.owner.execute(
                    "update audit_log set after = after || jsonb_build_object($3::text,"
                    " (after ->> $3)::timestamptz - make_interval(days => $1)) where tenant_id = $2 and after ? $3",
                    days, self.tenant, name,
                )  # fmt: skip
        await self._move_windows(back=days > 0)
        await self.restart()

    async def _move_windows(self, *, back: bool) -> None:
        """Give every account the window of its first call, else of its opening: months do not move by days.

        An account whose calls are dropped may have been opened after its window; then it is that of its moved end.
        """
        async with self.database.reading(self.tenant) as connection:
            calendar, _ = await load_calendar(connection, self.tenant)
        opened = await self.owner.fetch(
            'select account_id, b."window", coalesce(u.at, least(e.booked_at,'
            " a.window_end - interval '1 microsecond')) as at from accounts as a"
            " join budgets as b using (tenant_id, budget_id) join limit_entries as e using (tenant_id, account_id)"
            " left join lateral (select min(coalesce(held_at, posted_at)) as at from usage_events as u"
            "   where u.tenant_id = a.tenant_id and a.account_id = any(u.path)) as u on true"
            " where e.kind = 'opening' and tenant_id = $1 and a.window_end is not null order by a.window_start",
            self.tenant,
        )  # fmt: skip
        for row in opened if back else reversed(opened):
            await self.owner.execute(
                "update accounts set window_start = $3, window_end = $4 where tenant_id = $1 and account_id = $2",
                self.tenant, row["account_id"], *calendar.bounds(Window(row["window"]), row["at"]),
            )  # fmt: skip

    async def waits_for_lock(self) -> bool:
        """Tell whether a session on this database waits for a lock."""
        waits = "datname = current_database() and wait_event_type = 'Lock'"
        return bool(await self.owner.fetchval(f"select exists (select from pg_stat_activity where {waits})"))

    async def account_of(self, budget: str, subject: str = "{}") -> int:
        """Return the id of the newest account of a budget and subject."""
        found = await self.owner.fetchval(
            "select max(account_id) from accounts where tenant_id = $1 and budget = $2 and subject = $3",
            self.tenant, budget, subject,
        )  # fmt: skip
        assert found is not None, f"there is no account of {budget} {subject}"
        return int(found)


async def make_partitions(owner: Any, since: datetime) -> None:
    """Make the missing partitions of the months since an instant."""
    month = since.year * 12 + since.month - 1
    now = datetime.now(UTC)
    while month < now.year * 12 + now.month - 1:
        first, after = (datetime(each // 12, each % 12 + 1, 1, tzinfo=UTC) for each in (month, month + 1))
        name = f"usage_events_{first:%Y_%m}"
        if await owner.fetchval("select to_regclass($1)", name) is None:
            await owner.execute(f"create table {name} (like usage_events including all)")
            bounds = f"from ('{first.isoformat()}') to ('{after.isoformat()}')"
            await owner.execute(f"alter table usage_events attach partition {name} for values {bounds}")
        month += 1


async def _instants(owner: Any) -> list[tuple[str, list[str]]]:
    rows = await owner.fetch(
        "select table_name, array_agg(column_name::text) as columns from information_schema.columns"
        " where table_schema = 'public' and data_type = 'timestamp with time zone' and table_name = any($1)"
        " and not (table_name = 'accounts' and column_name = 'window_start') group by 1",
        [*TENANT_TABLES, "tenants"],
    )
    return [(row["table_name"], row["columns"]) for row in rows]


def _steps(table: str, days: int) -> tuple[int, ...]:
    """Return by how many days a table is moved back, one time after another, so that no row takes another's key.

    Rows of some keys differ only by their day, and an update moves them in any order. Moved by more days than lie
    between any two of them, no row comes to where one still is. Keys of partitioned tables have an id besides.
    """
    return (days,) if table in PARTITIONED_TABLES else (_FAR, days - _FAR)


def reserve(**fields: Any) -> commands.Reserve:
    """Return the command that reserves an ordinary call, with other values for some fields."""
    values: dict[str, Any] = {"key": "k", "fingerprint": b"x", **HOLD, **fields}
    if "run_id" not in values:
        values.setdefault("user", "ada")
    return commands.Reserve(**values)


@asynccontextmanager
async def open_ledger(
    url: str, name: str = "acme", zone: str = "Asia/Kathmandu", *, is_new: bool = True
) -> AsyncIterator[Ledger]:
    """Make a tenant, or find the one that is there, and yield its ledger; at the end close all connections."""
    database = Database(url, writers=2, readers=4)
    owner = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        async with database.reading() as connection:
            if is_new:
                tenant = await add_tenant(connection, name, zone)
            else:
                tenant = {name: tenant for tenant, name in (await all_tenants(connection)).items()}[name]
            prices = await load_price_book(connection)
        assert tenant is not None, f"there is a tenant {name} already"
        ledger = Ledger(database, owner, prices, tenant)
        try:
            yield ledger
            await ledger.commits.drain()
        finally:
            await ledger.close()
    finally:
        await owner.close()
        await database.close()
