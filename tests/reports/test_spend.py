"""Reports of one span agree: every dimension has the same total, which is the plain sum of the events posted in it."""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.reports.books import CALENDARS, INSTANT, STORED, TIMES, VALUES, Books, Chosen, books, instants_around
from tests.reports.reading import spend_by
from token_ledger.core.model.window import Calendar, CalendarRule
from token_ledger.proof import rollups
from token_ledger.proof.check import Scope
from token_ledger.reports.kept_calls import kept_from
from token_ledger.reports.other_kinds import PageKinds
from token_ledger.reports.page import PageSums
from token_ledger.reports.span import Bound, span_before, span_of, whole_days, whole_hours
from token_ledger.reports.spend import Compared
from token_ledger.reports.sums import NOTHING, add_up
from token_ledger.storage.upkeep.periods import load_periods
from token_ledger.wire.problems import ProblemError

__all__ = ["books"]

SPANS = 6
SPANS_OF_KINDS = 2


@pytest.mark.parametrize("books", CALENDARS, indirect=True)
async def test_the_same_calls_have_the_same_total_whatever_the_span_and_the_grouping(books: Books) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    instants = [each.at for each in books.events]
    around = min(instants) + (max(instants) - min(instants)) / 2
    for number in range(SPANS):
        since, until = sorted(chance.choices([*instants, *instants_around(chance, around)], k=2))
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
    assert report.crossed is not None
    assert report.crossed.total != NOTHING
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
        assert report.kinds == (PageKinds((), {}) if is_known else None)


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
    assert report.compared == Compared(before, PageSums(then.total, {row.key: sums[row.key] for row in report.rows}))
    assert add_up([report.compared.sums.rest, *(sums[row.key] for row in report.rows)]) == then.total


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


@pytest.mark.parametrize(
    ("since", "until", "begins"),
    [
        (date(2026, 10, 20), date(2026, 10, 30), "2026-10-09T22:00:00+00:00"),  # with an hour less than the span
        (None, date(2026, 11, 10), "2026-09-08T22:00:00+00:00"),
        (date(2026, 10, 20), datetime(2026, 10, 29, 23, tzinfo=UTC), "2026-10-09T21:00:00+00:00"),
        (datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 2, 9, 30, tzinfo=UTC), "2026-11-01T14:30:00+00:00"),
        (date(2026, 11, 30), date(2026, 11, 28), "2026-12-01T23:00:00+00:00"),
    ],
)
def test_the_span_before_has_as_many_days_between_dates_and_else_as_much_time(
    since: Bound | None, until: Bound, begins: str
) -> None:
    calendar, now = Calendar(CalendarRule(ZoneInfo("Europe/Berlin"))), datetime(2026, 12, 1, tzinfo=UTC)
    before, end = span_before(calendar, since, until, now)
    assert before.isoformat() == begins
    assert end == span_of(calendar, since, until, now)[0]
