"""A tenant's books for tests of reports: random events around the instants at which clocks shift, and their roll-ups.

The roll-ups are made here as a batch makes them.
"""

import json
import random
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.reports.reading import kinds_used, spend_by
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Key
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.other_kinds import KindUse
from token_ledger.reports.page import PageSums
from token_ledger.reports.spend import Spend
from token_ledger.reports.sums import NOTHING, add_up
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import add_tenant

VALUES: dict[str, tuple[str | None, ...]] = {
    "user": ("ada", "bob"), "cost_center": ("research", "sales", "unassigned"), "agent_type": ("planner", "writer"),
    "request_type": ("chat", "batch"), "model": ("gpt-5.4", "o1-pro"), "provider": ("openai", "azure"),
    "kind": ("llm_call", "llm_call", "tool_call"), "run": (None, "7", "65536"), "tool": (None, "search"),
    "price_entry": (None, "3", "-73138176"), "outcome": ("ok", "ok", "error"), "estimated": ("false", "false", "true"),
    "tag:team": (None, "search", "o'brien"), "tag:a:b": (None, "1", "2"),
}  # fmt: skip
"""The dimensions that calls have, with values."""
STORED = ("user", "agent_type", "model", "cost_center", "request_type")
"""Those of roll-ups."""
TIMES = ("hour", "day", "week", "month", "fiscal_period", "fiscal_year")
Chosen = tuple[tuple[str, tuple[str, ...]], ...]
INSTANT = timedelta(microseconds=1)

Change = tuple[datetime, str]

# A zone, an instant around which things happen, and calendar changes: whole and half hours of daylight saving, offsets
# with minutes, midnights that come twice or never, and zones that follow one another.
CALENDARS: dict[str, tuple[str, datetime, tuple[Change, ...]]] = {
    "plain": ("UTC", datetime(2026, 10, 20, tzinfo=UTC), ()),
    "forward": ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC), ()),
    "back": ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC), ()),
    "half an hour forward": ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC), ()),
    "half an hour back": ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC), ()),
    "a midnight twice": ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC), ()),
    "no midnight": ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC), ()),
    "another zone": (
        "UTC", datetime(2026, 5, 4, 10, tzinfo=UTC), ((datetime(2026, 5, 4, 10, 20, tzinfo=UTC), "Asia/Kathmandu"),),
    ),
    "there and back": (
        "Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC),
        ((datetime(2026, 4, 4, 14, 50, tzinfo=UTC), "America/St_Johns"),
         (datetime(2026, 4, 6, 3, 7, tzinfo=UTC), "Australia/Lord_Howe")),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """A booked call, as the test knows it: what it is grouped by, and what of the total it is besides."""

    at: datetime
    facts: dict[str, str | None]
    figures: Figures
    held_at: datetime | None
    others: dict[str, list[int | None]]
    unpriced: bool
    late: bool
    corrects: bool
    imported: bool

    @property
    def row(self) -> dict[str, Any]:
        """Its columns."""
        facts, figures = self.facts, self.figures._asdict()
        written = figures.pop("cache_write_tokens")
        tags = {name.removeprefix("tag:"): value for name, value in facts.items() if name.startswith("tag:") and value}
        return {
            "booked_at": datetime.now(UTC), "occurred_at": self.at, "posted_at": self.at, "user_id": facts["user"],
            **{name: facts[name] for name in ("cost_center", "agent_type", "request_type", "provider", "model")},
            "run_id": int(facts["run"]) if facts["run"] else None, "tool": facts["tool"],
            "kind": None if facts["kind"] == "llm_call" else facts["kind"],
            "price_id": int(facts["price_entry"] or 0), "failed": facts["outcome"] == "error",
            "estimated": facts["estimated"] == "true", "tags": json.dumps(tags) if tags else None, **figures,
            "cache_write_5m_tokens": written // 2, "cache_write_1h_tokens": written - written // 2, "path": [],
            "held_at": self.held_at, "others": json.dumps(self.others) if self.others else None,
            "unpriced": self.unpriced, "late": self.late, "corrects": 1 if self.corrects else None,
            "counts_since": self.at if self.imported else None,
        }  # fmt: skip


class Books:
    """A tenant whose events and roll-ups are written by the test."""

    def __init__(self, database: Database, owner: Any, tenant: TenantId, calendar: Calendar) -> None:
        self.database = database
        self.owner = owner
        self.tenant = tenant
        self.calendar = calendar
        self.events: list[Event] = []

    async def write(self, chance: random.Random, instants: list[datetime]) -> None:
        """Book a random call at each instant, and add it to the roll-ups."""
        self.events = [_event(chance, at) for at in instants]
        rows = [{"tenant_id": self.tenant, "event_id": id_, **each.row} for id_, each in enumerate(self.events, 1)]
        places = ", ".join(f"${place}" for place in range(1, len(rows[0]) + 1))
        await self.owner.executemany(
            f"insert into usage_events ({', '.join(rows[0])}) values ({places})", [(*row.values(),) for row in rows]
        )
        await self._roll_up("hourly_usage", "hour", ("cost_center", "agent_type", "model"), self.calendar.hour)
        await self._roll_up("daily_usage", "day", ("user", "agent_type", "model", "request_type"), self.calendar.day)

    async def _roll_up(self, table: str, period: str, names: tuple[str, ...], start: Any) -> None:
        sums: dict[tuple[Any, ...], list[int]] = {}
        for event in self.events:
            key = (start(event.at), *(event.facts[name] for name in names))
            found = sums.setdefault(key, [0] * len(event.figures))
            found[:] = [a + b for a, b in zip(found, event.figures, strict=True)]
        columns = [period, *("user_id" if name == "user" else name for name in names), *Figures._fields]
        places = ", ".join(f"${number + 2}" for number in range(len(columns)))
        await self.owner.executemany(
            f"insert into {table} (tenant_id, {', '.join(columns)}) values ($1, {places})",
            [(self.tenant, *key, *figures) for key, figures in sums.items()],
        )

    def value(self, name: str, event: Event) -> str | None:
        """Return the value of a dimension, of a calendar whose years begin with January and weeks with Monday."""
        if name == "hour":
            return self.calendar.local(self.calendar.hour(event.at)).isoformat(timespec="minutes")
        day = self.calendar.local_date(self.calendar.day(event.at))
        times = {
            "day": day.isoformat(), "week": (day - timedelta(days=day.weekday())).isoformat(),
            "month": day.isoformat()[:7], "fiscal_year": f"FY{day.year}",
            "fiscal_period": f"FY{day.year}-Q{(day.month + 2) // 3}",
        }  # fmt: skip
        return times[name] if name in times else event.facts[name]

    def sums(self, names: Sequence[str], events: Iterable[tuple[Event, int]]) -> dict[tuple[str | None, ...], Figures]:
        """Return what events add up to, by dimensions; each counts as often as is said."""
        found: dict[tuple[str | None, ...], Figures] = {}
        for event, sign in events:
            key = tuple(self.value(name, event) for name in names)
            found[key] = Figures(*(a + sign * b for a, b in zip(found.get(key, NOTHING), event.figures, strict=True)))
        return found

    def page_sums(
        self, names: Sequence[str], shown: Collection[Key], events: Iterable[tuple[Event, int]]
    ) -> PageSums:  # fmt: skip
        """Return what events add up to in all, and under the values that are shown where that is not nothing."""
        found = self.sums(names, events)
        rows = {key: sums for key, sums in found.items() if key in shown and sums != NOTHING}
        return PageSums(add_up(found.values()), rows)

    async def check(self, group_by: str, since: datetime, until: datetime, filters: Chosen = ()) -> Spend:
        """Check that a report says what the events posted in a span add up to, by dimensions; return it."""
        names = [name for name in group_by.split(",") if name]
        chosen = tuple((dimension_named(name), values) for name, values in filters)
        report = await spend_by(self.database, self.tenant, group_by, since, until, filters=chosen, most=10_000)
        told = (group_by, since, until, filters)
        fitting = [each for each in self.events if all(self.value(name, each) in of for name, of in filters)]
        inside = [each for each in fitting if since <= each.at < until]
        expected = self.sums(names, ((each, 1) for each in inside))
        assert {row.key: row.sums for row in report.rows} == expected, told
        assert report.total == add_up(each.figures for each in inside), told
        assert (report.rest, report.count) == (NOTHING, len(expected)), told
        if report.lines_are_complete:
            lines = {
                "unattributed": [each for each in inside if each.facts["cost_center"] == "unassigned"],
                "unpriced": [each for each in inside if each.unpriced],
                "estimated": [each for each in inside if each.facts["estimated"] == "true"],
                "late": [each for each in inside if each.late],
                "adjusted": [each for each in inside if each.corrects],
            }
            assert report.lines == {
                name: add_up(each.figures for each in events) for name, events in lines.items() if events
            }, told
            assert report.imported == self.page_sums(names, expected, ((each, 1) for each in inside if each.imported))
        if report.crossed is not None:  # else some of these calls may no longer be kept, or rows are by a time
            signs = (
                (each, (since <= (each.held_at or each.at) < until) - (since <= each.at < until)) for each in fitting
            )
            assert report.crossed == self.page_sums(names, expected, ((each, sign) for each, sign in signs if sign)), (
                told
            )
        return report

    async def check_kinds(self, group_by: str, since: datetime, until: datetime) -> None:
        """Check that both reports say how much of other kinds the events posted in a span used, by a dimension."""
        used: dict[tuple[str | None, str], list[int]] = {}
        for event in self.events:
            for kind, (count, nanos) in event.others.items() if since <= event.at < until else ():
                assert count is not None
                sums = used.setdefault((self.value(group_by, event), kind), [0, 0, 0])
                sums[:] = sums[0] + count, sums[1] + (nanos or 0), sums[2] + (count if nanos is None else 0)
        spend = await spend_by(self.database, self.tenant, group_by, since, until, with_kinds=True)
        kinds = await kinds_used(self.database, self.tenant, group_by, since, until)
        rows = [(row.key, row.use.kind, row.use.count, row.use.nanos, row.use.unpriced) for row in kinds.rows]
        assert rows == sorted(rows, key=lambda row: (-row[3], row[0] or "", row[1]))
        assert {(key, kind): sums for key, kind, *sums in rows} == used, (group_by, since, until)
        by_key: dict[tuple[str | None], list[KindUse]] = {}
        for row in kinds.rows:
            by_key.setdefault((row.key,), []).append(row.use)
        assert spend.kinds is not None
        assert spend.kinds.rows == {key: tuple(uses) for key, uses in by_key.items()}, (group_by, since, until)
        assert list(spend.kinds.total) == _added_up(use for uses in by_key.values() for use in uses)


def _added_up(uses: Iterable[KindUse]) -> list[KindUse]:
    """Return how many of each kind there are in all, dearest first."""
    sums: dict[str, KindUse] = {}
    for use in uses:
        had = sums.get(use.kind, KindUse(use.kind, 0, 0, 0))
        sums[use.kind] = KindUse(use.kind, had.count + use.count, had.nanos + use.nanos, had.unpriced + use.unpriced)
    return sorted(sums.values(), key=lambda use: (-use.nanos, use.kind))


def _event(chance: random.Random, at: datetime) -> Event:
    # Two thirds are calls of leases, which began up to three hours before.
    before = chance.choice((1, 60)) * timedelta(minutes=chance.randrange(180)) / 60
    return Event(
        at, _facts(chance), _figures(chance), at - before if chance.randrange(3) else None, _others(chance),
        *(chance.randrange(8) == 0 for _ in range(4)),
    )  # fmt: skip


def _others(chance: random.Random) -> dict[str, list[int | None]]:
    """Return what a call used of other kinds, with its cost where it had a price: most calls used none."""
    kinds = chance.sample(("web_searches", "audio_input_tokens", "images"), chance.choice((0, 0, 1, 2)))
    return {kind: [chance.randrange(1, 9), chance.choice((None, chance.randrange(10**8)))] for kind in kinds}


def _facts(chance: random.Random) -> dict[str, str | None]:
    return {name: chance.choice(values) for name, values in VALUES.items()}


def _figures(chance: random.Random) -> Figures:
    read, written, reasoning = (chance.randrange(100) for _ in range(3))
    return Figures(1, 200 + chance.randrange(1_000), 100 + reasoning, read, written, reasoning, chance.randrange(10**9))


def instants_around(chance: random.Random, around: datetime) -> list[datetime]:
    """Return instants within two days, many of them at or next to a full or half hour."""
    near = [around + timedelta(minutes=15 * chance.randrange(-96, 96)) for _ in range(40)]
    near += [around + timedelta(hours=number) for number in range(-3, 4)]
    return [
        *(at + chance.choice((-1, 0, 1)) * INSTANT for at in near),
        *(around + timedelta(seconds=chance.randrange(-2 * 86_400, 2 * 86_400)) for _ in range(80)),
    ]


@pytest.fixture
async def books(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Books]:
    zone, around, changes = CALENDARS[getattr(request, "param", "plain")]
    database, owner = Database(database_url, readers=1), await asyncpg.connect(database_url)
    try:
        async with database.reading() as connection:
            tenant = await add_tenant(connection, "acme", zone)
            assert tenant is not None
        for number, (effective_from, name) in enumerate(changes, start=1):
            await owner.execute(
                "insert into calendar_changes values ($1, $2, $3, 0, 1, $4)", tenant, effective_from, name, number
            )
        await owner.execute("update tenants set created_at = '2020-01-01'")
        async with database.reading(tenant) as connection:
            calendar, _ = await load_calendar(connection, tenant)
        made = Books(database, owner, tenant, calendar)
        chance = random.Random(f"{zone} {around}")
        await made.write(chance, instants_around(chance, around))
        yield made
    finally:
        await owner.close()
        await database.close()
