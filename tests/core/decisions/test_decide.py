"""What each verb answers: refusals in the order of the checks, one error per row, and what is booked."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.core import given
from token_ledger.core.batch import outcomes
from token_ledger.core.batch.administration import ArchiveBudget, ReplaceBudget
from token_ledger.core.batch.commands import EndRun, ExpireDue, Lease, Preflight
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Counts, Enforcement, Limits
from token_ledger.core.model.run import RunState
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT, Window

NANOS = 1_000 * 2_500 + 500 * 10_000
"""What the default reserve holds."""


def denied(ledger: given.Ledger, **fields: Any) -> outcomes.Denied:
    outcome = ledger.one(given.reserve(**fields))
    assert isinstance(outcome, outcomes.Denied), outcome
    assert not ledger.books.writes.new_reservations
    assert all(a.held_tokens == a.held_nanos == a.held_calls == 0 for a in ledger.books.writes.new_accounts)
    return outcome


# Reserve


@pytest.mark.parametrize(
    ("state", "fields", "code", "field"),
    [
        # Each row has all later errors too: the first check that fails gives the answer.
        ("open", {"run_id": 5, "model": "unknown"}, outcomes.Code.RUN_NOT_FOUND, "run_id"),
        ("closed", {"model": "unknown"}, outcomes.Code.RUN_NOT_OPEN, "run_id"),
        ("cancelled", {"model": "unknown"}, outcomes.Code.RUN_NOT_OPEN, "run_id"),
        ("open", {"model": "unknown"}, outcomes.Code.UNKNOWN_MODEL, "model"),
        ("open", {"provider": "unknown"}, outcomes.Code.UNKNOWN_MODEL, "model"),
        ("open", {"model": "later"}, outcomes.Code.UNKNOWN_MODEL, "model"),
    ],
)
def test_a_reserve_is_refused(state: str, fields: dict[str, Any], code: outcomes.Code, field: str) -> None:
    ledger = given.Ledger(given.budget(tokens=0))
    run = ledger.opened(limits=Limits(tokens=10), shares=(Share("writer", 1),), strict=True)
    run.state = RunState(state)
    outcome = given.refused(ledger, given.reserve(**({"run_id": run.run_id} | fields)))
    assert (outcome.code, outcome.field) == (code, field)


def test_a_strict_run_denies_agent_types_without_a_share_before_any_budget() -> None:
    ledger = given.Ledger(given.budget(tokens=0))
    run = ledger.opened(limits=Limits(tokens=10), shares=(Share("writer", 1),), strict=True)
    denial = denied(ledger, run_id=run.run_id).denial
    assert (denial.code, denial.refusals, denial.fits_output_tokens) == (outcomes.Code.NOT_ALLOCATED, (), None)


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
    denial = denied(given.Ledger(given.budget(**limits))).denial
    (refusal,) = denial.refusals
    assert (denial.code, refusal.unit, denial.fits_output_tokens) == (outcomes.Code.BUDGET_EXCEEDED, unit, fits)
    if fits is not None:
        assert isinstance(
            given.Ledger(given.budget(**limits)).one(given.reserve(max_output_tokens=fits)), outcomes.Granted
        )
        denied(given.Ledger(given.budget(**limits)), max_output_tokens=fits + 1)


def test_a_call_that_fits_exactly_is_granted() -> None:
    ledger = given.Ledger(given.budget(tokens=1_500, nanos=NANOS, calls=1))
    reservation = ledger.granted()
    assert (reservation.held_tokens, reservation.held_nanos) == (1_500, NANOS)
    assert reservation.expires_at == given.NOW + timedelta(seconds=300)
    assert reservation.warnings == ()


def test_one_account_without_room_denies_on_all() -> None:
    wide, narrow = given.budget(tokens=10**6), given.budget(tokens=10, budget_id=91, name="narrow")
    assert [refusal.budget for refusal in denied(given.Ledger(wide, narrow)).denial.refusals] == ["narrow"]


@pytest.mark.parametrize("enforcement", [Enforcement.SOFT, Enforcement.SHADOW])
def test_a_budget_that_is_not_hard_warns_and_holds(enforcement: Enforcement) -> None:
    ledger = given.Ledger(given.budget(tokens=10, enforcement=enforcement))
    assert [refusal.unit for refusal in ledger.granted().warnings] == ["tokens"]
    (account,) = ledger.books.writes.new_accounts
    assert account.held_tokens == 1_500
    assert [denial.enforced for denial in ledger.books.writes.denials] == [False]


@pytest.mark.parametrize(("counts", "granted"), [(Counts.UNCACHED, True), (Counts.ALL, False)])
def test_a_budget_of_uncached_tokens_leaves_out_expected_cache_reads(counts: Counts, granted: bool) -> None:
    outcome = given.Ledger(given.budget(tokens=600, counts=counts)).one(given.reserve(cached_input_tokens=900))
    assert isinstance(outcome, outcomes.Granted if granted else outcomes.Denied)


def test_a_hard_refusal_denies_whatever_the_soft_ones_say() -> None:
    soft = given.budget(tokens=10, enforcement=Enforcement.SOFT)
    refusals = denied(given.Ledger(soft, given.budget(tokens=20, budget_id=91, name="hard"))).denial.refusals
    assert [(refusal.budget, refusal.enforcement) for refusal in refusals] == [("cap", "soft"), ("hard", "hard")]


def test_a_run_an_allocation_and_a_budget_all_hold() -> None:
    ledger = given.Ledger(given.budget(tokens=10**6))
    run = ledger.opened(limits=Limits(tokens=10_000), shares=(Share("planner", 1), Share("writer", 1)))
    path = ledger.granted(run_id=run.run_id).path
    held = [(ledger.books.account(n).budget, ledger.books.account(n).held_tokens) for n in path]
    assert held == [("run", 1_500), ("allocation", 1_500), ("cap", 1_500)]
    other = ledger.granted(run_id=run.run_id, agent_type="reviewer", key="r2").path
    assert [ledger.books.account(n).budget for n in other] == ["run", "cap"]


@pytest.mark.parametrize(("selector", "window"), [((), Window.RUN), ((("run", "*"),), Window.DAY)])
def test_sub_runs_share_what_a_budget_gives_each_run(selector: tuple[tuple[str, str], ...], window: Window) -> None:
    ledger = given.Ledger(given.budget(tokens=5_000, selector=selector, window=window))
    run = ledger.opened()
    part = ledger.opened(key="part", parent_run_id=run.run_id, user=None, cost_center=None)
    own = ledger.granted(run_id=run.run_id).path
    inner = ledger.granted(run_id=part.run_id, key="inner")
    caps = [n for n in inner.path if ledger.books.account(n).budget == "cap"]
    assert [n in own for n in caps] == [True, False]
    assert [ledger.books.account(n).held_tokens for n in caps] == [3_000, 1_500]
    planned = Preflight(((given.reserve(run_id=part.run_id), 3),))
    preflight = ledger.one(planned)
    assert isinstance(preflight, outcomes.PreflightAnswer)
    assert preflight.fits == (1,)
    ledger.granted(run_id=part.run_id, key="last")
    for number, run_id in enumerate((run.run_id, part.run_id)):
        denied = ledger.one(given.reserve(run_id=run_id, key=f"more {number}"))
        assert isinstance(denied, outcomes.Denied)
        assert [refusal.account_id for refusal in denied.denial.refusals] == caps[:1]
    ledger.one(given.settle(inner.reservation_id, Usage(900, 100)))
    assert [ledger.books.account(n).settled_tokens for n in caps] == [1_000, 1_000]


def _lease(calls: int) -> Lease:
    one = given.reserve()
    return given.sealed(Lease(**{field.name: getattr(one, field.name) for field in fields(one)}, calls=calls))


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ({"tokens": 0}, 10),
        ({"tokens": 1_499}, 10),
        ({"tokens": 1_500}, 9),
        ({"tokens": 14_999}, 1),
        ({"nanos": 3 * NANOS}, 7),
        ({"calls": 4}, 6),
        ({"tokens": 9_000, "calls": 2}, 8),  # the tokens are named, and the calls are fewer
        ({"tokens": 4_500, "nanos": NANOS, "calls": 8}, 9),
    ],
)
def test_a_shadow_account_refuses_the_calls_of_a_lease_that_do_not_fit(limits: dict[str, int], refused: int) -> None:
    ledger = given.Ledger(given.budget(**limits, enforcement=Enforcement.SHADOW))
    ledger.one(_lease(10))
    [denial] = ledger.books.writes.denials
    assert (denial.calls, [refusal.calls for refusal in denial.refusals]) == (10, [refused])


def test_after_an_overrun_an_account_refuses_calls_that_take_nothing_of_the_unit() -> None:
    ledger = given.Ledger(given.budget(tokens=1_000, calls=50, enforcement=Enforcement.SHADOW))
    ledger.one(given.record())
    ledger.one(given.record(key="overrun"))
    for calls in (1, 10):
        one = given.reserve(input_tokens=0, max_output_tokens=0)
        lease = Lease(**{field.name: getattr(one, field.name) for field in fields(one)}, calls=calls)
        ledger.one(given.sealed(replace(lease, key=str(calls))))
    assert [[refusal.calls for refusal in denial.refusals] for denial in ledger.books.writes.denials] == [[1], [10]]


def test_only_the_calls_that_a_lease_is_given_for_are_refused() -> None:
    hard, shadow = (
        given.budget(tokens=15_000),
        given.budget(budget_id=91, name="look", calls=1, enforcement=Enforcement.SHADOW),
    )
    ledger = given.Ledger(hard, shadow)
    ledger.one(_lease(10))
    [denial] = ledger.books.writes.denials
    assert (denial.enforced, denial.calls, [refusal.calls for refusal in denial.refusals]) == (False, 5, [4])


def test_of_a_lease_that_is_denied_one_call_is_noted() -> None:
    ledger = given.Ledger(
        given.budget(tokens=1_000), given.budget(budget_id=91, name="look", calls=0, enforcement=Enforcement.SHADOW)
    )
    ledger.one(_lease(10))
    [denial] = ledger.books.writes.denials
    assert (denial.enforced, denial.calls, [refusal.calls for refusal in denial.refusals]) == (True, 1, [1, 1])


# Settle and release


@pytest.mark.parametrize("command", [given.settle(7), given.release(7)])
def test_what_ends_no_hold_is_refused(command: Any) -> None:
    assert given.refused(given.Ledger(), command).code is outcomes.Code.RESERVATION_NOT_FOUND


@pytest.mark.parametrize("end", ["settled", "expired"])
def test_a_release_of_a_hold_that_ended_is_refused(end: str) -> None:
    ledger, number = ended(end)
    outcome = given.refused(ledger, given.release(number, key="again"))
    assert (outcome.code, outcome.extra) == (outcomes.Code.RESERVATION_NOT_OPEN, {"state": end})


@pytest.mark.parametrize("end", ["settled", "released"])
def test_a_settle_of_a_hold_that_ended_is_kept_for_review(end: str) -> None:
    ledger, number = ended(end)
    events = len(ledger.books.writes.events)
    outcome = ledger.one(given.settle(number, key="again"))
    assert isinstance(outcome, outcomes.Quarantined)
    assert outcome.code == outcomes.Code.RESERVATION_NOT_OPEN
    assert len(ledger.books.writes.events) == events


def ended(how: str) -> tuple[given.Ledger, int]:
    ledger = given.Ledger(given.budget(tokens=10**6))
    number = ledger.granted().reservation_id
    if how == "expired":
        ledger.at(given.NOW + timedelta(seconds=300)).decide(ExpireDue())
        return ledger, number
    ledger.one(given.settle(number) if how == "settled" else given.release(number))
    return ledger, number


def test_release_gives_everything_back() -> None:
    assert given.balance(ended("released")[0]) == [(0, 0, 0)]


def test_a_hold_keeps_the_reason_of_its_first_release() -> None:
    ledger = given.Ledger()
    first, second = ledger.granted(key="1"), ledger.granted(key="2")
    reasons = enumerate(("no connection", "late"))
    releases = [given.release(first.reservation_id, key=f"{n}", reason=reason) for n, reason in reasons]
    ledger.decide(*releases, given.release(second.reservation_id))
    assert (first.end_reason, second.end_reason) == ("no connection", None)


def test_expiry_gives_everything_back() -> None:
    assert given.balance(ended("expired")[0]) == [(0, 0, 0)]


def test_a_hold_expires_at_its_instant_and_not_before() -> None:
    ledger = given.Ledger()
    reservation = ledger.granted()
    ledger.at(reservation.expires_at - timedelta(microseconds=1)).decide(ExpireDue())
    assert reservation.state == "held"
    ledger.at(reservation.expires_at).decide(ExpireDue())
    assert reservation.state == "expired"


def test_a_late_settle_is_booked_in_full() -> None:
    ledger, number = ended("expired")
    outcome = ledger.one(given.settle(number))
    assert isinstance(outcome, outcomes.Settled)
    assert (outcome.event.late, outcome.event.overrun) == (True, False)
    assert given.balance(ledger) == [(1_000, 0, 0)]


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
    ledger = given.Ledger(given.budget(tokens=1_500))
    outcome = ledger.one(given.settle(ledger.granted().reservation_id, usage, **fields))
    assert isinstance(outcome, outcomes.Settled)
    assert outcome.event.overrun is overrun
    assert given.balance(ledger) == [(usage.total_tokens, 0, 0)]


def test_fewer_cache_reads_than_expected_are_an_overrun() -> None:
    ledger = given.Ledger(given.budget(tokens=10**6, counts=Counts.UNCACHED))
    number = ledger.granted(cached_input_tokens=900).reservation_id
    outcome = ledger.one(given.settle(number, Usage(1_000, 0), model="small"))
    assert isinstance(outcome, outcomes.Settled)
    assert outcome.event.overrun, "the account of uncached tokens held 600 and is charged 1,000"


@pytest.mark.parametrize(
    ("fields", "cost", "unpriced"),
    [
        ({}, 900 * 2_500 + 100 * 10_000, False), ({"model": "small"}, 900 * 100 + 100 * 500, False),
        *(
            (names, 900 * 2_500 + 100 * 10_000, True)
            for names in ({"model": "unknown"}, {"provider": "unknown"}, {"model": "later"})
        ),
    ],
)  # fmt: skip
def test_a_settle_is_priced_by_the_model_that_ran_or_as_its_hold(
    fields: dict[str, Any], cost: int, unpriced: bool
) -> None:
    ledger = given.Ledger()
    outcome = ledger.one(given.settle(ledger.granted().reservation_id, **fields))
    assert isinstance(outcome, outcomes.Settled)
    assert (outcome.event.cost_nanos, outcome.event.unpriced) == (cost, unpriced)


def test_contradictory_usage_is_clamped_and_flagged() -> None:
    ledger = given.Ledger()
    outcome = ledger.one(given.settle(ledger.granted().reservation_id, Usage(100, 10, 150)))
    assert isinstance(outcome, outcomes.Settled)
    assert (outcome.event.clamped, outcome.event.usage.cache_read_tokens) == (True, 100)


@pytest.mark.parametrize(("offset", "booked"), [(-99, 0), (0, 0), (30, 30), (60, 60), (9_999, 60), (None, 60)])
@pytest.mark.parametrize("lease", [False, True])
def test_a_call_is_posted_when_it_was_reserved_and_one_on_a_lease_within_its_life(
    offset: int | None, booked: int, lease: bool
) -> None:
    ledger = given.Ledger()
    number = ledger.granted().reservation_id
    if lease:
        granted = ledger.one(given.lease(calls=1, key="lease"))
        assert isinstance(granted, outcomes.Granted)
        number = granted.reservation.reservation_id
    occurred_at = None if offset is None else given.NOW + timedelta(seconds=offset)
    later = given.NOW + timedelta(seconds=60)
    outcome = ledger.at(later).one(given.settle(number, occurred_at=occurred_at))
    assert isinstance(outcome, outcomes.Settled)
    assert outcome.event.posted_at == given.NOW + timedelta(seconds=booked if lease else 0)
    assert outcome.event.held_at == (given.NOW if outcome.event.posted_at > given.NOW else None)
    assert outcome.event.occurred_at == (occurred_at or later)


@pytest.mark.parametrize(
    ("claimed", "kept"),
    [
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), FIRST_INSTANT),
        (datetime(1999, 12, 31, tzinfo=UTC), FIRST_INSTANT),
        (datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (datetime(2999, 12, 31, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), LAST_INSTANT),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_a_settle_keeps_what_its_caller_said_and_is_booked_whatever_that_is(
    claimed: datetime, kept: datetime, part: bool
) -> None:
    ledger = given.Ledger()
    command = given.settle(ledger.granted().reservation_id, occurred_at=claimed, part=part)
    first, again = ledger.at(given.NOW + timedelta(seconds=60)).decide(command, command)
    assert isinstance(first, outcomes.Settled)
    assert (first.event.occurred_at, first.event.posted_at) == (kept, given.NOW)
    assert isinstance(again, outcomes.Settled)
    assert again.event is first.event


def test_a_settle_is_priced_when_it_is_posted_and_not_when_its_caller_says() -> None:
    ledger = given.Ledger()
    reservation = ledger.granted()
    claimed = given.NOW + timedelta(days=2)
    outcome = ledger.one(given.settle(reservation.reservation_id, model="later", occurred_at=claimed))
    assert isinstance(outcome, outcomes.Settled)
    assert (outcome.event.occurred_at, outcome.event.unpriced) == (claimed, True)


# Events without a hold


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"run_id": 7, "occurred_at": given.NOW + timedelta(days=99)}, outcomes.Code.RUN_NOT_FOUND),
        ({"occurred_at": given.NOW + timedelta(minutes=5, microseconds=1)}, outcomes.Code.TIME_OUT_OF_RANGE),
        ({"occurred_at": given.NOW - timedelta(days=35, microseconds=1)}, outcomes.Code.TIME_OUT_OF_RANGE),
    ],
)
def test_an_event_that_can_not_be_booked_is_kept(fields: dict[str, Any], code: outcomes.Code) -> None:
    ledger = given.Ledger(given.budget(tokens=10))
    outcome = ledger.one(given.record(**fields))
    assert isinstance(outcome, outcomes.Quarantined)
    assert outcome.code == code
    assert [kept.code for kept in ledger.books.writes.kept] == [code]
    assert not ledger.books.writes.events


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"occurred_at": given.NOW - timedelta(days=35)}, {"occurred_at": given.NOW + timedelta(minutes=5)},
        {"model": "unknown"},
    ],
)  # fmt: skip
def test_an_event_is_booked_whatever_the_limit(fields: dict[str, Any]) -> None:
    ledger = given.Ledger(given.budget(tokens=10))
    outcome = ledger.one(given.record(**fields))
    assert isinstance(outcome, outcomes.Recorded)
    assert outcome.event.occurred_at == fields.get("occurred_at", given.NOW)
    assert outcome.event.posted_at == min(outcome.event.occurred_at, given.NOW)
    assert given.balance(ledger) == [(1_000, 0, 0)]


@pytest.mark.parametrize("state", [RunState.CLOSED, RunState.CANCELLED])
def test_a_run_that_ended_still_books(state: RunState) -> None:
    ledger = given.Ledger()
    run = ledger.opened()
    number = ledger.granted(run_id=run.run_id).reservation_id
    ledger.one(given.sealed(EndRun("end", b"", run.run_id, state)))
    answers = ledger.decide(given.settle(number), given.record(run_id=run.run_id))
    assert [type(outcome) for outcome in answers] == [outcomes.Settled, outcomes.Recorded]
    assert given.balance(ledger) == [(2_000, 0, 0)]


# What is set up


@pytest.mark.parametrize(
    ("command", "code", "field"),
    [
        (given.open_run(shares=(Share("a", 1),)), outcomes.Code.INFEASIBLE_ALLOCATION, "limits.tokens"),
        (
            given.open_run(limits=Limits(99), shares=(Share("a", 1, 100),)),
            outcomes.Code.INFEASIBLE_ALLOCATION,
            "shares",
        ),
        (given.sealed(EndRun("e", b"", 7, RunState.CLOSED)), outcomes.Code.RUN_NOT_FOUND, "run_id"),
        (given.sealed(ArchiveBudget("a", b"", 7)), outcomes.Code.BUDGET_NOT_FOUND, "budget_id"),
        (given.BUDGET, outcomes.Code.BUDGET_EXISTS, "name"),
    ],
)
def test_what_can_not_be_set_up_is_refused(command: Any, code: outcomes.Code, field: str) -> None:
    outcome = given.refused(given.Ledger(given.budget(tokens=1)), command)
    assert (outcome.code, outcome.field) == (code, field)


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        ("closed", "cancelled", "cancelled"), ("cancelled", "closed", "cancelled"),
        ("closed", "closed", "closed"), ("cancelled", "cancelled", "cancelled"),
    ],
)  # fmt: skip
def test_a_run_ends_once_but_a_closed_one_can_be_cancelled(first: str, second: str, state: str) -> None:
    ledger = given.Ledger()
    run = ledger.opened()
    for key, wanted in (("1", first), ("2", second)):
        ledger.one(given.sealed(EndRun(key, b"", run.run_id, RunState(wanted))))
    assert (run.state, run.ended_at) == (state, given.NOW)


def test_an_archived_budget_matches_no_more_and_frees_its_name() -> None:
    ledger = given.Ledger(given.budget(tokens=0))
    denied(ledger, key="before")
    assert isinstance(ledger.one(given.sealed(ArchiveBudget("a", b"", 90))), outcomes.BudgetAnswer)
    assert ledger.granted().path == []
    assert isinstance(ledger.one(given.BUDGET), outcomes.BudgetAnswer)


def test_a_replaced_budget_gives_way_at_once_and_what_it_holds_settles_there() -> None:
    ledger = given.Ledger(given.budget(tokens=2_000))
    held = ledger.granted()
    limits = Limits(tokens=1_600)
    replacing = given.sealed(ReplaceBudget("p", b"", "cap", (), limits, Window.TOTAL, actor="key:b", replaced_id=90))
    answer = ledger.one(replacing)
    assert isinstance(answer, outcomes.BudgetAnswer)
    assert answer.budget.window is Window.TOTAL
    assert [each.budget_id for each in ledger.books.config.budgets] == [answer.budget.budget_id]
    # The new account has room for one call of 1,500: what the old account holds does not count on it.
    ledger.granted(key="r2")
    assert isinstance(ledger.one(given.reserve(key="r3")), outcomes.Denied)
    ledger.one(given.settle(held.reservation_id))
    assert given.balance(ledger) == [(1_000, 0, 0), (0, 1_500, 1)]
    [entry] = ledger.books.writes.audit
    assert (entry.action, entry.target, entry.actor) == ("budget.replace", str(answer.budget.budget_id), "key:b")
    assert (entry.before["window"], entry.after["window"]) == ("day", "total")
    assert entry.before["budget_id"] == "90"
    again = ledger.one(replacing)
    assert isinstance(again, outcomes.BudgetAnswer)
    assert (again.budget, again.replayed) == (answer.budget, True)


def test_ids_rise_in_the_order_of_decisions() -> None:
    ledger = given.Ledger()
    first, event, run = ledger.decide(given.reserve(key="1"), given.record(), given.open_run())
    assert isinstance(first, outcomes.Granted)
    assert isinstance(event, outcomes.Recorded)
    assert isinstance(run, outcomes.RunAnswer)
    later = ledger.at(given.NOW).granted(key="2").reservation_id
    ids = [first.reservation.reservation_id, event.event.event_id, run.run.run_id, later]
    assert ids == sorted(set(ids))


def test_a_sweep_takes_no_key() -> None:
    answers = given.Ledger().decide(ExpireDue(), ExpireDue())
    assert answers == [outcomes.Swept(), outcomes.Swept()]


def test_stops_of_one_batch_under_a_key_that_is_in_use_have_keys_of_their_own() -> None:
    ledger = given.Ledger()
    run_id = ledger.opened().run_id
    stops = [EndRun("used", bytes([number]), run_id, RunState.CLOSED) for number in range(4)]
    assert [type(outcome) for outcome in ledger.decide(*stops)] == [outcomes.RunAnswer] * 4
    keys = [(command.source, command.key) for command, _, _ in ledger.books.writes.keys]
    assert len(keys) == len(set(keys)) == 5
