"""Booking: settled balances by what an account counts, roll-ups by local hour and day, accounts per window."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.core import given
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.outcomes import Granted, Recorded
from token_ledger.core.batch.rollup_keys import RollupKey, TagKey
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.budget import Counts
from token_ledger.core.model.tenant import TenantConfig, TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Calendar, CalendarRule, Window

USED = Usage(1_000, 100, 600, 100, 50, 30)
AMOUNTS = [1, 1_000, 100, 600, 150, 30]


@pytest.mark.parametrize(("counts", "settled"), [(Counts.ALL, 1_100), (Counts.UNCACHED, 500)])
def test_an_account_settles_the_tokens_it_counts(counts: Counts, settled: int) -> None:
    ledger = given.Ledger(given.budget(tokens=1, counts=counts))
    ledger.one(given.record(usage=USED))
    (account,) = ledger.books.writes.new_accounts
    assert (account.settled_tokens, account.settled_calls) == (settled, 1)
    assert account.settled_nanos == 250 * 2_500 + 600 * 250 + 100 * 3_000 + 50 * 5_000 + 100 * 10_000


def test_roll_ups_add_up_per_key() -> None:
    ledger = given.Ledger()
    ledger.decide(
        *(given.record(key=str(n), usage=USED, tags=(("team", "red"),)) for n in range(3)), given.record(user="bob")
    )
    writes = ledger.books.writes
    hour = given.NOW.replace(minute=0)
    key = RollupKey(hour, given.NOW.replace(hour=0), "unassigned", "ada", "planner", "large", "chat")
    cost = sum(event.cost_nanos for event in writes.events if event.facts.user == "ada")
    assert writes.rollups[key] == [*(3 * amount for amount in AMOUNTS), cost]
    assert writes.tag_rollups == {TagKey(given.NOW.replace(hour=0), "team", "red"): writes.rollups[key]}
    assert len(writes.rollups) == 2


def test_what_was_rolled_up_is_not_rolled_up_again() -> None:
    books = Books(TenantConfig(TenantId(1), 1, Calendar(CalendarRule(UTC))), given.PRICES, 1, given.NOW, Loaded())
    for key in ("a", "b"):
        decide(books, [given.record(key=key)])
    [(calls, *_)] = books.writes.rollups.values()
    assert calls == 2


def test_calls_of_other_hours_stand_in_their_own_sums() -> None:
    ledger = given.Ledger()
    minutes = (0, 61, 1, 62, 122, 59)
    start = given.NOW.replace(minute=0) - timedelta(hours=3)
    ledger.decide(
        *(given.record(key=str(n), occurred_at=start + timedelta(minutes=each)) for n, each in enumerate(minutes))
    )
    assert {key.hour: calls for key, (calls, *_) in ledger.books.writes.rollups.items()} == {
        start: 3, start + timedelta(hours=1): 2, start + timedelta(hours=2): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "occurred_at", "hour", "day"),
    [
        ("Asia/Kathmandu", "2026-11-21T11:20:30Z", "2026-11-21T11:15Z", "2026-11-20T18:15Z"),
        ("Asia/Kolkata", "2026-11-20T18:30:00Z", "2026-11-20T18:30Z", "2026-11-20T18:30Z"),
        ("Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T01:00Z", "2026-10-24T22:00Z"),
    ],
)
def test_an_event_is_rolled_up_in_its_local_hour_and_day(zone: str, occurred_at: str, hour: str, day: str) -> None:
    books = Books(
        TenantConfig(TenantId(1), 1, Calendar(CalendarRule(ZoneInfo(zone)))), given.PRICES, 1, given.NOW, Loaded()
    )
    decide(books, [given.record(occurred_at=at(occurred_at))])
    ((found_hour, found_day, *_),) = books.writes.rollups
    assert (found_hour, found_day) == (at(hour), at(day))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("window", "later", "accounts"),
    [
        (Window.DAY, timedelta(hours=12) - timedelta(microseconds=1), 1), (Window.DAY, timedelta(hours=12), 2),
        (Window.MONTH, timedelta(days=9), 1), (Window.MONTH, timedelta(days=10), 2),
        (Window.TOTAL, timedelta(days=999), 1),
    ],
)  # fmt: skip
def test_a_new_window_is_a_new_account(window: Window, later: timedelta, accounts: int) -> None:
    ledger = given.Ledger(given.budget(tokens=10**6, window=window))
    first: Any = ledger.one(given.reserve())
    second: Any = ledger.at(given.NOW + later).one(given.record())
    assert isinstance(first, Granted)
    assert isinstance(second, Recorded)
    assert len({*first.reservation.path, *second.event.path}) == accounts


def test_a_hold_settles_on_the_window_it_was_given_in() -> None:
    ledger = given.Ledger(given.budget(tokens=10**6))
    reservation = ledger.granted(ttl_seconds=86_400)
    (account,) = ledger.books.writes.new_accounts
    ledger.at(given.NOW + timedelta(hours=13)).one(given.record())
    assert (account.held_tokens, account.settled_tokens) == (1_500, 0)
    assert reservation.path == [account.account_id]
