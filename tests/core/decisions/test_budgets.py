"""Budgets that change: limits that go and come back, overrides, thresholds; and what contradicts itself."""

from datetime import timedelta
from typing import Any

import pytest

from tests.core.given import NOW, Ledger, budget, refused, release, reserve, sealed, settle
from token_ledger.core.batch.administration import (
    AskIncrease,
    ChangeBudget,
    ChangeRun,
    CreateBudget,
    GiveGrant,
    ReplaceBudget,
)
from token_ledger.core.batch.outcomes import BudgetAnswer, Code, Denied, Granted, RunAnswer
from token_ledger.core.model.account import Account, EntryKind
from token_ledger.core.model.budget import NO_LIMITS, Budget, Limits, Unassigned, Unit
from token_ledger.core.model.subject import EVERYTHING, Subject
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window

TOKENS, COST, CALLS = Unit
ADA, BOB = Subject({"user": "ada"}), Subject({"user": "bob"})
PER_USER: Any = (("user", "*"),)
PER_CENTER: Any = (("cost_center", "*"),)
OPEN: Any = tuple((name, "*") for name in ("agent_type", "cost_center", "model", "tool", "user"))


def change(ledger: Ledger, **fields: Any) -> Budget:
    outcome = ledger.one(sealed(ChangeBudget(f"c{ledger.books.next_id}", b"", 90, **fields)))
    assert isinstance(outcome, BudgetAnswer), outcome
    return outcome.budget


def used(ledger: Ledger, tokens: int, **fields: Any) -> None:
    hold = ledger.granted(key=f"r{ledger.books.next_id}", input_tokens=tokens, max_output_tokens=0, **fields)
    ledger.one(settle(hold.reservation_id, Usage(tokens, 0), key=f"s{ledger.books.next_id}"))


def account_of(ledger: Ledger, subject: Subject = EVERYTHING, budget_id: int = 90) -> Account:
    accounts = {a.account_id: a for a in (*ledger.books.loaded.accounts, *ledger.books.writes.new_accounts)}
    [found] = [a for a in accounts.values() if (a.budget_id, a.subject) == (budget_id, subject)]
    return found


def entries(ledger: Ledger, account: Account) -> list[tuple[EntryKind, tuple[int | None, ...], tuple[int, ...]]]:
    found = [entry for entry in ledger.books.writes.limit_entries if entry.account_id == account.account_id]
    return [(entry.kind, entry.by.amounts, entry.bounds) for entry in found]


def told(ledger: Ledger) -> list[tuple[Unit, int, bool, bool]]:
    return [(each.unit, each.percent, each.fired, each.withdrawn) for each in ledger.books.writes.thresholds]


def test_a_limit_that_is_removed_denies_nothing_and_keeps_what_is_spent() -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5))
    used(ledger, 1_500)
    assert isinstance(ledger.one(reserve(key="no")), Denied)
    assert change(ledger, removed_limits=(TOKENS,)).limits == Limits(calls=5)
    account = account_of(ledger)
    assert (account.limits, account.settled_tokens) == (Limits(calls=5), 1_500)
    ledger.granted(key="yes")
    assert change(ledger, limits=Limits(1_000)).limits == Limits(1_000, None, 5)
    assert isinstance(ledger.one(reserve(key="no again")), Denied)
    assert entries(ledger, account) == [
        (EntryKind.OPENING, (2_000, None, 5), (1, 0, 1)),
        (EntryKind.CHANGE, (-2_000, None, None), (-1, 0, 0)),
        (EntryKind.CHANGE, (1_000, None, None), (1, 0, 0)),
    ]


def test_accounts_of_a_later_batch_lose_the_limit_with_their_next_call() -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5))
    used(ledger, 1_500)
    account = account_of(ledger)
    ledger.at(NOW)
    account.base, account.limit_tokens = Limits(2_000, None, 5), 2_000
    ledger.books.config = ledger.books.config.with_budgets((budget(calls=5),))
    ledger.at(NOW).granted(key="later")
    assert account.limits == Limits(calls=5)


def test_the_last_limit_can_not_be_removed() -> None:
    ledger = Ledger(budget(tokens=2_000))
    outcome = refused(ledger, sealed(ChangeBudget("c", b"", 90, removed_limits=(TOKENS,))))
    assert (outcome.code, outcome.field) == (Code.INVALID_REQUEST, "limits")
    assert "archive the budget" in outcome.detail
    assert change(ledger, limits=Limits(calls=9), removed_limits=(TOKENS,)).limits == Limits(calls=9)


def test_rollover_ends_per_unit_or_in_all() -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5, rollover=Limits(100, None, 2)))
    assert change(ledger, removed_rollover=(TOKENS,)).rollover == Limits(calls=2)
    assert change(ledger, rollover=Limits(tokens=7)).rollover == Limits(7, None, 2)
    assert change(ledger, removed_rollover=tuple(Unit)).rollover is None


def test_a_grant_ends_with_the_limit_that_it_raised() -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5))
    used(ledger, 500)
    account = account_of(ledger)
    ends = NOW + timedelta(hours=1)
    ledger.one(sealed(GiveGrant("g", b"", account.account_id, Limits(700, None, 3), "more", "root", ends)))
    used(ledger, 100)
    change(ledger, removed_limits=(TOKENS,))
    [grant] = ledger.books.loaded.grants.values()
    assert grant.left == Limits(0, None, 2)
    assert account.limits == Limits(calls=8)
    change(ledger, limits=Limits(tokens=1_000))
    assert account.limits == Limits(1_000, None, 8)
    ledger.at(ends).one(reserve(key="later"))
    assert account.limits == Limits(1_000, None, 6)
    assert entries(ledger, account)[-1] == (EntryKind.LAPSE, (0, None, -2), (0, 0, 0))


def test_a_grant_that_lapses_while_there_is_no_limit_makes_none() -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5))
    used(ledger, 500)
    account = account_of(ledger)
    ends = NOW + timedelta(hours=1)
    for amounts in (Limits(tokens=700), Limits(700, None, 3)):
        key = f"g{ledger.books.next_id}"
        ledger.one(sealed(GiveGrant(key, b"", account.account_id, amounts, "more", "root", ends)))
    change(ledger, removed_limits=(TOKENS,))
    ledger.at(ends).granted(key="later", input_tokens=10**6)
    assert account.limits == Limits(calls=5)
    assert all(grant.lapsed_at == ends for grant in ledger.books.loaded.grants.values())


@pytest.mark.parametrize("command", [GiveGrant, AskIncrease])
def test_nothing_is_raised_in_a_unit_that_has_lost_its_limit(command: Any) -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5))
    used(ledger, 500)
    change(ledger, removed_limits=(TOKENS,))
    number = account_of(ledger).account_id
    outcome = refused(ledger, sealed(command("g", b"", number, Limits(tokens=1), "more", "root")))
    assert outcome.code is Code.NO_LIMIT


def test_a_run_may_lose_all_of_its_limits() -> None:
    ledger = Ledger()
    run = ledger.opened(limits=Limits(1_000, None, 5), iterations=3)
    own = account_of(ledger, Subject({"run": str(run.run_id)}), 0)
    every = sealed(ChangeRun("c", b"", run.run_id, Limits(), None, "why", "root", (TOKENS, CALLS), True))
    assert isinstance(ledger.one(every), RunAnswer)
    assert (run.limits, run.limit_iterations, own.limits) == (NO_LIMITS, None, NO_LIMITS)
    ledger.granted(key="large", run_id=run.run_id, input_tokens=10**6)
    again = sealed(ChangeRun("d", b"", run.run_id, Limits(tokens=10), None, "why", "root"))
    assert isinstance(ledger.one(again), RunAnswer)
    assert isinstance(ledger.one(reserve(key="no", run_id=run.run_id)), Denied)
    assert entries(ledger, own)[1:] == [
        (EntryKind.CHANGE, (-1_000, None, -5), (-1, 0, -1)), (EntryKind.CHANGE, (10, None, None), (1, 0, 0)),
    ]  # fmt: skip


def test_one_user_has_more_than_the_rest_and_another_no_limit() -> None:
    overrides = ((ADA, Limits(100_000)), (BOB, NO_LIMITS))
    ledger = Ledger(budget(tokens=50_000, selector=PER_USER, overrides=overrides))
    for user, fits, does_not in (("ada", 100_000, 1), ("eve", 50_000, 1), ("bob", 10**7, None)):
        used(ledger, fits, user=user)
        if does_not:
            assert isinstance(ledger.one(reserve(key=f"no {user}", user=user)), Denied)
    assert account_of(ledger, BOB).settled_tokens == 10**7


def test_open_accounts_take_over_changed_overrides() -> None:
    ledger = Ledger(budget(tokens=50_000, selector=PER_USER))
    used(ledger, 40_000, user="ada")
    used(ledger, 40_000, user="bob")
    change(ledger, overrides=((ADA, NO_LIMITS), (BOB, Limits(10))))
    assert (account_of(ledger, ADA).limits, account_of(ledger, BOB).limits) == (NO_LIMITS, Limits(10))
    change(ledger, overrides=((BOB, NO_LIMITS),))
    assert (account_of(ledger, ADA).limits, account_of(ledger, BOB).limits) == (Limits(50_000), NO_LIMITS)
    change(ledger, overrides=())
    assert account_of(ledger, BOB).limits == Limits(50_000)
    assert account_of(ledger, BOB).settled_tokens == 40_000


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"overrides": ((ADA, Limits(1)),)}, "overrides", "an account per value"),
        ({"selector": PER_CENTER, "overrides": ((ADA, Limits(1)),)}, "overrides", "is no subject of this budget"),
        ({"selector": PER_USER, "overrides": ((Subject({}), Limits(1)),)}, "overrides", "one value each of user"),
        ({"selector": PER_USER, "overrides": ((Subject({"user": "*"}), Limits(1)),)}, "overrides", "is no subject"),
        ({"selector": PER_USER, "overrides": ((ADA, Limits(1)), (ADA, Limits(2)))}, "overrides", "two overrides"),
        ({"selector": PER_USER, "unassigned": Unassigned.PER_USER}, "unassigned", 'cost_center "*"'),
        ({"selector": (("cost_center", "lab"),), "unassigned": Unassigned.PER_USER}, "unassigned", 'cost_center "*"'),
        ({"selector": OPEN}, "selector", "at most 4 of these can be open"),
        ({"selector": OPEN[:4], "window": Window.RUN, "unassigned": Unassigned.PER_USER}, "selector", "2,600"),
        ({"window": Window.TOTAL, "rollover": Limits(1)}, "rollover", "does not end"),
        ({"limits": NO_LIMITS}, "limits", "needs a limit"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_when_it_is_made_replaced_or_changed(
    fields: dict[str, Any], field: str, says: str
) -> None:
    values: dict[str, Any] = {"selector": (), "limits": Limits(5), "window": Window.DAY, **fields}
    create = sealed(CreateBudget("b", b"", "other", **values))
    replacement = sealed(ReplaceBudget("b", b"", "other", **values, replaced_id=90))
    for command in (create, replacement):
        outcome = refused(Ledger(budget(tokens=1)), command)
        assert (outcome.code, outcome.field) == (Code.INVALID_REQUEST, field)
        assert says in outcome.detail
    if field in ("overrides", "unassigned"):
        before = budget(tokens=1, selector=values["selector"])
        changed = sealed(ChangeBudget("c", b"", 90, **{field: fields[field]}))
        assert refused(Ledger(before), changed).detail == outcome.detail


def test_four_dimensions_may_have_an_account_per_value() -> None:
    answer = Ledger().one(sealed(CreateBudget("b", b"", "fine", OPEN[:4], Limits(5), Window.RUN)))
    assert isinstance(answer, BudgetAnswer)


@pytest.mark.parametrize("window", [Window.TOTAL, Window.DAY])
def test_open_accounts_take_over_thresholds_and_those_that_are_passed_fire_then(window: Window) -> None:
    ledger = Ledger(budget(tokens=1_000, window=window, thresholds=(50, 90)))
    used(ledger, 600)
    assert told(ledger) == [(TOKENS, 50, True, False)]
    change(ledger, thresholds=(40, 60, 90))
    assert told(ledger)[1:] == [(TOKENS, 40, True, False), (TOKENS, 50, False, True), (TOKENS, 60, True, False)]
    used(ledger, 300)
    assert told(ledger)[4:] == [(TOKENS, 90, True, False)]
    change(ledger, thresholds=(50, 60, 90))
    assert told(ledger)[5:] == [(TOKENS, 40, False, True), (TOKENS, 50, True, False)]
    change(ledger, thresholds=())
    assert told(ledger)[7:] == [(TOKENS, percent, False, True) for percent in (50, 60, 90)]
    used(ledger, 50)
    assert len(told(ledger)) == 10


def test_thresholds_of_a_limit_that_goes_are_withdrawn_and_fire_again_when_it_is_back() -> None:
    ledger = Ledger(budget(tokens=1_000, calls=100, thresholds=(50,)))
    used(ledger, 600)
    change(ledger, removed_limits=(TOKENS,))
    change(ledger, limits=Limits(tokens=800))
    assert told(ledger) == [(TOKENS, 50, True, False), (TOKENS, 50, False, True), (TOKENS, 50, True, False)]
    assert [event.limit for event in ledger.books.writes.thresholds] == [1_000, 1_000, 800]


def test_limit_and_thresholds_that_change_together_are_noted_once() -> None:
    ledger = Ledger(budget(tokens=1_000, thresholds=(50,)))
    used(ledger, 600)
    change(ledger, limits=Limits(tokens=100), thresholds=(50, 100, 500, 700))
    assert told(ledger)[1:] == [(TOKENS, 100, True, False), (TOKENS, 500, True, False)]


def test_a_hold_is_given_back_where_the_limit_is_gone() -> None:
    ledger = Ledger(budget(tokens=2_000, calls=5))
    hold = ledger.granted()
    change(ledger, removed_limits=(TOKENS,))
    ledger.one(release(hold.reservation_id))
    account = account_of(ledger)
    assert (account.held_tokens, account.limits) == (0, Limits(calls=5))
    assert isinstance(ledger.one(reserve(key="another")), Granted)
