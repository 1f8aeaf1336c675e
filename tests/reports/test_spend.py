"""Reports of one span agree: every dimension has the same total, which is the plain sum of the events posted in it.

The roll-ups are made here as a batch makes them, from random events around the instants at which clocks shift.
"""

import json
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from tests.reports.reading import spend_by
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar, CalendarRule
from token_ledger.proof import rollups
from token_ledger.proof.check import Scope
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.kept_calls import kept_from
from token_ledger.reports.kinds import kinds_by
from token_ledger.reports.other_kinds import KindUse, add_kinds
from token_ledger.reports.span import span_of, whole_days, whole_hours
from token_ledger.reports.spend import Spend
from token_ledger.reports.sums import NOTHING, add_up
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import add_tenant
from token_ledger.storage.upkeep.periods import load_periods
from token_ledger.wire.problems import ProblemError

VALUES: dict[str, tuple[str | None, ...]] = {
    "user": ("ada", "bob"), "cost_center": ("research", "sales", "unassigned"), "agent_type": ("planner", "writer"),
    "request_type": ("chat", "batch"), "model": ("gpt-5.4", "o1-pro"), "provider": ("openai", "azure"),
    "kind": ("llm_call", "llm_call", "tool_call"), "run": (None, "7", "65536"), "tool": (None, "search"),
    "price_entry": (None, "3", "-73138176"), "outcome": ("ok", "ok", "failed"), "estimated": ("false", "false", "true"),
    "tag:team": (None, "search", "o'brien"), "tag:a:b": (None, "1", "2"),
}  # fmt: skip
"""The dimensions that calls have, with values."""
STORED = ("user", "agent_type", "model", "cost_center", "request_type")
"""Those of roll-ups."""
TIMES = ("hour", "day", "week", "month", "fiscal_period", "fiscal_year")
Chosen = tuple[tuple[str, tuple[str, ...]], ...]
SPANS = 6
SPANS_OF_KINDS = 2
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
            "price_id": int(facts["price_entry"] or 0), "failed": facts["outcome"] == "failed",
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
            imported = self.sums(names, ((each, 1) for each in inside if each.imported))
            assert report.imported == imported, told
        if report.crossed is not None:  # else some of these calls may no longer be kept, or rows are by a time
            signs = (
                (each, (since <= (each.held_at or each.at) < until) - (since <= each.at < until)) for each in fitting
            )
            crossed = self.sums(names, ((each, sign) for each, sign in signs if sign))
            assert report.crossed == {key: sums for key, sums in crossed.items() if sums != NOTHING}, told
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
        async with self.database.reading(self.tenant) as connection:
            kinds = await kinds_by(connection, self.tenant, dimension_named(group_by), (since, until))
        rows = [(row.key, row.use.kind, row.use.count, row.use.nanos, row.use.unpriced) for row in kinds.rows]
        assert rows == sorted(rows, key=lambda row: (-row[3], row[0] or "", row[1]))
        assert {(key, kind): sums for key, kind, *sums in rows} == used, (group_by, since, until)
        by_key: dict[tuple[str | None], list[KindUse]] = {}
        for row in kinds.rows:
            by_key.setdefault((row.key,), []).append(row.use)
        assert spend.kinds == {key: tuple(uses) for key, uses in by_key.items()}, (group_by, since, until)


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


def _instants(chance: random.Random, around: datetime) -> list[datetime]:
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
        await made.write(chance, _instants(chance, around))
        yield made
    finally:
        await owner.close()
        await database.close()


@pytest.mark.parametrize("books", CALENDARS, indirect=True)
async def test_the_same_calls_have_the_same_total_whatever_the_span_and_the_grouping(books: Books) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    instants = [each.at for each in books.events]
    around = min(instants) + (max(instants) - min(instants)) / 2
    for number in range(SPANS):
        since, until = sorted(chance.choices([*instants, *_instants(chance, around)], k=2))
        for group_by in (chance.choice(STORED), "", *(_grouping(chance) for _ in range(2))):
            await books.check(group_by, since, until, _filters(chance))
        if number < SPANS_OF_KINDS:
            await books.check_kinds(chance.choice((*VALUES, *TIMES)), since, until)
    days = {at.date() for at in instants}
    for first, last in (chance.choices(sorted(days), k=2) for _ in range(5)):
        await books.check(_grouping(chance), *span_of(books.calendar, first, last, around))


def _grouping(chance: random.Random) -> str:
    names = chance.sample([*VALUES, *TIMES, *STORED], chance.choice((1, 2, 3)))
    return ",".join(dict.fromkeys(names))


def _filters(chance: random.Random) -> Chosen:
    chosen = []
    for name in chance.sample([*VALUES], chance.choice((0, 0, 1, 2))):
        values = [each for each in dict.fromkeys(VALUES[name]) if each is not None]
        chosen.append((name, tuple(chance.sample(values, chance.randrange(1, len(values) + 1)))))
    return tuple(chosen)


@pytest.mark.parametrize("books", CALENDARS, indirect=True)
async def test_verify_compares_hours_with_days_in_every_calendar(books: Books) -> None:
    [check] = [each for each in rollups.CHECKS if each.statement.startswith("hourly and daily roll-ups have the same")]

    async def found() -> set[str]:
        async with books.database.reading(books.tenant) as connection:
            periods = await load_periods(connection, books.tenant)
            scope = Scope(connection, {"tenant": books.tenant, **periods.values}, {}, {}, 1_000)
            return {str(row["found"]) for row in await check.find_violations(scope)}

    assert await found() == set()
    for broken, mended in (
        ("hourly_usage set calls = calls + 1", "hourly_usage set calls = calls - 1"),
        ("daily_usage set model = 'of ' || model", "daily_usage set model = substr(model, 4)"),
        ("daily_usage set day = day + interval '9 days'", "daily_usage set day = day - interval '9 days'"),
    ):
        await books.owner.execute(f"update {broken}")
        assert await found() == {"hourly", "daily"}, broken
        await books.owner.execute(f"update {mended}")
    assert await found() == set()


async def test_what_accounts_have_besides_the_total_is_what_leases_carried_across(books: Books) -> None:
    crossing = [(each.at, each.held_at) for each in books.events if each.held_at]
    at, held_at = max(crossing, key=lambda each: each[0] - each[1])
    report = await books.check("model", held_at, at)
    assert report.crossed
    await books.owner.execute("insert into checkpoints values ($1, 1, $2, now())", books.tenant, at)
    assert (await books.check("model", at + timedelta(minutes=6), at)).crossed is not None
    await books.owner.execute("update checkpoints set booked_at = $1", at + timedelta(days=30))
    assert (await books.check("model", books.calendar.day(at), books.calendar.next_day(at))).crossed is None


async def test_a_span_shorter_than_an_hour_is_read_from_the_events(books: Books) -> None:
    at = books.events[0].at
    for group_by in ("model", "day", "run,hour"):
        await books.check(group_by, at, at + INSTANT)
        await books.check(group_by, at, at)
        await books.check(group_by, at + timedelta(minutes=1), at)  # ends before it begins


@pytest.mark.parametrize("books", CALENDARS, indirect=True)
async def test_whole_hours_and_days_end_where_what_they_are_kept_under_changes(books: Books) -> None:
    calendar = books.calendar
    for whole, start in ((whole_hours, calendar.hour), (whole_days, calendar.day)):
        for at in (each.at for each in books.events):
            found = whole(calendar, (at, at + timedelta(days=3)))
            for edge, kept_under in ((found.begin, found.first), (found.end, found.last)):
                assert start(edge - INSTANT) < start(edge) == kept_under
            assert at <= found.begin < found.end <= at + timedelta(days=3)


async def _drop_events(books: Books, *, booked_at: datetime) -> None:
    """Leave only the sums of the events, as retention does when it drops a month."""
    await books.owner.execute("delete from usage_events")
    await books.owner.execute(
        "insert into checkpoints values ($1, 1000000, $2, now())", books.tenant, booked_at
    )  # fmt: skip


async def test_kinds_are_not_known_of_a_span_that_begins_where_no_events_are_kept(books: Books) -> None:
    booked_at = datetime(2026, 10, 20, tzinfo=UTC)
    await books.owner.execute("insert into checkpoints values ($1, 1, $2, now())", books.tenant, booked_at)
    async with books.database.reading(books.tenant) as connection:
        kept = await kept_from(connection, books.tenant)
        assert kept is not None
    for since, is_known in ((kept, True), (kept - INSTANT, False)):
        report = await spend_by(books.database, books.tenant, "user", since, since, with_kinds=True)
        assert (report.kinds == {}, report.kinds is None) == (is_known, not is_known)


def test_kinds_are_added_up_dearest_first() -> None:
    uses = [KindUse("pages", 1, 5, 0), KindUse("images", 2, 0, 2), KindUse("pages", 3, 7, 1), KindUse("audio", 1, 0, 1)]
    assert add_kinds(uses) == (KindUse("pages", 4, 12, 1), KindUse("audio", 1, 0, 1), KindUse("images", 2, 0, 2))


async def test_edges_whose_events_are_dropped_are_refused_and_whole_days_are_not(books: Books) -> None:
    await _drop_events(books, booked_at=datetime(2026, 11, 1, tzinfo=UTC))
    day = datetime(2026, 10, 20, tzinfo=UTC)
    for group_by in ("user,day", "cost_center,hour", "month"):
        await books.check(group_by, day, day + timedelta(days=1))
        await books.check(group_by, day - timedelta(days=500, minutes=7), day)  # nothing was booked that early
        await books.check(group_by, day, datetime(2026, 12, 3, 9, 30, tzinfo=UTC))
    at = next(each.at for each in books.events if each.at.minute and each.at.date() == day.date())
    for since, until, field in (
        (at, day + timedelta(days=2), "from"), (day, at, "to"), (at, at + INSTANT, "from"),
    ):  # fmt: skip
        for group_by in STORED:
            with pytest.raises(ProblemError) as raised:
                await spend_by(books.database, books.tenant, group_by, since, until)
            assert (raised.value.status, raised.value.field) == (422, field)
    for told in ("2026-11-01T00:05:00+00:00", "2026-10-20T00:00:00+00:00", "2026-10-21T00:00:00+00:00"):
        assert told in raised.value.detail
    for group_by in ("provider", "user,cost_center", "user,hour", "tag:team"):
        with pytest.raises(ProblemError, match="are kept as sums only, by user, agent type"):
            await spend_by(books.database, books.tenant, group_by, day, day + timedelta(days=1))


async def test_rows_are_cut_off_and_the_rest_is_told(books: Books) -> None:
    since, until = min(each.at for each in books.events), max(each.at for each in books.events)
    whole = await books.check("user,model,run", since, until)
    assert [row.sums.cost_nanos for row in whole.rows] == sorted(
        (row.sums.cost_nanos for row in whole.rows), reverse=True
    )
    first = await spend_by(books.database, books.tenant, "user,model,run", since, until, most=3)
    second = await spend_by(books.database, books.tenant, "user,model,run", since, until, most=3, after=3)
    assert first.rows + second.rows == whole.rows[:6]
    for each in (first, second):
        assert (each.total, each.count) == (whole.total, whole.count)
        assert add_up([each.rest, *(row.sums for row in each.rows)]) == whole.total
    for sort, key in (
        ("calls", lambda row: -row.sums.calls), ("tokens", lambda row: -row.sums.input_tokens - row.sums.output_tokens),
        ("key", lambda row: row.key),
    ):  # fmt: skip
        rows = (await spend_by(books.database, books.tenant, "user,model", since, until, sort=sort)).rows
        assert list(rows) == sorted(rows, key=key)
    days = (await spend_by(books.database, books.tenant, "day,user", since, until)).rows
    assert [row.key for row in days] == sorted(row.key for row in days)


async def test_rows_say_what_the_span_before_had_under_their_values(books: Books) -> None:
    at = sorted(each.at for each in books.events)[len(books.events) // 2]
    before, now = (at - timedelta(hours=30), at), (at, at + timedelta(hours=30))
    report = await spend_by(books.database, books.tenant, "run,user", *now, compared=before, most=2)
    then = await books.check("run,user", *before)
    sums = {row.key: row.sums for row in then.rows}
    assert len(report.rows) == 2
    assert [row.compared for row in report.rows] == [sums[row.key] for row in report.rows]
    assert report.compared == then.total
    assert report.compared_rest is not None
    assert add_up([report.compared_rest, *(sums[row.key] for row in report.rows)]) == then.total


@pytest.mark.parametrize(
    ("changes", "day", "starts"),
    [
        ((), date(2026, 11, 1), "2026-11-01T04:00:00+00:00"),
        ((), date(2026, 11, 2), "2026-11-02T05:00:00+00:00"),
        # The days of the first zone go on to their end, and what is left of the date belongs to the second.
        ((("2026-11-10T12:00:00+00:00", "Asia/Tokyo"),), date(2026, 11, 10), "2026-11-10T05:00:00+00:00"),
        ((("2026-11-10T12:00:00+00:00", "Asia/Tokyo"),), date(2026, 11, 11), "2026-11-11T05:00:00+00:00"),
        ((("2026-11-10T12:00:00+00:00", "Asia/Tokyo"),), date(2026, 11, 12), "2026-11-11T15:00:00+00:00"),
        # A date that comes twice begins where it comes first.
        ((("2026-11-10T12:00:00+00:00", "Pacific/Honolulu"),), date(2026, 11, 10), "2026-11-10T05:00:00+00:00"),
        ((("2026-11-10T12:00:00+00:00", "Pacific/Honolulu"),), date(2026, 11, 11), "2026-11-11T10:00:00+00:00"),
    ],
)
def test_a_date_is_the_begin_of_that_day_in_the_tenants_calendar(
    changes: tuple[tuple[str, str], ...], day: date, starts: str
) -> None:
    dated = tuple((datetime.fromisoformat(at), CalendarRule(ZoneInfo(zone))) for at, zone in changes)
    calendar = Calendar(CalendarRule(ZoneInfo("America/New_York")), dated)
    now = datetime(2026, 11, 28, 9, tzinfo=UTC)
    since, until = span_of(calendar, day, day + timedelta(days=1), now)
    assert since.isoformat() == starts
    assert calendar.day(since) == since < until
    assert span_of(calendar, None, day, now) == (calendar.date_start(day - timedelta(days=31)), since)


def test_without_bounds_a_span_is_the_last_31_days() -> None:
    now = datetime(2026, 11, 28, 9, 17, tzinfo=UTC)
    since, until = span_of(Calendar(CalendarRule(UTC)), None, None, now)
    assert timedelta(0) < until - now <= timedelta(hours=1)
    assert until - since == timedelta(days=31)
