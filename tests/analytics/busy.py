"""A tenant in whose books everything occurs: what `verify` proves, retention forgets and the worker tends.

Time is made to pass by moving every instant that the database knows back, whole days in zones without daylight saving.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import asyncpg

from token_ledger.core.administration import (
    ArchiveBudget,
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    CreateBudget,
    DecideIncrease,
    EraseUser,
    ForceRelease,
    GiveGrant,
    ReplaceBudget,
    SetCalendar,
    SetTrigger,
    SetUsers,
    StopTenant,
)  # fmt: skip
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Counts, Enforcement, Limits
from token_ledger.core.commands import (
    Command,
    EndRun,
    ExpireDue,
    Extend,
    OpenLease,
    OpenRun,
    Quarantine,
    Rebalance,
    Record,
    Release,
    Reserve,
    Settle,
    TakeStep,
    TendAccounts,
)  # fmt: skip
from token_ledger.core.outcomes import (
    BudgetAnswer,
    Changed,
    Denied,
    Extended,
    GrantAnswer,
    Granted,
    IncreaseAnswer,
    Quarantined,
    Recorded,
    Refused,
    Released,
    RunAnswer,
    Settled,
    StepTaken,
    StopAnswer,
    TriggerAnswer,
)  # fmt: skip
from token_ledger.core.run import RunState
from token_ledger.core.tenant import TenantId, User
from token_ledger.core.trigger import Mode, TriggerKind
from token_ledger.core.usage import Usage
from token_ledger.core.window import CalendarRule, Window
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage.database import Database
from token_ledger.storage.periods import load_calendar
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.quarantine import decide_quarantined
from token_ledger.storage.schema import TENANT_TABLES
from token_ledger.storage.tenants import add_tenant
from token_ledger.worker.erasure import Erasures

Kind = TypeVar("Kind")
_numbers = itertools.count(1)
HOLD: dict[str, Any] = {"agent_type": "data", "provider": "openai", "model": "gpt-5.4", "input_tokens": 1_000,
        "max_output_tokens": 500}  # fmt: skip


class Ledger:
    """One tenant of a database, with commands given to it one after the other, and the owner's own connection."""

    def __init__(self, database: Database, owner: Any, prices: Any, tenant: TenantId) -> None:
        self.database = database
        self.owner = owner
        self.tenant = tenant
        self._prices = prices
        self.commits = GroupCommit(database, prices)

    async def ask(self, command: Command, kind: type[Kind]) -> Kind:
        """Give a command, under a key of its own, and return its outcome, which has to be of a kind."""
        named = replace(command, key=f"key-{next(_numbers)}") if command.key == "k" else command
        outcome = await self.commits.submit(self.tenant, named)
        assert isinstance(outcome, kind), outcome
        return outcome

    async def hold(self, **fields: Any) -> int:
        """Reserve a call and return the id of the hold."""
        outcome = await self.ask(reserve(**fields), Granted)
        return outcome.reservation.reservation_id

    async def settle(self, reservation_id: int, *tokens: int, **fields: Any) -> None:
        """Report a call or a part of one: input, output and cached tokens."""
        await self.ask(Settle("k", b"x", reservation_id, Usage(*tokens), **fields), Settled)

    async def restart(self) -> None:
        """Go on as another process, which remembers nothing."""
        await self.commits.drain()
        self.commits = GroupCommit(self.database, self._prices)

    async def let_expire(self, reservation_id: int) -> None:
        """Let a hold's time be up."""
        await self.owner.execute(
            "update reservations set expires_at = now() - interval '1 second'"
            " where tenant_id = $1 and reservation_id = $2", self.tenant, reservation_id,
        )  # fmt: skip
        await self.restart()
        await self.commits.submit(self.tenant, ExpireDue())

    async def move_back(self, days: int) -> None:
        """Let days pass: everything that the database knows of the tenant happened so many days earlier."""
        await self.commits.drain()
        oldest = await self.owner.fetchval("select min(booked_at) from usage_events")
        await make_partitions(self.owner, (oldest or datetime.now(UTC)) - timedelta(days=days))
        async with self.owner.transaction():
            for table, columns in await _instants(self.owner):
                moved = ", ".join(f'"{name}" = "{name}" - make_interval(days => $1)' for name in columns)
                await self.owner.execute(f"update {table} set {moved} where tenant_id = $2", days, self.tenant)
        await self._move_windows(back=days > 0)
        await self.restart()

    async def _move_windows(self, *, back: bool) -> None:
        """Give every account the window that its opening lies in now: months and weeks are not moved by days."""
        async with self.database.reading(self.tenant) as connection:
            calendar, _ = await load_calendar(connection, self.tenant)
        opened = await self.owner.fetch(
            'select account_id, b."window", e.booked_at from accounts as a'
            " join budgets as b using (tenant_id, budget_id) join limit_entries as e using (tenant_id, account_id)"
            " where e.kind = 'opening' and tenant_id = $1 and a.window_end is not null order by a.window_start",
            self.tenant,
        )  # fmt: skip
        for row in opened if back else reversed(opened):
            await self.owner.execute(
                "update accounts set window_start = $3, window_end = $4 where tenant_id = $1 and account_id = $2",
                self.tenant, row["account_id"], *calendar.bounds(Window(row["window"]), row["booked_at"]),
            )  # fmt: skip

    async def account_of(self, budget: str, subject: str = "{}") -> int:
        """Return the newest account of a budget and subject."""
        found = await self.owner.fetchval(
            "select max(account_id) from accounts where tenant_id = $1 and budget = $2 and subject = $3",
            self.tenant, budget, subject,
        )  # fmt: skip
        assert found is not None, f"nothing fell on {budget} {subject}"
        return int(found)


async def make_partitions(owner: Any, since: datetime) -> None:
    """Make the partitions of the months since an instant that are missing."""
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


def reserve(**fields: Any) -> Reserve:
    """Return the command that reserves a usual call, with some fields different."""
    values: dict[str, Any] = {"key": "k", "fingerprint": b"x", **HOLD, **fields}
    if "run_id" not in values:
        values.setdefault("user", "ada")
    return Reserve(**values)


@asynccontextmanager
async def open_ledger(url: str, name: str = "acme", zone: str = "Asia/Kathmandu") -> AsyncIterator[Ledger]:
    """Make a tenant and give commands to it; at the end all connections are closed."""
    database = Database(url, writers=2, readers=4)
    owner = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        async with database.reading() as connection:
            tenant = await add_tenant(connection, name, zone)
            prices = await load_price_book(connection)
        assert tenant is not None, f"{name} is there already"
        ledger = Ledger(database, owner, prices, tenant)
        yield ledger
        await ledger.commits.drain()
    finally:
        await owner.close()
        await database.close()


async def do_everything(ledger: Ledger) -> None:
    """Let everything happen that can happen in a tenant's books."""
    await _set_up(ledger)
    await _make_calls(ledger)
    await _draw_on_leases(ledger)
    await _move_limits(ledger)
    await _work_in_runs(ledger)
    await _administer(ledger)


async def _set_up(ledger: Ledger) -> None:
    for command in (
        CreateBudget("k", b"x", "per user", (("user", "*"),), Limits(100_000, 10**9, 50), Window.DAY, actor="root",
                     rollover=Limits(50_000, None, 10)),
        CreateBudget("k", b"x", "uncached", (), Limits(tokens=10**6), Window.TOTAL, counts=Counts.UNCACHED,
                     thresholds=(1, 2, 100), actor="root"),
        CreateBudget("k", b"x", "shadow", (), Limits(tokens=1), Window.MONTH, Enforcement.SHADOW, actor="root"),
        CreateBudget("k", b"x", "soft", (("agent_type", "*"),), Limits(calls=3), Window.TOTAL, Enforcement.SOFT),
        CreateBudget("k", b"x", "granted", (("user", "grace"),), Limits(3_000, None, 5), Window.TOTAL),
        CreateBudget("k", b"x", "gone", (("user", "nobody"),), Limits(5), Window.DAY),
    ):  # fmt: skip
        answer = await ledger.ask(command, BudgetAnswer)
    await ledger.ask(ArchiveBudget("k", b"x", answer.budget.budget_id, "root"), BudgetAnswer)
    selector = (("user", "nobody"),)
    answer = await ledger.ask(CreateBudget("k", b"x", "another", selector, Limits(5), Window.DAY), BudgetAnswer)
    number = answer.budget.budget_id
    await ledger.ask(
        ReplaceBudget("k", b"x", "another", selector, Limits(5), Window.WEEK, replaced_id=number), BudgetAnswer
    )
    for percent in (50, 60):
        await ledger.ask(SetTrigger("k", b"x", TriggerKind.HIGH_TOKEN_USAGE, percent, Mode.OBSERVE), TriggerAnswer)


async def _make_calls(ledger: Ledger) -> None:
    tags = (("team", "core"), ("stage", "dev"))
    await ledger.settle(await ledger.hold(tags=tags, cost_center="research"), 900, 100, 300)
    await ledger.settle(await ledger.hold(tool="search"), 2_000, 1_500)  # an overrun
    late = await ledger.hold()
    await ledger.let_expire(late)
    await ledger.settle(late, 700, 50)
    await ledger.ask(Release("k", b"x", await ledger.hold()), Released)
    await ledger.ask(ForceRelease("k", b"x", await ledger.hold(), "its client died", "root"), Released)
    await ledger.ask(Extend("k", b"x", await ledger.hold(user="bob"), 3_000), Extended)
    await ledger.ask(reserve(max_output_tokens=200_000), Denied)
    streamed = await ledger.hold()
    await ledger.settle(streamed, 1_000, 100, part=True)
    await ledger.settle(streamed, 0, 100, 0, part=True)
    await ledger.settle(streamed, 0, 150)
    cut_off = await ledger.hold()
    await ledger.settle(cut_off, 1_000, 100, part=True)
    await ledger.ask(Release("k", b"x", cut_off), Released)
    open_hold = await ledger.hold(user="bob")
    await ledger.settle(open_hold, 1_200, 100, part=True)
    when = datetime.now(UTC) - timedelta(days=2, hours=7)
    event = Record("event:batch", "k", b"x", "triage", "openai", "gpt-5.4-mini", Usage(50, 5), user="carol",
                   occurred_at=when, tags=tags)  # fmt: skip
    await ledger.ask(event, Recorded)
    await ledger.ask(replace(event, model="unheard of", occurred_at=None), Recorded)
    await ledger.ask(replace(event, occurred_at=when - timedelta(days=60)), Quarantined)
    await ledger.ask(
        Quarantine("event:batch", "k", b"x", "invalid_request", "no model", '{"user": "carol"}'), Quarantined
    )


async def _draw_on_leases(ledger: Ledger) -> None:
    lease = OpenLease("k", b"x", **HOLD, user="ada", calls=6)
    used = (await ledger.ask(lease, Granted)).reservation.reservation_id
    for output in (100, 200, 900):
        await ledger.settle(used, 500, output, part=True)
    await ledger.settle(used, 500, 10)
    given_back = (await ledger.ask(lease, Granted)).reservation.reservation_id
    await ledger.settle(given_back, 10, 10, part=True)
    await ledger.ask(Release("k", b"x", given_back), Released)
    dead = (await ledger.ask(lease, Granted)).reservation.reservation_id
    await ledger.settle(dead, 1_000, 10, part=True)
    await ledger.let_expire(dead)
    await ledger.settle(dead, 1_000, 20, part=True)
    await ledger.ask(replace(lease, user="bob", calls=4), Granted)


async def _move_limits(ledger: Ledger) -> None:
    await ledger.settle(await ledger.hold(user="grace"), 1_000, 500)
    account = await ledger.account_of("granted")
    soon = datetime.now(UTC) + timedelta(hours=1)
    for amounts, ends in ((Limits(2_000, None, 1), soon), (Limits(tokens=700), soon), (Limits(calls=2), None)):
        await ledger.ask(GiveGrant("k", b"x", account, amounts, "a busy day", "root", ends), GrantAnswer)
    await ledger.settle(await ledger.hold(user="grace"), 1_500, 500)
    await ledger.owner.execute("update grants set expires_at = now() where expires_at is not null")
    await ledger.owner.execute("update accounts set grants_until = now() where account_id = $1", account)
    await ledger.commits.submit(ledger.tenant, TendAccounts((account,)))
    for amounts, approve, ends in (
        (Limits(tokens=4_000), True, None), (Limits(tokens=4_000), True, None), (Limits(calls=9), False, None),
        (Limits(calls=3), True, datetime.now(UTC) + timedelta(days=300)),
    ):  # fmt: skip
        asked = await ledger.ask(AskIncrease("k", b"x", account, amounts, "more to do", "grace"), IncreaseAnswer)
        decision = DecideIncrease("k", b"x", asked.increase.increase_id, approve, "root", "fine", ends)
        await ledger.ask(decision, IncreaseAnswer)
    await ledger.ask(AskIncrease("k", b"x", account, Limits(calls=1), "and more", "grace"), IncreaseAnswer)
    budgets = {row["name"]: row["budget_id"] for row in await ledger.owner.fetch("select name, budget_id from budgets")}
    for change in (
        ChangeBudget("k", b"x", budgets["uncached"], Limits(tokens=200_000), actor="root"),  # fires
        ChangeBudget("k", b"x", budgets["uncached"], Limits(tokens=3_000_000), actor="root"),  # re-arms
        ChangeBudget("k", b"x", budgets["soft"], None, Enforcement.HARD, actor="root"),
        ChangeBudget("k", b"x", budgets["per user"], Limits(calls=60), actor="root"),
    ):
        await ledger.ask(change, BudgetAnswer)
        await ledger.ask(Release("k", b"x", await ledger.hold(user="dan", agent_type="rare")), Released)
    await ledger.ask(reserve(), Denied)  # three calls were made when the limit did not bind yet
    back = ChangeBudget("k", b"x", budgets["soft"], Limits(calls=1_000), Enforcement.SOFT, actor="root")
    await ledger.ask(back, BudgetAnswer)


async def _work_in_runs(ledger: Ledger) -> None:
    shares = (Share("data", 3), Share("triage", 1))
    opened = OpenRun("k", b"x", "ada", "research", "thread-1", Limits(40_000, None, 20), 10, shares)
    run = (await ledger.ask(opened, RunAnswer)).run.run_id
    await ledger.ask(replace(opened, attach=True), RunAnswer)
    part = (await ledger.ask(OpenRun("k", b"x", parent_run_id=run, limits=Limits(tokens=9_000)), RunAnswer)).run.run_id
    leaf = (await ledger.ask(OpenRun("k", b"x", parent_run_id=part), RunAnswer)).run.run_id
    for each in (run, part, leaf, leaf):
        await ledger.ask(TakeStep("k", b"x", each, "think"), StepTaken)
    await ledger.settle(await ledger.hold(run_id=leaf, tool="grep"), 800, 90)
    await ledger.settle(await ledger.hold(run_id=run), 900, 100)
    await ledger.hold(run_id=part)
    await ledger.ask(Rebalance("k", b"x", run, (Share("data", 1), Share("action", 1))), RunAnswer)
    await ledger.ask(ChangeRun("k", b"x", run, Limits(60_000, 10**9), 12, "it takes longer", "root"), RunAnswer)
    await ledger.ask(EndRun("k", b"x", leaf, RunState.CLOSED), RunAnswer)
    await ledger.ask(reserve(run_id=leaf), Refused)


async def _administer(ledger: Ledger) -> None:
    centers = ((None, "research"), (datetime.now(UTC) + timedelta(days=1), "sales"))
    users = (User("erin", centers), User("frank", centers))
    await ledger.ask(SetUsers("k", b"x", users, "root"), Changed)
    for user in ("erin", "frank"):
        await ledger.settle(await ledger.hold(user=user), 100, 10)
    await ledger.ask(EraseUser("k", b"x", "frank", "root"), Changed)
    await Erasures(ledger.database, heard_seconds=0).erase_users()
    await ledger.ask(SetCalendar("k", b"x", CalendarRule(ZoneInfo("Asia/Tokyo"), 6, 4), "root"), Changed)
    await ledger.ask(StopTenant("k", b"x", "a runaway agent", "root"), StopAnswer)
    await ledger.ask(reserve(), Refused)
    await ledger.ask(StopTenant("k", b"x", None, "root"), StopAnswer)
    kept = await ledger.ask(Quarantine("event:a", "k", b"x", "invalid_request", "no model", "{}"), Quarantined)
    async with ledger.database.reading(ledger.tenant) as connection:
        await decide_quarantined(connection, ledger.tenant, kept.quarantine_id, "dismissed", "a test", actor="root")
