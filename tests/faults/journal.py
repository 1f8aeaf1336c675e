"""Reads the books directly from the database and adds them up, with statements independent of the product."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.faults.processes import PATIENCE_SECONDS, wait_until
from token_ledger.proof.verify import verify_database

TENANT = "(select tenant_id from tenants where name = $1)"
SETTLED = f"""
select a.account_id, a.settled_tokens, a.settled_nanos, a.settled_calls,
       coalesce(sum(e.input_tokens + e.output_tokens), 0)::bigint as tokens,
       coalesce(sum(e.cost_nanos), 0)::bigint as nanos, count(e.event_id) as calls
from accounts as a left join usage_events as e on e.tenant_id = a.tenant_id and a.account_id = any (e.path)
where a.tenant_id = {TENANT} group by a.tenant_id, a.account_id
"""
HELD = f"""
select a.account_id, a.held_tokens, a.held_nanos, a.held_calls,
       coalesce(sum(greatest(r.held_tokens - r.drawn_tokens, 0)), 0)::bigint as tokens,
       coalesce(sum(greatest(r.held_nanos - r.drawn_nanos, 0)), 0)::bigint as nanos,
       coalesce(sum(greatest(r.held_calls - r.drawn_calls, 0)), 0)::bigint as calls
from accounts as a left join reservations as r
  on r.tenant_id = a.tenant_id and a.account_id = any (r.path) and r.state = 'held'
where a.tenant_id = {TENANT} group by a.tenant_id, a.account_id
"""


@dataclass(frozen=True, slots=True)
class Booked:
    """A usage event as stored."""

    event_id: str
    reservation_id: str | None
    cost_nanos: int


class Journal:
    """The books of one tenant, read as the owner of the database."""

    def __init__(self, url: str, tenant: str) -> None:
        self._url = url
        self._tenant = tenant

    async def rows(self, columns: str, table: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Return rows of the tenant, ordered by the first column."""
        return await self.fetch(f"select {columns} from {table} where tenant_id = {TENANT} and {where} order by 1")

    async def fetch(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement whose $1 is the tenant's name."""
        connection = await asyncpg.connect(self._url)
        try:
            return [tuple(row) for row in await connection.fetch(statement, self._tenant)]
        finally:
            await connection.close()

    async def count(self, table: str, where: str = "true") -> int:
        """Return the number of the tenant's rows in a table."""
        [(found,)] = await self.rows("count(*)", table, where)
        return int(found)

    async def events(self) -> list[Booked]:
        """Return every event, in the order of booking."""
        columns = "event_id, reservation_id, cost_nanos"
        found = await self.rows(columns, "usage_events")
        return [Booked(str(event), None if hold is None else str(hold), cost) for event, hold, cost in found]

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the lock that every batch of the tenant needs, in a separate transaction."""
        connection = await asyncpg.connect(self._url)
        try:
            async with connection.transaction():
                lock = f"select 1 from tenant_ledgers where tenant_id = {TENANT} for update"
                assert await connection.fetch(lock, self._tenant)
                yield
        finally:
            await connection.close()

    async def waiting(self, batches: int = 1) -> None:
        """Wait until this many batches, of any tenant, wait for a lock."""
        await self._sessions("wait_event_type = 'Lock'", batches)

    async def has(self, number: int, table: str) -> None:
        """Wait until a table has this many rows of the tenant."""

        async def does() -> bool:
            return await self.count(table) == number

        await wait_until(does, PATIENCE_SECONDS, f"{number} rows in {table}")

    async def nobody_writes(self) -> None:
        """Wait until the server has ended the sessions of a killed service."""
        await self._sessions("application_name = 'token-ledger writer'", 0)

    async def end_writers(self) -> None:
        """End the sessions of all writers, as an operator or a failover does."""
        await self.fetch(
            "select pg_terminate_backend(pid, 60000), $1::text from pg_stat_activity"
            " where datname = current_database() and application_name = 'token-ledger writer'"
        )

    async def _sessions(self, which: str, number: int) -> None:
        statement = f"select pid, $1::text from pg_stat_activity where datname = current_database() and {which}"

        async def are_counted() -> bool:
            return len(await self.fetch(statement)) == number

        await wait_until(are_counted, PATIENCE_SECONDS, f"{number} sessions with {which}")

    async def holds_are_gone(self) -> None:
        """Wait until no hold is open: abandoned ones expire."""

        async def gone() -> bool:
            return await self.count("reservations", "state = 'held'") == 0

        await wait_until(gone, PATIENCE_SECONDS, "every hold has ended")

    async def adds_up(self) -> None:
        """Check that the tenant's accounts equal the sums of their events and holds, here and with `verify`."""
        for statement in (SETTLED, HELD):
            accounts = await self.fetch(statement)
            wrong = [account for account in accounts if account[1:4] != account[4:7]]
            assert not wrong, wrong
        report = await verify_database(self._url, self._tenant)
        assert report.clean, report.findings
