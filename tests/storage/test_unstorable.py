"""One command whose data the database refuses fails alone: the fifty good ones of its batch are booked."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import asyncpg
import pytest

from token_ledger.core.batch.administration import CreateBudget, SetTrigger
from token_ledger.core.batch.commands import Command, EndRun, OpenRun, Quarantine, Record, Release, Reserve, Settle
from token_ledger.core.batch.outcomes import Code, Granted, Quarantined, Refused
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.run import RunState
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.trigger import Mode, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.errors import Unavailable, Unstorable
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import add_tenant

BEYOND = 2**63
NUL = "a\0b"
HALF = "a\ud800b"
_numbers = itertools.count()


@dataclass
class Ledger:
    """A group commit on a database of its own, and two tenants."""

    commits: GroupCommit
    owner: Any
    url: str
    tenant: TenantId
    neighbour: TenantId

    async def reservations(self, tenant: TenantId) -> int:
        """Return how many holds a tenant has."""
        return int(await self.owner.fetchval("select count(*) from reservations where tenant_id = $1", tenant))


@pytest.fixture(scope="module")
async def ledger(shared_url: str) -> AsyncIterator[Ledger]:
    database = Database(shared_url)
    owner = await asyncpg.connect(shared_url)
    try:
        tenants = []
        for name in ("acme", "globex"):
            async with database.reading() as connection:
                made = await add_tenant(connection, name, "UTC")
            assert made is not None
            tenants.append(made)
        async with database.reading() as connection:
            prices = await load_price_book(connection)
        commits = GroupCommit(database, prices)
        yield Ledger(commits, owner, shared_url, *tenants)
        await commits.drain()
    finally:
        await owner.close()
        await database.close()


def _key() -> str:
    return f"key-{next(_numbers)}"


def _reserve() -> Reserve:
    return Reserve(_key(), b"x", "data_agent", "openai", "gpt-5.4", 1_000, 500, user="ada", cost_center="research")


def _record() -> Record:
    return Record(_key(), b"x", "a", "data_agent", "openai", "gpt-5.4", Usage(10, 1), user="ada")


OPEN = OpenRun("k", b"x", "ada", "research")
BUDGET = CreateBudget("k", b"x", "name", (("user", "nobody"),), Limits(tokens=1), Window.DAY)
TRIGGER = SetTrigger("k", b"x", TriggerKind.HIGH_COST, 50, Mode.OFF)
SETTLE = Settle("k", b"x", 1, Usage(10, 1))
KEPT = Quarantine("k", b"x", "a", "invalid_request", "detail", {})
RESERVE, RECORD = replace(_reserve(), key="k"), replace(_record(), key="k")


def _with(field: str, value: str) -> Reserve:
    change: dict[str, Any] = {field: value}
    return replace(RESERVE, **change)


BAD: dict[str, Any] = {
    **{f"reserve {field} NUL": _with(field, NUL) for field in
       ("key", "user", "cost_center", "agent_type", "request_type", "tool")},
    **{f"reserve {field} half a pair": _with(field, HALF) for field in ("key", "user", "tool")},
    "reserve tag NUL": replace(RESERVE, tags=(("team", NUL),)),
    "reserve tag name NUL": replace(RESERVE, tags=((NUL, "core"),)),
    "reserve tag half a pair": replace(RESERVE, tags=(("team", HALF),)),
    "reserve run beyond bigint": replace(RESERVE, run_id=BEYOND),
    "reserve input beyond bigint": replace(RESERVE, input_tokens=BEYOND),
    "reserve input far beyond bigint": replace(RESERVE, input_tokens=10**40),
    "reserve output beyond bigint": replace(RESERVE, max_output_tokens=BEYOND),
    "reserve cost beyond bigint": replace(RESERVE, max_output_tokens=BEYOND // 1_000),
    "reserve cached below bigint": replace(RESERVE, cached_input_tokens=-BEYOND - 1),
    "settle id beyond bigint": replace(SETTLE, reservation_id=BEYOND),
    "release id beyond bigint": Release("k", b"x", BEYOND),
    "record key NUL": replace(RECORD, key=NUL),
    "record source NUL": replace(RECORD, event_source=NUL),
    "record user half a pair": replace(RECORD, user=HALF),
    "record model NUL": replace(RECORD, model=NUL),
    "record response NUL": replace(RECORD, response_id=NUL),
    "record tag NUL": replace(RECORD, tags=(("team", NUL),)),
    "record input beyond bigint": replace(RECORD, usage=Usage(BEYOND, 0)),
    "record sum beyond bigint": replace(RECORD, usage=Usage(BEYOND - 1, BEYOND - 1)),
    "record run beyond bigint": replace(RECORD, run_id=-BEYOND - 1),
    "keep a body with infinity": replace(KEPT, body={"a": inf}),
    "keep a body with NaN": replace(KEPT, body={"a": nan}),
    "keep a body with NUL": replace(KEPT, body={"a": NUL}),
    "keep a body with half a pair": replace(KEPT, body={"a": HALF}),
    "keep a detail with NUL": replace(KEPT, detail=NUL),
    "open run user NUL": replace(OPEN, user=NUL),
    "open run external id half a pair": replace(OPEN, external_id=HALF),
    "open run limit beyond bigint": replace(OPEN, limits=Limits(tokens=BEYOND)),
    "end run beyond bigint": EndRun("k", b"x", BEYOND, RunState.CLOSED),
    "budget name NUL": replace(BUDGET, name=NUL),
    "budget selector NUL": replace(BUDGET, selector=(("user", NUL),)),
    "budget limit below zero": replace(BUDGET, limits=Limits(tokens=-1)),
    "budget limit beyond bigint": replace(BUDGET, limits=Limits(nanos=BEYOND)),
    "trigger percent beyond smallint": replace(TRIGGER, at_percent=40_000),
    "trigger threshold beyond bigint": replace(TRIGGER, per_call_tokens=BEYOND),
}  # fmt: skip


UNKEPT = ("record key NUL", "record source NUL")
"""Reports that can't be kept either, because there is nothing to keep them under."""


@pytest.mark.parametrize("label", BAD)
async def test_the_bad_one_is_unstorable_and_its_fifty_neighbours_are_booked(label: str, ledger: Ledger) -> None:
    bad = replace(BAD[label], key=_key()) if BAD[label].key == "k" else BAD[label]
    before, state = await ledger.reservations(ledger.tenant), await _others(ledger)
    commands: list[Command] = [*(_reserve() for _ in range(25)), bad, *(_reserve() for _ in range(25))]
    outcomes = await asyncio.gather(
        *(ledger.commits.submit(ledger.tenant, command) for command in commands), return_exceptions=True
    )
    assert isinstance(outcomes[25], Unstorable | Unavailable | Refused | Quarantined), repr(outcomes[25])
    assert outcomes[25].detail if isinstance(outcomes[25], Refused | Quarantined) else str(outcomes[25])
    kept = isinstance(outcomes[25], Quarantined)
    assert kept is (label.startswith(("record", "settle", "keep a detail")) and label not in UNKEPT)
    granted = [outcome for outcome in outcomes if isinstance(outcome, Granted)]
    assert len(granted) == 50
    assert len({outcome.reservation.reservation_id for outcome in granted}) == 50
    assert await ledger.reservations(ledger.tenant) == before + 50
    assert await _others(ledger) == (state[0], state[1] + kept, *state[2:])


async def _others(ledger: Ledger) -> tuple[int, ...]:
    """Count the rows that a bad command would have made."""
    tables = ("usage_events", "quarantine", "runs", "budgets", "triggers", "denials", "accounts", "daily_usage")
    row = await ledger.owner.fetchrow("select " + ", ".join(f"(select count(*) from {table})" for table in tables))
    return tuple(row)


async def test_the_bad_one_can_be_sent_again_in_a_good_form(ledger: Ledger) -> None:
    command = _reserve()
    with pytest.raises(Unstorable):
        await ledger.commits.submit(ledger.tenant, replace(command, tool=NUL))
    assert isinstance(await ledger.commits.submit(ledger.tenant, command), Granted)


async def test_many_bad_ones_fail_alone(ledger: Ledger) -> None:
    before = await ledger.reservations(ledger.tenant)
    commands = [replace(_reserve(), tool=NUL) if number % 7 == 0 else _reserve() for number in range(64)]
    outcomes = await asyncio.gather(
        *(ledger.commits.submit(ledger.tenant, command) for command in commands), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Unstorable if n % 7 == 0 else Granted for n in range(64)]
    assert await ledger.reservations(ledger.tenant) == before + sum(n % 7 != 0 for n in range(64))


async def test_a_bad_one_costs_other_tenants_of_its_batch_nothing(ledger: Ledger) -> None:
    before = await ledger.reservations(ledger.neighbour)
    work = [ledger.commits.submit(ledger.tenant, replace(_reserve(), user=HALF))]
    work += [ledger.commits.submit(ledger.neighbour, _reserve()) for _ in range(50)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(outcomes[0], Unstorable)
    assert all(isinstance(outcome, Granted) for outcome in outcomes[1:])
    assert await ledger.reservations(ledger.neighbour) == before + 50


async def test_a_hold_whose_settle_can_not_be_stored_is_still_held(ledger: Ledger) -> None:
    granted = await ledger.commits.submit(ledger.tenant, _reserve())
    assert isinstance(granted, Granted)
    held = granted.reservation.reservation_id
    for bad in (
        Settle(_key(), b"x", held, Usage(1, 1), response_id=NUL),
        Settle(_key(), b"x", held, Usage(1, 1), model=HALF),
    ):
        with pytest.raises(Unstorable):
            await ledger.commits.submit(ledger.tenant, bad)
    unbookable = Settle(_key(), b"x", held, Usage(1, 1), original_input_tokens=BEYOND)
    kept = await ledger.commits.submit(ledger.tenant, unbookable)
    assert isinstance(kept, Quarantined)
    assert kept.code == Code.NOT_BOOKABLE
    too_much = await ledger.commits.submit(ledger.tenant, Settle(_key(), b"x", held, Usage(BEYOND, 1)))
    assert isinstance(too_much, Quarantined)
    state = "select state from reservations where tenant_id = $1 and reservation_id = $2"
    assert await ledger.owner.fetchval(state, ledger.tenant, held) == "held"
    await ledger.commits.submit(ledger.tenant, Settle(_key(), b"x", held, Usage(1, 1)))
    assert await ledger.owner.fetchval(state, ledger.tenant, held) == "settled"


async def test_afterwards_the_books_are_clean(ledger: Ledger) -> None:
    report = await verify_database(ledger.url)
    assert report.clean, report.findings
