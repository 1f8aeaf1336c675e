"""Reports of one span agree: every dimension has the same total, which is the plain sum of the events posted in it.

The roll-ups are made here as a batch makes them, from random events around the instants at which clocks shift.
"""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import Calendar, CalendarRule
from token_ledger.proof import rollups
from token_ledger.proof.check import Scope
from token_ledger.reports.kinds import kinds_by
from token_ledger.reports.other_kinds import KindUse, add_kinds
from token_ledger.reports.span import span_of, whole_days, whole_hours
from token_ledger.reports.spend import Dimension, kept_from, spend_by
from token_ledger.reports.sums import add_up
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import add_tenant
from token_ledger.storage.upkeep.periods import load_periods
from token_ledger.wire.problems import ProblemError

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
SPANS = 25
SPANS_OF_KINDS = 5
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


class Books:
    """A tenant whose events and roll-ups are written by the test."""

    def __init__(self, database: Database, owner: Any, tenant: TenantId, calendar: Calendar) -> None:
        self.database = database
        self.owner = owner
        self.tenant = tenant
        self.calendar = calendar
        self.events: list[tuple[datetime, dict[str, str], Figures]] = []
        self.held: list[datetime | None] = []
        self.others: list[dict[str, list[int | None]]] = []

    async def write(self, chance: random.Random, instants: list[datetime]) -> None:
        """Book a random call at each instant, and add it to the roll-ups."""
        self.events = [(at, _facts(chance), _figures(chance)) for at in instants]
        # Two thirds are calls of leases, which began up to three hours before.
        self.held = [
            at - chance.choice((1, 60)) * timedelta(minutes=chance.randrange(180)) / 60 if chance.randrange(3) else None
            for at in instants
        ]
        self.others = [_others(chance) for _ in instants]
        await self.owner.executemany(
            "insert into usage_events (tenant_id, event_id, booked_at, occurred_at, posted_at, user_id, cost_center,"
            " agent_type, request_type, provider, model, calls, input_tokens, output_tokens, cache_read_tokens,"
            " cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, cost_nanos, held_at, price_id, path,"
            " others)"
            " values ($1, $2, now(), now(), $3, $4, $5, $6, $7, 'openai', $8, $9, $10, $11, $12, $13 / 2,"
            " $13 - $13 / 2, $14, $15, $16, 1, '{}', $17)",
            [
                (self.tenant, number, at, *facts.values(), *figures, held_at, json.dumps(others) if others else None)
                for number, ((at, facts, figures), held_at, others) in enumerate(
                    zip(self.events, self.held, self.others, strict=True), 1
                )
            ],
        )
        await self._roll_up("hourly_usage", "hour", ("cost_center", "agent_type", "model"), self.calendar.hour)
        await self._roll_up("daily_usage", "day", ("user", "agent_type", "model", "request_type"), self.calendar.day)

    async def _roll_up(self, table: str, period: str, names: tuple[str, ...], start: Any) -> None:
        sums: dict[tuple[Any, ...], list[int]] = {}
        for at, facts, figures in self.events:
            found = sums.setdefault((start(at), *(facts[name] for name in names)), [0] * len(figures))
            found[:] = [a + b for a, b in zip(found, figures, strict=True)]
        columns = [period, *("user_id" if name == "user" else name for name in names), *Figures._fields]
        places = ", ".join(f"${number + 2}" for number in range(len(columns)))
        await self.owner.executemany(
            f"insert into {table} (tenant_id, {', '.join(columns)}) values ($1, {places})",
            [(self.tenant, *key, *figures) for key, figures in sums.items()],
        )

    async def check(self, since: datetime, until: datetime) -> None:
        """Check that every dimension says what the events posted in a span add up to."""
        inside = [(facts, figures) for at, facts, figures in self.events if since <= at < until]
        crossed = [
            (facts, Figures(*(sign * figure for figure in figures)))
            for (at, facts, figures), held_at in zip(self.events, self.held, strict=True)
            if (sign := (since <= (held_at or at) < until) - (since <= at < until))
        ]
        total = Figures(*(sum(each) for each in zip(Figures(*[0] * 7), *(f for _, f in inside), strict=True)))
        async with self.database.reading(self.tenant) as connection:
            for dimension in DIMENSIONS:
                report = await spend_by(connection, self.tenant, dimension, since, until)
                assert report.total == total, (dimension, since, until)
                carried: dict[str, list[Figures]] = {}
                for facts, figures in crossed:
                    carried.setdefault(facts[dimension], []).append(figures)
                sums = {key: add_up(each) for key, each in carried.items()}
                if report.crossed is not None:  # else some of these calls may no longer be kept
                    found = {row.key: row.sums for row in report.crossed}
                    assert found == {key: each for key, each in sums.items() if any(each)}, (dimension, since, until)
                cost: Counter[str] = Counter()
                for facts, figures in inside:
                    cost[facts[dimension]] += figures.cost_nanos
                assert {row.key: row.sums.cost_nanos for row in report.rows} == cost, (dimension, since, until)

    async def check_kinds(self, since: datetime, until: datetime) -> None:
        """Check that both reports say how much of other kinds the events posted in a span used, by each dimension."""
        async with self.database.reading(self.tenant) as connection:
            for dimension in DIMENSIONS:
                used: dict[tuple[str, str], list[int]] = {}
                for (at, facts, _), others in zip(self.events, self.others, strict=True):
                    for kind, (count, nanos) in others.items() if since <= at < until else ():
                        assert count is not None
                        sums = used.setdefault((facts[dimension], kind), [0, 0, 0])
                        sums[:] = sums[0] + count, sums[1] + (nanos or 0), sums[2] + (count if nanos is None else 0)
                spend = await spend_by(connection, self.tenant, dimension, since, until, with_kinds=True)
                kinds = await kinds_by(connection, self.tenant, dimension, since, until)
                rows = [(row.key, row.use.kind, row.use.count, row.use.nanos, row.use.unpriced) for row in kinds.rows]
                assert rows == sorted(rows, key=lambda row: (-row[3], row[0], row[1]))
                assert {(key, kind): sums for key, kind, *sums in rows} == used, (dimension, since, until)
                assert spend.kinds is not None
                by_key: dict[str, list[KindUse]] = {}
                for row in kinds.rows:
                    by_key.setdefault(row.key, []).append(row.use)
                assert spend.kinds == {key: tuple(uses) for key, uses in by_key.items()}, (dimension, since, until)
                plain = await spend_by(connection, self.tenant, dimension, since, until)
                assert plain == replace(spend, kinds=None)


def _others(chance: random.Random) -> dict[str, list[int | None]]:
    """Return what a call used of other kinds, with its cost where it had a price: most calls used none."""
    kinds = chance.sample(("web_searches", "audio_input_tokens", "images"), chance.choice((0, 0, 1, 2)))
    return {kind: [chance.randrange(1, 9), chance.choice((None, chance.randrange(10**8)))] for kind in kinds}


def _facts(chance: random.Random) -> dict[str, str]:
    return {
        "user": chance.choice(("ada", "bob")), "cost_center": chance.choice(("research", "sales")),
        "agent_type": chance.choice(("planner", "writer")), "request_type": chance.choice(("chat", "batch")),
        "model": chance.choice(("gpt-5.4", "o1-pro")),
    }  # fmt: skip


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
async def test_every_dimension_has_the_total_of_the_events_whatever_the_span(books: Books) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    instants = [at for at, _, _ in books.events]
    around = min(instants) + (max(instants) - min(instants)) / 2
    for number in range(SPANS):
        since, until = sorted(chance.choices([*instants, *_instants(chance, around)], k=2))
        await books.check(since, until)
        if number < SPANS_OF_KINDS:
            await books.check_kinds(since, until)
    days = {at.date() for at in instants}
    for first, last in (chance.choices(sorted(days), k=2) for _ in range(5)):
        await books.check(*span_of(books.calendar, first, last, around))


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
    crossing = [(at, held_at) for (at, _, _), held_at in zip(books.events, books.held, strict=True) if held_at]
    at, held_at = max(crossing, key=lambda each: each[0] - each[1])
    async with books.database.reading(books.tenant) as connection:
        report = await spend_by(connection, books.tenant, "model", held_at, at)
        assert report.crossed is not None
        assert any(add_up(row.sums for row in report.crossed))
        await books.owner.execute("insert into checkpoints values ($1, 1, $2, now())", books.tenant, at)
        assert (await spend_by(connection, books.tenant, "model", at + timedelta(minutes=6), at)).crossed is not None
    await books.owner.execute("update checkpoints set booked_at = $1", at + timedelta(days=30))
    day = books.calendar.day(at)
    async with books.database.reading(books.tenant) as connection:
        assert (await spend_by(connection, books.tenant, "model", day, books.calendar.next_day(at))).crossed is None


async def test_a_span_shorter_than_an_hour_is_read_from_the_events(books: Books) -> None:
    at = books.events[0][0]
    await books.check(at, at + INSTANT)
    await books.check(at, at)
    await books.check(at + timedelta(minutes=1), at)  # ends before it begins


@pytest.mark.parametrize("books", CALENDARS, indirect=True)
async def test_whole_hours_and_days_end_where_what_they_are_kept_under_changes(books: Books) -> None:
    calendar = books.calendar
    for whole, start in ((whole_hours, calendar.hour), (whole_days, calendar.day)):
        for at, _, _ in books.events:
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
            report = await spend_by(connection, books.tenant, "user", since, since, with_kinds=True)
            assert (report.kinds == {}, report.kinds is None) == (is_known, not is_known)


def test_kinds_are_added_up_dearest_first() -> None:
    uses = [KindUse("pages", 1, 5, 0), KindUse("images", 2, 0, 2), KindUse("pages", 3, 7, 1), KindUse("audio", 1, 0, 1)]
    assert add_kinds(uses) == (KindUse("pages", 4, 12, 1), KindUse("audio", 1, 0, 1), KindUse("images", 2, 0, 2))


async def test_edges_whose_events_are_dropped_are_refused_and_whole_days_are_not(books: Books) -> None:
    await _drop_events(books, booked_at=datetime(2026, 11, 1, tzinfo=UTC))
    day = datetime(2026, 10, 20, tzinfo=UTC)
    await books.check(day, day + timedelta(days=1))
    await books.check(day - timedelta(days=500, minutes=7), day)  # nothing was booked that early
    await books.check(day, datetime(2026, 12, 3, 9, 30, tzinfo=UTC))
    at = next(at for at, _, _ in books.events if at.minute and at.date() == day.date())
    async with books.database.reading(books.tenant) as connection:
        for since, until, field in (
            (at, day + timedelta(days=2), "from"), (day, at, "to"), (at, at + INSTANT, "from"),
        ):  # fmt: skip
            for dimension in DIMENSIONS:
                with pytest.raises(ProblemError) as raised:
                    await spend_by(connection, books.tenant, dimension, since, until)
                assert (raised.value.status, raised.value.field) == (422, field)
        for told in ("2026-11-01T00:05:00+00:00", "2026-10-20T00:00:00+00:00", "2026-10-21T00:00:00+00:00"):
            assert told in raised.value.detail


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
