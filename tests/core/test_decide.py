"""What each verb answers: every refusal, one error a row, in the order of the checks."""

from datetime import timedelta
from typing import Any

import pytest

from tests.core.given import (
    BUDGET,
    NOW,
    Ledger,
    balance,
    budget,
    open_run,
    record,
    refused,
    release,
    reserve,
    sealed,
    settle,
)
from token_ledger.core.administration import ArchiveBudget, ReplaceBudget
from token_ledger.core.allocation import Share
from token_ledger.core.budget import Counts, Enforcement, Limits
from token_ledger.core.commands import EndRun, ExpireDue
from token_ledger.core.outcomes import (
    BudgetAnswer,
    Code,
    Denied,
    Granted,
    Quarantined,
    Recorded,
    RunAnswer,
    Settled,
    Swept,
)  # fmt: skip
from token_ledger.core.run import RunState
from token_ledger.core.usage import Usage
from token_ledger.core.window import Window

NANOS = 1_000 * 2_500 + 500 * 10_000
"""What the usual reserve holds."""


def denied(ledger: Ledger, **fields: Any) -> Denied:
    outcome = ledger.one(reserve(**fields))
    assert isinstance(outcome, Denied), outcome
    assert not ledger.books.writes.new_reservations
    assert all(a.held_tokens == a.held_nanos == a.held_calls == 0 for a in ledger.books.writes.new_accounts)
    return outcome


# Reserve


@pytest.mark.parametrize(
    ("state", "fields", "code", "field"),
    [
        # Each row has every later error too: the first check that fails is the answer.
        ("open", {"run_id": 5, "model": "unknown"}, Code.RUN_NOT_FOUND, "run_id"),
        ("closed", {"model": "unknown"}, Code.RUN_NOT_OPEN, "run_id"),
        ("cancelled", {"model": "unknown"}, Code.RUN_NOT_OPEN, "run_id"),
        ("open", {"model": "unknown"}, Code.UNKNOWN_MODEL, "model"),
        ("open", {"provider": "unknown"}, Code.UNKNOWN_MODEL, "model"),
        ("open", {"model": "later"}, Code.UNKNOWN_MODEL, "model"),
    ],
)
def test_a_reserve_is_refused(state: str, fields: dict[str, Any], code: Code, field: str) -> None:
    ledger = Ledger(budget(tokens=0))
    run = ledger.opened(limits=Limits(tokens=10), shares=(Share("writer", 1),), strict=True)
    run.state = RunState(state)
    outcome = refused(ledger, reserve(**({"run_id": run.run_id} | fields)))
    assert (outcome.code, outcome.field) == (code, field)


def test_a_strict_run_denies_agent_types_without_a_share_before_any_budget() -> None:
    ledger = Ledger(budget(tokens=0))
    run = ledger.opened(limits=Limits(tokens=10), shares=(Share("writer", 1),), strict=True)
    denial = denied(ledger, run_id=run.run_id).denial
    assert (denial.code, denial.refusals, denial.fits_output_tokens) == (Code.NOT_ALLOCATED, [], None)


@pytest.mark.parametrize(
    ("limits", "unit", "fits"),
    [
        ({"tokens": 1_499}, "tokens", 499), ({"tokens": 1_001}, "tokens", 1), ({"tokens": 1_000}, "tokens", None),
        ({"tokens": 0}, "tokens", None), ({"nanos": NANOS - 1}, "cost", 499), ({"nanos": NANOS - 10_000}, "cost", 499),
        ({"nanos": NANOS - 10_001}, "cost", 498), ({"nanos": 1_000 * 2_500}, "cost", None),
        ({"nanos": 0}, "cost", None),
        ({"calls": 0}, "calls", None), ({"tokens": 1_499, "nanos": 0, "calls": 0}, "tokens", None),
        ({"tokens": 1_500, "nanos": NANOS - 1, "calls": 0}, "cost", None),
        ({"tokens": 1_450, "nanos": NANOS - 10_000}, "tokens", 450),
    ],
)  # fmt: skip
def test_a_hard_budget_without_room_denies_and_says_what_would_fit(
    limits: dict[str, int], unit: str, fits: int | None
) -> None:
    denial = denied(Ledger(budget(**limits))).denial
    (refusal,) = denial.refusals
    assert (denial.code, refusal["unit"], denial.fits_output_tokens) == (Code.BUDGET_EXCEEDED, unit, fits)
    if fits is not None:
        assert isinstance(Ledger(budget(**limits)).one(reserve(max_output_tokens=fits)), Granted)
        denied(Ledger(budget(**limits)), max_output_tokens=fits + 1)


def test_a_call_that_fits_exactly_is_granted() -> None:
    ledger = Ledger(budget(tokens=1_500, nanos=NANOS, calls=1))
    reservation = ledger.granted()
    assert (reservation.held_tokens, reservation.held_nanos) == (1_500, NANOS)
    assert reservation.expires_at == NOW + timedelta(seconds=300)
    assert reservation.warnings is None


def test_one_account_without_room_denies_on_all() -> None:
    wide, narrow = budget(tokens=10**6), budget(tokens=10, budget_id=91, name="narrow")
    assert [refusal["budget"] for refusal in denied(Ledger(wide, narrow)).denial.refusals] == ["narrow"]


@pytest.mark.parametrize("enforcement", [Enforcement.SOFT, Enforcement.SHADOW])
def test_a_budget_that_is_not_hard_warns_and_holds(enforcement: Enforcement) -> None:
    ledger = Ledger(budget(tokens=10, enforcement=enforcement))
    assert '"unit": "tokens"' in (ledger.granted().warnings or "")
    (account,) = ledger.books.writes.new_accounts
    assert account.held_tokens == 1_500
    assert [denial.enforced for denial in ledger.books.writes.denials] == [False]


@pytest.mark.parametrize(("counts", "granted"), [(Counts.UNCACHED, True), (Counts.ALL, False)])
def test_a_budget_of_uncached_tokens_leaves_out_expected_cache_reads(counts: Counts, granted: bool) -> None:
    outcome = Ledger(budget(tokens=600, counts=counts)).one(reserve(cached_input_tokens=900))
    assert isinstance(outcome, Granted if granted else Denied)


def test_a_hard_refusal_denies_whatever_the_soft_ones_say() -> None:
    soft = budget(tokens=10, enforcement=Enforcement.SOFT)
    refusals = denied(Ledger(soft, budget(tokens=20, budget_id=91, name="hard"))).denial.refusals
    assert [(refusal["budget"], refusal["enforcement"]) for refusal in refusals] == [("cap", "soft"), ("hard", "hard")]


def test_a_run_an_allocation_and_a_budget_all_hold() -> None:
    ledger = Ledger(budget(tokens=10**6))
    run = ledger.opened(limits=Limits(tokens=10_000), shares=(Share("planner", 1), Share("writer", 1)))
    path = ledger.granted(run_id=run.run_id).path
    held = [(ledger.books.account(n).budget, ledger.books.account(n).held_tokens) for n in path]
    assert held == [("run", 1_500), ("allocation", 1_500), ("cap", 1_500)]
    other = ledger.granted(run_id=run.run_id, agent_type="reviewer", key="r2").path
    assert [ledger.books.account(n).budget for n in other] == ["run", "cap"]


# Settle and release


@pytest.mark.parametrize("command", [settle(7), release(7)])
def test_what_ends_no_hold_is_refused(command: Any) -> None:
    assert refused(Ledger(), command).code is Code.RESERVATION_NOT_FOUND


@pytest.mark.parametrize("end", ["settled", "released", "expired"])
def test_a_release_of_a_hold_that_ended_is_refused(end: str) -> None:
    ledger, number = ended(end)
    outcome = refused(ledger, release(number, key="again"))
    assert (outcome.code, outcome.extra) == (Code.RESERVATION_NOT_OPEN, {"state": end})


@pytest.mark.parametrize("end", ["settled", "released"])
def test_a_settle_of_a_hold_that_ended_is_kept_for_review(end: str) -> None:
    ledger, number = ended(end)
    events = len(ledger.books.writes.events)
    outcome = ledger.one(settle(number, key="again"))
    assert isinstance(outcome, Quarantined)
    assert outcome.code == Code.RESERVATION_NOT_OPEN
    assert len(ledger.books.writes.events) == events


def ended(how: str) -> tuple[Ledger, int]:
    ledger = Ledger(budget(tokens=10**6))
    number = ledger.granted().reservation_id
    if how == "expired":
        ledger.at(NOW + timedelta(seconds=300)).decide(ExpireDue())
        return ledger, number
    ledger.one(settle(number) if how == "settled" else release(number))
    return ledger, number


def test_release_gives_everything_back() -> None:
    assert balance(ended("released")[0]) == [(0, 0, 0)]


def test_expiry_gives_everything_back() -> None:
    assert balance(ended("expired")[0]) == [(0, 0, 0)]


def test_a_hold_expires_at_its_instant_and_not_before() -> None:
    ledger = Ledger()
    reservation = ledger.granted()
    ledger.at(reservation.expires_at - timedelta(microseconds=1)).decide(ExpireDue())
    assert reservation.state == "held"
    ledger.at(reservation.expires_at).decide(ExpireDue())
    assert reservation.state == "expired"


def test_a_late_settle_is_booked_in_full() -> None:
    ledger, number = ended("expired")
    outcome = ledger.one(settle(number))
    assert isinstance(outcome, Settled)
    assert (outcome.event.late, outcome.event.overrun) == (True, False)
    assert balance(ledger) == [(1_000, 0, 0)]


@pytest.mark.parametrize(
    ("usage", "fields", "overrun"),
    [
        (Usage(1_000, 500), {}, False), (Usage(1_400, 100), {}, False), (Usage(0, 0), {}, False),
        (Usage(1_001, 500), {}, True), (Usage(900, 600), {}, True), (Usage(1_000, 500, 0, 0, 1_000), {}, True),
        (Usage(1_500, 1), {"model": "small"}, True), (Usage(1_000, 500), {"model": "small"}, False),
        (Usage(10**6, 0), {"model": "unknown"}, True),
    ],
)  # fmt: skip
def test_more_than_held_in_tokens_or_cost_is_an_overrun(usage: Usage, fields: dict[str, Any], overrun: bool) -> None:
    ledger = Ledger(budget(tokens=1_500))
    outcome = ledger.one(settle(ledger.granted().reservation_id, usage, **fields))
    assert isinstance(outcome, Settled)
    assert outcome.event.overrun is overrun
    assert balance(ledger) == [(usage.total_tokens, 0, 0)]


def test_fewer_cache_reads_than_expected_are_an_overrun() -> None:
    ledger = Ledger(budget(tokens=10**6, counts=Counts.UNCACHED))
    number = ledger.granted(cached_input_tokens=900).reservation_id
    outcome = ledger.one(settle(number, Usage(1_000, 0), model="small"))
    assert isinstance(outcome, Settled)
    assert outcome.event.overrun, "the account of uncached tokens held 600 and is charged 1,000"


@pytest.mark.parametrize(
    ("fields", "cost", "unpriced"),
    [
        ({}, 900 * 2_500 + 100 * 10_000, False), ({"model": "small"}, 900 * 100 + 100 * 500, False),
        ({"model": "unknown"}, 0, True), ({"provider": "unknown"}, 0, True), ({"model": "later"}, 0, True),
    ],
)  # fmt: skip
def test_a_settle_is_priced_by_the_model_that_ran_or_booked_unpriced(
    fields: dict[str, Any], cost: int, unpriced: bool
) -> None:
    ledger = Ledger()
    outcome = ledger.one(settle(ledger.granted().reservation_id, **fields))
    assert isinstance(outcome, Settled)
    assert (outcome.event.cost_nanos, outcome.event.unpriced) == (cost, unpriced)


def test_contradictory_usage_is_clamped_and_flagged() -> None:
    ledger = Ledger()
    outcome = ledger.one(settle(ledger.granted().reservation_id, Usage(100, 10, 150)))
    assert isinstance(outcome, Settled)
    assert (outcome.event.clamped, outcome.event.usage.cache_read_tokens) == (True, 100)


@pytest.mark.parametrize(("offset", "booked"), [(-99, 0), (0, 0), (30, 30), (60, 60), (9_999, 60), (None, 60)])
def test_the_time_of_a_settle_lies_between_its_hold_and_now(offset: int | None, booked: int) -> None:
    ledger = Ledger()
    number = ledger.granted().reservation_id
    occurred_at = None if offset is None else NOW + timedelta(seconds=offset)
    outcome = ledger.at(NOW + timedelta(seconds=60)).one(settle(number, occurred_at=occurred_at))
    assert isinstance(outcome, Settled)
    assert outcome.event.posted_at == NOW + timedelta(seconds=booked)


# Events without a hold


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"run_id": 7, "occurred_at": NOW + timedelta(days=99)}, Code.RUN_NOT_FOUND),
        ({"occurred_at": NOW + timedelta(minutes=5, microseconds=1)}, Code.TIME_OUT_OF_RANGE),
        ({"occurred_at": NOW - timedelta(days=35, microseconds=1)}, Code.TIME_OUT_OF_RANGE),
    ],
)
def test_an_event_that_can_not_be_booked_is_kept(fields: dict[str, Any], code: Code) -> None:
    ledger = Ledger(budget(tokens=10))
    outcome = ledger.one(record(**fields))
    assert isinstance(outcome, Quarantined)
    assert outcome.code == code
    assert [kept.code for kept in ledger.books.writes.kept] == [code]
    assert not ledger.books.writes.events


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"occurred_at": NOW - timedelta(days=35)}, {"occurred_at": NOW + timedelta(minutes=5)},
        {"model": "unknown"},
    ],
)  # fmt: skip
def test_an_event_is_booked_whatever_the_limit(fields: dict[str, Any]) -> None:
    ledger = Ledger(budget(tokens=10))
    outcome = ledger.one(record(**fields))
    assert isinstance(outcome, Recorded)
    assert outcome.event.posted_at == fields.get("occurred_at", NOW)
    assert balance(ledger) == [(1_000, 0, 0)]


@pytest.mark.parametrize("state", [RunState.CLOSED, RunState.CANCELLED])
def test_a_run_that_ended_still_books(state: RunState) -> None:
    ledger = Ledger()
    run = ledger.opened()
    number = ledger.granted(run_id=run.run_id).reservation_id
    ledger.one(sealed(EndRun("end", b"", run.run_id, state)))
    outcomes = ledger.decide(settle(number), record(run_id=run.run_id))
    assert [type(outcome) for outcome in outcomes] == [Settled, Recorded]
    assert balance(ledger) == [(2_000, 0, 0)]


# What is set up


@pytest.mark.parametrize(
    ("command", "code", "field"),
    [
        (open_run(shares=(Share("a", 1),)), Code.INFEASIBLE_ALLOCATION, "limits.tokens"),
        (open_run(limits=Limits(99), shares=(Share("a", 1, 100),)), Code.INFEASIBLE_ALLOCATION, "allocation"),
        (sealed(EndRun("e", b"", 7, RunState.CLOSED)), Code.RUN_NOT_FOUND, "run_id"),
        (sealed(ArchiveBudget("a", b"", 7)), Code.BUDGET_NOT_FOUND, "budget_id"),
        (BUDGET, Code.BUDGET_EXISTS, "name"),
    ],
)
def test_what_can_not_be_set_up_is_refused(command: Any, code: Code, field: str) -> None:
    outcome = refused(Ledger(budget(tokens=1)), command)
    assert (outcome.code, outcome.field) == (code, field)


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        ("closed", "cancelled", "cancelled"), ("cancelled", "closed", "cancelled"),
        ("closed", "closed", "closed"), ("cancelled", "cancelled", "cancelled"),
    ],
)  # fmt: skip
def test_a_run_ends_once_but_a_closed_one_can_be_cancelled(first: str, second: str, state: str) -> None:
    ledger = Ledger()
    run = ledger.opened()
    for key, wanted in (("1", first), ("2", second)):
        ledger.one(sealed(EndRun(key, b"", run.run_id, RunState(wanted))))
    assert (run.state, run.ended_at) == (state, NOW)


def test_an_archived_budget_matches_no_more_and_frees_its_name() -> None:
    ledger = Ledger(budget(tokens=0))
    denied(ledger, key="before")
    assert isinstance(ledger.one(sealed(ArchiveBudget("a", b"", 90))), BudgetAnswer)
    assert ledger.granted().path == []
    assert isinstance(ledger.one(BUDGET), BudgetAnswer)


def test_a_replaced_budget_gives_way_at_once_and_what_it_holds_settles_there() -> None:
    ledger = Ledger(budget(tokens=2_000))
    held = ledger.granted()
    limits = Limits(tokens=1_600)
    replacing = sealed(ReplaceBudget("p", b"", "cap", (), limits, Window.TOTAL, actor="key:b", replaced_id=90))
    answer = ledger.one(replacing)
    assert isinstance(answer, BudgetAnswer)
    assert answer.budget.window is Window.TOTAL
    assert [each.budget_id for each in ledger.books.config.budgets] == [answer.budget.budget_id]
    # Of 1,500 that a call holds, the new account has room for one: what the old one held is not on it.
    ledger.granted(key="r2")
    assert isinstance(ledger.one(reserve(key="r3")), Denied)
    ledger.one(settle(held.reservation_id))
    assert balance(ledger) == [(1_000, 0, 0), (0, 1_500, 1)]
    [entry] = ledger.books.writes.audit
    assert (entry.action, entry.target, entry.actor) == ("budget.replace", str(answer.budget.budget_id), "key:b")
    assert (entry.before["window"], entry.after["window"]) == ("day", "total")
    assert entry.before["budget_id"] == "90"
    again = ledger.one(replacing)
    assert isinstance(again, BudgetAnswer)
    assert (again.budget, again.replayed) == (answer.budget, True)


def test_ids_rise_in_the_order_of_decisions() -> None:
    ledger = Ledger()
    first, event, run = ledger.decide(reserve(key="1"), record(), open_run())
    assert isinstance(first, Granted)
    assert isinstance(event, Recorded)
    assert isinstance(run, RunAnswer)
    later = ledger.at(NOW).granted(key="2").reservation_id
    ids = [first.reservation.reservation_id, event.event.event_id, run.run.run_id, later]
    assert ids == sorted(set(ids))


def test_a_sweep_takes_no_key() -> None:
    outcomes = Ledger().decide(ExpireDue(), ExpireDue())
    assert outcomes == [Swept(), Swept()]
