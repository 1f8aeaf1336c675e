"""Sets the clock of a real database: functions of the test stand before PostgreSQL's own in the search path."""

import time
from datetime import timedelta
from typing import Any

import asyncpg

from token_ledger.storage.clocks import ClockWatch, steady_seconds

_FUNCTIONS = """
create table clock_shift (by interval not null);
insert into clock_shift values ('0');
grant select on clock_shift to public;
create function clock_timestamp() returns timestamptz language sql volatile as
    $$ select pg_catalog.clock_timestamp() + (select by from public.clock_shift) $$;
create function now() returns timestamptz language sql stable as
    $$ select pg_catalog.now() + (select by from public.clock_shift) $$;
"""


async def make_clock(url: str) -> None:
    """Let a database have a clock that `set_clock` sets, for connections that are made from now on."""
    owner: Any = await asyncpg.connect(url)
    try:
        await owner.execute(_FUNCTIONS)
        name = await owner.fetchval("select current_database()")
        await owner.execute(f"alter database {name} set search_path = public, pg_catalog")
    finally:
        await owner.close()


async def set_clock(owner: Any, ahead: timedelta) -> None:
    """Let the database's clock be ahead of what it would be, or behind."""
    await owner.execute("update clock_shift set by = $1", ahead)


class OwnClocks:
    """The clocks of a process: the one on the wall is ahead by `ahead`, and `passed` seconds have gone by besides."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.passed = 0.0
        self.watch = ClockWatch(wall=self._wall, steady=self._steady)

    def _wall(self) -> float:
        return time.time() + self.ahead

    def _steady(self) -> float:
        return steady_seconds() + self.passed
