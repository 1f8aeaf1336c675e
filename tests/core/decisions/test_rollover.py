"""Rollover is what earlier windows really left: by the terms they had then, from a subject's first account on."""

from datetime import timedelta
from typing import Any

import pytest

from tests.core import given
from token_ledger.core.batch.administration import ChangeBudget
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Budget, Limits
from token_ledger.core.model.money import LARGEST_AMOUNT
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window

HOUR = timedelta(hours=1)
PER_USER = (("user", "*"),)


def ledger_of(limit: int = 100, cap: int | None = 10_000, **fields: Any) -> given.Ledger:
    """A ledger with an hourly budget for every user, made at its first instant."""
    rollover = None if cap is None else Limits(tokens=cap)
    values = {"window": Window.HOUR, "created_at": given.NOW, **fields}
    return given.Ledger(Budget(3, "hourly", PER_USER, Limits(tokens=limit), rollover=rollover, **values))


def hour(ledger: given.Ledger, number: int, user: str, tokens: int) -> Account:
    """Book a call in an hour after the first; return the account that it falls on."""
    now = given.NOW + number * HOUR
    if ledger.books.now != now:
        ledger.at(now)
    ledger.one(given.record(user=user, usage=Usage(tokens, 0), key=f"{user} {number} {tokens}"))
    return next(
        account for account in ledger.books.accounts_of(3)
        if account.subject.get("user") == user and account.window_start == now
    )  # fmt: skip


def change(ledger: given.Ledger, number: int, **fields: Any) -> None:
    ledger.at(given.NOW + number * HOUR).one(given.sealed(ChangeBudget(f"change {number}", b"", 3, **fields)))


def test_each_window_counts_by_the_limit_it_had_when_a_limit_is_raised() -> None:
    ledger = ledger_of(100)
    for number in range(3):
        hour(ledger, number, "busy", 1)
    ledger.at(given.NOW)
    ledger = ledger_of(100)
    hour(ledger, 0, "idle", 3)
    for number in range(3):
        hour(ledger, number, "busy", 1)
    change(ledger, 3, limits=Limits(tokens=1_000))
    assert hour(ledger, 3, "idle", 1).limit_tokens == 1_000 + 97 + 100 + 100
    assert hour(ledger, 3, "busy", 1).limit_tokens == 1_000 + 99 + 99 + 99


def test_lowering_a_limit_takes_no_rollover_away() -> None:
    ledger = ledger_of(1_000)
    hour(ledger, 0, "ada", 400)
    change(ledger, 3, limits=Limits(tokens=100))
    assert hour(ledger, 3, "ada", 1).limit_tokens == 100 + 600 + 1_000 + 1_000


def test_a_limit_lowered_within_an_unused_window_counts_for_that_window() -> None:
    ledger = ledger_of(1_000)
    hour(ledger, 0, "ada", 400)
    ledger.at(given.NOW + timedelta(minutes=30)).one(
        given.sealed(ChangeBudget("change", b"", 3, limits=Limits(tokens=500)))
    )
    assert hour(ledger, 1, "ada", 1).limit_tokens == 500 + 100


def test_a_name_that_is_first_seen_later_gets_nothing() -> None:
    ledger = ledger_of(1_000)
    hour(ledger, 0, "ada", 1)
    assert hour(ledger, 24, "eve", 1).limit_tokens == 1_000
    assert hour(ledger, 25, "eve", 1).limit_tokens == 1_000 + 999


@pytest.mark.parametrize(("on_at", "carried"), [(2, 100), (1, 200), (0, 297)])
def test_windows_count_from_the_one_in_which_rollover_was_switched_on(on_at: int, carried: int) -> None:
    ledger = ledger_of(100, cap=None)
    hour(ledger, 0, "ada", 3)
    change(ledger, on_at, rollover=Limits(tokens=10_000))
    assert hour(ledger, 3, "ada", 1).limit_tokens == 100 + carried


def test_the_cap_holds_at_every_border() -> None:
    ledger = ledger_of(100, cap=150)
    hour(ledger, 0, "ada", 0)
    assert hour(ledger, 5, "ada", 0).limit_tokens == 250
    change(ledger, 6, rollover=Limits(tokens=40))
    assert hour(ledger, 7, "ada", 0).limit_tokens == 140


def test_an_import_earns_no_rollover() -> None:
    ledger = ledger_of(100)
    ledger.at(given.NOW + 9 * HOUR)
    for number in (1, 2, 3):
        old = given.record(user="ada", key=f"old {number}", occurred_at=given.NOW + number * HOUR)
        ledger.one(old)
    assert [(a.limit_tokens, a.earns) for a in ledger.books.accounts_of(3)] == [(100, False)] * 3
    assert hour(ledger, 9, "ada", 1).limit_tokens == 100
    assert hour(ledger, 10, "ada", 1).limit_tokens == 199


def test_an_event_of_an_earlier_window_changes_no_rollover_that_was_fixed() -> None:
    ledger = ledger_of(1_000)
    first = hour(ledger, 0, "ada", 100)
    later = hour(ledger, 1, "ada", 1)
    ledger.one(given.record(user="ada", key="late", occurred_at=given.NOW + timedelta(minutes=1)))
    assert (first.settled_tokens, later.limit_tokens) == (1_100, 1_900)


def test_an_account_of_the_past_has_the_limit_of_then_and_leaves_what_is_left_of_it() -> None:
    ledger = ledger_of(1_000)
    hour(ledger, 0, "ada", 0)
    change(ledger, 2, limits=Limits(tokens=50))
    ledger.one(given.record(user="ada", key="late", usage=Usage(300, 0), occurred_at=given.NOW + HOUR))
    (past,) = (a for a in ledger.books.accounts_of(3) if a.window_start == given.NOW + HOUR)
    assert (past.limit_tokens, past.base.tokens, past.earns) == (2_000, 1_000, True)
    assert hour(ledger, 2, "ada", 1).limit_tokens == 50 + 1_700


def test_a_clock_that_is_ahead_opens_no_window_early() -> None:
    ledger = ledger_of(100)
    ledger.at(given.NOW + timedelta(minutes=59))
    ledger.one(given.record(user="ada", usage=Usage(10, 0), occurred_at=given.NOW + timedelta(minutes=62)))
    (account,) = ledger.books.accounts_of(3)
    assert (account.window_start, account.settled_tokens) == (given.NOW, 10)


def test_a_limit_with_rollover_stays_storable() -> None:
    ledger = ledger_of(LARGEST_AMOUNT - 5, cap=LARGEST_AMOUNT)
    hour(ledger, 0, "ada", 0)
    assert hour(ledger, 1, "ada", 0).limit_tokens == LARGEST_AMOUNT
