"""Retention: months go, sums stay; the books verify wherever it stops; nothing that is younger can be taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from tests.api.waiting import until
from tests.proof.every_kind import make_every_kind_of_row
from tests.proof.ledger import HOLD, Ledger, open_ledger, reserve
from tests.reports.reading import kinds_used, spend_by
from tests.storage.conftest import Copies
from token_ledger.core.batch.administration import EraseUser
from token_ledger.core.batch.commands import Lease, Settle, Step, TendAccounts
from token_ledger.core.batch.outcomes import Changed, Granted, Refused, Settled, StepTaken
from token_ledger.core.model.usage import Usage
from token_ledger.reports.spend import Spend
from token_ledger.storage.database import APP_ROLE
from token_ledger.storage.upkeep import retention
from token_ledger.storage.upkeep.periods import load_periods
from token_ledger.wire.problems import ProblemError
from token_ledger.worker.erasures import Erasures
from token_ledger.worker.retention import Retention

MONTHS = 3
DAYS = 150
"""How long ago everything happened: longer than three whole months and the current one."""
OLD_ROWS = ("usage_events", *retention.FORGOTTEN)


async def _make_old(url: str) -> None:
    """Make a tenant whose books hold everything, all of it five months ago."""
    async with open_ledger(url) as opened:
        await make_every_kind_of_row(opened)
        await opened.move_back(DAYS)


@pytest.fixture
async def ledger(copies: Copies) -> AsyncIterator[Ledger]:
    """The old tenant."""
    async with copies(_make_old) as url, open_ledger(url, is_new=False) as opened:
        yield opened


async def _count(ledger: Ledger, *tables: str) -> dict[str, int]:
    return {
        table: await ledger.owner.fetchval(f"select count(*) from {table} where tenant_id = $1", ledger.tenant)
        for table in tables
    }


async def _partitions(ledger: Ledger) -> set[str]:
    rows = await ledger.owner.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'usage_events'::regclass"
    )
    return {row["name"] for row in rows}


async def _reports(ledger: Ledger) -> list[Spend]:
    since, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    return [
        await spend_by(ledger.database, ledger.tenant, group, since, until)
        for group in ("user", "agent_type", "model", "cost_center", "request_type")
    ]


def _booked(reports: list[Spend]) -> list[datetime]:
    return [report.booked_until for report in reports]


async def _balances(ledger: Ledger) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await ledger.owner.fetch("select * from accounts order by tenant_id, account_id")
    return rows


async def _work_today(ledger: Ledger) -> None:
    """Let something happen now, some of it to what began five months ago."""
    await ledger.settle(await ledger.hold(tags=(("team", "core"),)), 400, 40)
    await ledger.settle(await ledger.hold(tool="search", user="bob"), 300, 30, 100)
    run = await ledger.owner.fetchval("select run_id from runs where external_id = 'thread-1'")
    await ledger.ask(Step("k", b"x", run, "go on"), StepTaken)
    await ledger.settle(await ledger.hold(run_id=run), 100, 10)
    # Expired five months ago and reported only now: the spend is real.
    expired = (
        "select reservation_id from reservations where state = 'expired' and not lease and tenant_id = $1"
        " and user_id <> 'trudy' order by reservation_id"
    )
    await ledger.settle(await ledger.owner.fetchval(expired, ledger.tenant), 50, 5)
    # A part of a call whose first part is five months old: it corrects that one to the tier of the whole.
    begun = "select reservation_id from reservations where user_id = 'trudy' and tenant_id = $1"
    await ledger.settle(await ledger.owner.fetchval(begun, ledger.tenant), 90_000, 5, 89_000, part=True)


async def test_months_go_and_all_that_they_add_up_to_stays(ledger: Ledger) -> None:
    await _work_today(ledger)
    before, balances, old = await _reports(ledger), await _balances(ledger), await _count(ledger, *OLD_ROWS)
    await Retention(ledger.database, MONTHS).drop_months()
    kept = await _count(ledger, *OLD_ROWS)
    assert kept["usage_events"] == 5
    assert [table for table in OLD_ROWS if kept[table] >= old[table]] == []
    assert kept["threshold_events"] > 0  # of open accounts
    for table, instant in (("denials", "created_at"), ("trigger_firings", "fired_at"), ("run_steps", "booked_at")):
        oldest = await ledger.owner.fetchval(f"select min({instant}) from {table}")
        assert oldest > datetime.now(UTC) - timedelta(days=1), table
    months_ago = datetime.now(UTC) - timedelta(days=DAYS - 5)
    assert f"usage_events_{months_ago:%Y_%m}" not in await _partitions(ledger)
    assert f"usage_events_{datetime.now(UTC):%Y_%m}" in await _partitions(ledger)
    assert all(report.imported is not None and report.imported.rows for report in before)
    after = await _reports(ledger)
    assert [replace(report, booked_until=at) for report, at in zip(after, _booked(before), strict=True)] == [
        replace(
            report, imported=None, lines_are_complete=False,
            lines={name: sums for name, sums in report.lines.items() if name == "unattributed"},
        )
        for report in before
    ]  # fmt: skip
    assert all("late" in report.lines for report in before)
    assert await _balances(ledger) == balances
    span = months_ago - timedelta(days=31), datetime.now(UTC)
    with pytest.raises(ProblemError, match="kept as sums without these kinds"):
        await kinds_used(ledger.database, ledger.tenant, "user", *span)
    await ledger.is_clean()
    await _work_today(ledger)
    await ledger.is_clean()


async def _steps(ledger: Ledger, events: int, rows: int) -> list[Callable[[], Awaitable[Any]]]:
    """Return every slice of giving up the months, one after the other, as small as they are asked to be."""
    async with ledger.database.reading(ledger.tenant) as connection:
        periods = await load_periods(connection, ledger.tenant)
        months = await retention.due_months(connection, MONTHS)
    old = await ledger.owner.fetchval("select count(*) from usage_events where booked_at < now() - interval '100 days'")

    async def sum_up() -> int:
        async with ledger.database.reading(ledger.tenant) as connection:
            return await retention.add_to_checkpoint(connection, ledger.tenant, periods, MONTHS, events)

    reached: dict[str, Any] = {}

    async def give_up(table: str) -> None:
        async with ledger.database.reading(ledger.tenant) as connection:
            _, reached[table] = await retention.forget(connection, ledger.tenant, table, reached.get(table), rows)

    async def drop() -> Any:
        async with ledger.database.reading() as connection:
            return await retention.drop_month(connection, MONTHS)

    slices: list[Callable[[], Awaitable[Any]]] = [sum_up] * (old // events + 1)
    for table in retention.FORGOTTEN:
        stored = await ledger.owner.fetchval(f"select count(*) from {table}")
        slices += [lambda table=table: give_up(table)] * (stored // rows + 1)  # type: ignore[misc]
    return slices + [drop] * len(months)


async def test_wherever_it_stops_the_books_verify_and_it_can_go_on(ledger: Ledger) -> None:
    """After each slice the process is gone: the next is another's, which knows nothing of those before."""
    await _work_today(ledger)
    before = await _reports(ledger)
    for number, part in enumerate(await _steps(ledger, events=3, rows=10)):
        await part()
        if number % 3 == 0:
            await ledger.restart()
            await ledger.settle(await ledger.hold(user="carol"), 100, 10)
        await ledger.is_clean()
    old = "select count(*) from trigger_firings where fired_at < now() - interval '100 days'"
    assert await ledger.owner.fetchval(old) == 0
    assert await _reports(ledger) != before  # carol's calls
    await Retention(ledger.database, MONTHS).drop_months()
    await ledger.is_clean()


async def test_doing_it_all_again_changes_nothing(ledger: Ledger) -> None:
    await _work_today(ledger)
    for _ in range(2):
        await Retention(ledger.database, MONTHS).write_checkpoints(ledger.tenant)
        for table in retention.FORGOTTEN:
            await Retention(ledger.database, MONTHS).delete_rows(ledger.tenant, table)
    once = await _state(ledger)
    await Retention(ledger.database, MONTHS).drop_months()
    gone = await _state(ledger)
    assert gone.pop("usage_events") < once.pop("usage_events")
    assert gone == once
    await Retention(ledger.database, MONTHS).drop_months()
    assert {**await _state(ledger), "usage_events": 0} == {**gone, "usage_events": 0}
    await ledger.is_clean()


async def _state(ledger: Ledger) -> dict[str, Any]:
    checkpoints = ("account", "hourly", "daily", "daily_tag", "run", "step")
    counted: dict[str, Any] = await _count(ledger, *OLD_ROWS)
    for name in checkpoints:
        counted[name] = await ledger.owner.fetch(f"select * from {name}_checkpoints order by 1, 2, 3")
    counted["cut"] = await ledger.owner.fetch("select tenant_id, last_id, booked_at from checkpoints")
    return counted


async def test_a_second_month_is_added_to_the_first(ledger: Ledger) -> None:
    await _work_today(ledger)
    await Retention(ledger.database, MONTHS).drop_months()
    first = await ledger.owner.fetchval("select last_id from checkpoints where tenant_id = $1", ledger.tenant)
    await ledger.move_back(DAYS)
    await _work_today(ledger)
    await ledger.is_clean()
    before = await _reports(ledger)
    await Retention(ledger.database, MONTHS).drop_months()
    assert await ledger.owner.fetchval("select last_id from checkpoints where tenant_id = $1", ledger.tenant) > first
    assert (await _count(ledger, "usage_events"))["usage_events"] == 5
    assert await _reports(ledger) == before
    await ledger.is_clean()


async def test_what_is_younger_stays_to_the_last_row(ledger: Ledger) -> None:
    await ledger.move_back(-60)  # 90 days ago: within three whole months
    before = await _count(ledger, *OLD_ROWS)
    await Retention(ledger.database, MONTHS).drop_months()
    async with ledger.database.reading(ledger.tenant) as connection:
        periods = await load_periods(connection, ledger.tenant)
        assert await retention.add_to_checkpoint(connection, ledger.tenant, periods, MONTHS, 1_000) == 0
        for table in retention.FORGOTTEN:
            assert (await retention.forget(connection, ledger.tenant, table, None, 1_000))[0] == 0
        assert await retention.drop_month(connection, MONTHS) is None
    assert await _count(ledger, *OLD_ROWS) == before
    await ledger.is_clean()


async def test_a_hold_that_lies_across_the_cut_goes_on(ledger: Ledger) -> None:
    """Given and drawn on before it, drawn on and ended after it: what was drawn before is known from the hold alone."""
    lent = await ledger.ask(Lease("k", b"x", **HOLD, user="erin", calls=4), Granted)
    lease = lent.reservation.reservation_id
    plain = await ledger.hold(user="erin")
    for hold in (lease, plain):
        await ledger.settle(hold, 300, 30, part=True)
    await ledger.move_back(DAYS)
    await ledger.owner.execute(
        "update reservations set expires_at = now() + interval '1 hour' where reservation_id = any($1)", [lease, plain]
    )
    await Retention(ledger.database, MONTHS).drop_months()
    assert (await _count(ledger, "usage_events"))["usage_events"] == 0
    await ledger.is_clean()
    for hold in (lease, plain):
        await ledger.settle(hold, 200, 20, part=True)
        await ledger.is_clean()
        await ledger.settle(hold, 500, 700)
        await ledger.is_clean()


async def test_a_key_is_forgotten_with_what_it_led_to(ledger: Ledger) -> None:
    held = await ledger.ask(reserve(key="as old as the hold", user="erin"), Granted)
    settle = Settle("as old as the event", b"x", held.reservation.reservation_id, Usage(10, 1))
    await ledger.ask(settle, Settled)
    await ledger.move_back(DAYS)
    await ledger.settle(await ledger.hold(), 10, 1)
    assert (await ledger.ask(settle, Settled)).replayed
    await Retention(ledger.database, MONTHS).drop_months()
    await ledger.restart()
    assert (await ledger.ask(settle, Refused)).code == "reservation_not_found"
    again = await ledger.ask(reserve(key="as old as the hold", user="erin"), Granted)
    assert not again.replayed


async def test_a_user_is_erased_from_checkpoints_too(ledger: Ledger) -> None:
    await Retention(ledger.database, MONTHS).drop_months()
    held = "select count(*) from daily_checkpoints where user_id = 'ada'"
    assert await ledger.owner.fetchval(held) > 0
    await ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed)
    await Erasures(ledger.database, visible_seconds=0).erase_users()
    assert await ledger.owner.fetchval(held) == 0
    await ledger.is_clean()


async def test_who_is_erased_while_a_checkpoint_is_written_stays_nowhere(ledger: Ledger) -> None:
    async with ledger.database.reading(ledger.tenant) as connection:
        periods = await load_periods(connection, ledger.tenant)
        assert await retention.add_to_checkpoint(connection, ledger.tenant, periods, MONTHS, 1_000)
        erasing = asyncio.create_task(ledger.ask(EraseUser("k", b"x", "ada", "root"), Changed))

        async def batch_waits() -> bool:
            assert not erasing.done(), "the batch waits for the checkpoint"
            return await ledger.waits_for_lock()

        await until(batch_waits)
    await erasing
    await Erasures(ledger.database, visible_seconds=0).erase_users()
    assert await ledger.owner.fetchval("select count(*) from daily_checkpoints") > 0
    assert await ledger.owner.fetchval("select count(*) from daily_checkpoints where user_id = 'ada'") == 0
    await ledger.is_clean()


async def test_closed_accounts_lose_their_threshold_events_and_open_ones_keep_them(ledger: Ledger) -> None:
    await ledger.move_back(-DAYS + 100)  # a day, a week and a month end before the last old event
    await ledger.settle(await ledger.hold(), 10, 1)
    ids = [row["account_id"] for row in await _balances(ledger)]
    await ledger.commits.submit(ledger.tenant, TendAccounts(tuple(ids)))
    await ledger.move_back(DAYS)
    kinds = "select window_end < now() - interval '150 days' as ended from threshold_events join accounts" + (
        " using (tenant_id, account_id) group by 1 order by 1 nulls first"
    )
    assert [row["ended"] for row in await ledger.owner.fetch(kinds)] == [None, False, True]
    await Retention(ledger.database, MONTHS).drop_months()
    assert [row["ended"] for row in await ledger.owner.fetch(kinds)] == [None, False]
    await ledger.is_clean()


async def test_a_month_with_events_that_are_in_no_checkpoint_is_not_dropped(ledger: Ledger) -> None:
    async with open_ledger(str(ledger.database.dsn), "globex") as other:
        await other.settle(await other.hold(), 10, 1)
        await other.move_back(DAYS)
        await Retention(ledger.database, MONTHS).write_checkpoints(ledger.tenant)
        month = await ledger.owner.fetchval("select to_char(min(booked_at), 'YYYY_MM') from usage_events")
        async with ledger.database.reading() as connection:
            due = await retention.due_months(connection, MONTHS)
        for _ in range(due.index(f"usage_events_{month}")):
            await Retention(ledger.database, MONTHS).drop_month()
        with pytest.raises(DBAPIError, match=f"events of tenant {other.tenant} that are in no checkpoint"):
            await Retention(ledger.database, MONTHS).drop_month()
        assert f"usage_events_{month}" in await _partitions(ledger)


async def test_a_month_that_is_read_just_now_is_dropped_later(ledger: Ledger) -> None:
    await Retention(ledger.database, MONTHS).write_checkpoints(ledger.tenant)
    reader = await asyncpg.connect(ledger.database.dsn)
    try:
        async with reader.transaction():
            await reader.fetch("select 1 from usage_events limit 1")
            with pytest.raises(retention.MonthInUse):
                async with ledger.database.reading() as connection:
                    await retention.drop_month(connection, MONTHS)
        async with ledger.database.reading() as connection:
            assert await retention.drop_month(connection, MONTHS) is not None
    finally:
        await reader.close()


CHECKPOINT = "select token_ledger_checkpoint($1, $2, 10, array[]::timestamptz[], array[]::timestamptz[]," + (
    " array[]::timestamptz[], array[]::timestamptz[])"
)
FORGET = "select token_ledger_forget($1, $2, null, 10)"
REFUSED: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "two months": (CHECKPOINT, (1, 2), "at least 3 months"),
    "no months": (CHECKPOINT, (1, 0), "at least 3 months"),
    "months unsaid": (CHECKPOINT, (1, None), "at least 3 months"),
    "another tenant": (CHECKPOINT, (2, 3), "not one of this transaction"),
    "dropping what is two months old": ("select token_ledger_drop_month($1)", (2,), "at least 3 months"),
    "another tenant's rows": (FORGET, (2, "denials"), "not one of this transaction"),
    "forgetting accounts": (FORGET, (1, "accounts"), "are never forgotten"),
    "forgetting events": (FORGET, (1, "usage_events"), "are never forgotten"),
    "forgetting limits": (FORGET, (1, "limit_entries"), "are never forgotten"),
    "forgetting quarantine": (FORGET, (1, "quarantine"), "are never forgotten"),
    "forgetting anything": (FORGET, (1, "audit_log; drop table runs"), "never forgotten"),
}  # fmt: skip


@pytest.mark.parametrize("label", REFUSED)
async def test_the_services_role_can_not_take_what_is_not_due(label: str, shared_url: str) -> None:
    statement, values, message = REFUSED[label]
    await _as_service(shared_url, statement, values, asyncpg.RaiseError, message)


FORBIDDEN = [
    *(f"{verb} {table}" for table in OLD_ROWS for verb in ("delete from", "truncate")),
    *(
        statement.format(table)
        for table in ("checkpoints", "account_checkpoints", "hourly_checkpoints", "daily_checkpoints",
                      "daily_tag_checkpoints", "run_checkpoints", "step_checkpoints")
        for statement in ("delete from {}", "update {0} set tenant_id = tenant_id", "insert into {0} select * from {0}")
    ),
]  # fmt: skip


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_checkpoints_are_written_and_journals_deleted_by_functions_alone(statement: str, shared_url: str) -> None:
    await _as_service(shared_url, statement, (), asyncpg.InsufficientPrivilegeError, "permission denied")


async def _as_service(url: str, statement: str, values: tuple[Any, ...], error: type[Exception], message: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"role": APP_ROLE})
    try:
        async with connection.transaction():
            await connection.execute("select set_config('app.tenants', '{1}', true)")
            with pytest.raises(error, match=message):
                await connection.fetch(statement, *values)
            raise _Undone
    except _Undone:
        pass
    finally:
        await connection.close()


class _Undone(Exception):
    """Ends a transaction that has failed already."""
