"""Preflight: deciding calls together gives the same answer as one after the other, in hardly more steps than one."""

import gc
import sys
from dataclasses import replace
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from tests.core.given import Ledger, balance, budget, record, reserve
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command, Preflight
from token_ledger.core.batch.outcomes import Denied, Granted, Outcome, PreflightAnswer
from token_ledger.core.decisions.admission import reserve as decide_reserve
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import Budget, Counts, Enforcement, Limits
from token_ledger.core.model.refusal import Refusal
from token_ledger.core.model.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.model.usage import Usage

STEPS = tuple(Downgrade("acme", "large", "acme", "small", able, 1_000_000) for able in ((), ("json",)))

limits = st.builds(
    Limits,
    st.none() | st.integers(0, 60_000),
    st.none() | st.integers(0, 300_000_000),
    st.none() | st.integers(0, 50),
)
budgets = st.lists(
    st.tuples(
        st.sampled_from(
            (
                (), (("user", "*"),), (("model", "*"),), (("model", "small"),), (("model", "large"),),
                (("agent_type", "planner"),),
            )
        ),
        limits, st.sampled_from(Enforcement), st.sampled_from(Counts),
    ), max_size=5,
)  # fmt: skip
triggers = st.lists(
    st.builds(
        Trigger,
        st.just(7), st.sampled_from((TriggerKind.HIGH_COST, TriggerKind.HIGH_COST, TriggerKind.HIGH_TOKEN_USAGE)),
        st.sampled_from((1, 50, 80, 100)), st.sampled_from((*Mode, Mode.APPLY)), st.sampled_from((None, None, 1_200)),
        st.sampled_from((None, None, 6_000_000)), st.permutations(STEPS).map(lambda steps: tuple(steps[:1])),
    ), max_size=3,
)  # fmt: skip
calls = st.builds(
    lambda agent_type, model, input_tokens, cached, output, **fields: reserve(
        agent_type=agent_type, model=model, input_tokens=input_tokens, cached_input_tokens=min(cached, input_tokens),
        max_output_tokens=output, **fields,
    ),
    st.sampled_from(("planner", "writer")), st.sampled_from(("large",) * 5 + ("small", "unheard-of")),
    st.sampled_from((1_000, 1_000, 1, 0)), st.sampled_from((0, 400)), st.sampled_from((500, 500, 0)),
    run_id=st.sampled_from((None, None, "run", "part")), requires=st.sampled_from(((), ("json",))),
    apply=st.sampled_from(((), ("model_downgrade",))),
)  # fmt: skip
plans = st.lists(st.tuples(calls, st.sampled_from((1, 2, 3, 40, 90))), min_size=1, max_size=4)


def one_by_one(books: Books, command: Preflight) -> tuple[list[int], Outcome | None, tuple[Refusal, ...]]:
    """Decide every call on its own: how many fit, what stops the first that does not, and the warnings."""
    trial = books.scratch()
    fits: list[int] = []
    first: Outcome | None = None
    warnings: tuple[Refusal, ...] = ()
    for call, count in command.calls:
        outcomes: list[Outcome] = []
        while len(outcomes) < count and (not outcomes or isinstance(outcomes[-1], Granted)):
            outcomes.append(decide_reserve(trial, call))
        fits.append(sum(isinstance(outcome, Granted) for outcome in outcomes))
        first = first or next((outcome for outcome in outcomes if not isinstance(outcome, Granted)), None)
        told = [o.reservation.warnings for o in outcomes if isinstance(o, Granted) and o.reservation.warnings]
        warnings = warnings or (told[0] if told else ())
    return fits, first, warnings


def said(outcome: Any) -> Any:
    """What an answer says, without account ids, which mean nothing if the account is never made."""
    if isinstance(outcome, Denied):
        denial = outcome.denial
        return denial.code, denial.facts, [said(refusal) for refusal in denial.refusals], denial.fits_output_tokens
    return replace(outcome, account_id=0) if isinstance(outcome, Refusal) else outcome


@given(budgets, triggers, limits, limits, plans, st.integers(0, 3), st.integers(0, 20_000))
@example(
    [
        ((("model", "*"),), Limits(None, 75_000_000), Enforcement.SHADOW, Counts.ALL),
        ((), Limits(None, 60_000_000), Enforcement.HARD, Counts.ALL),
    ],
    [Trigger(7, TriggerKind.HIGH_COST, 50, Mode.APPLY, downgrades=STEPS)],
    Limits(),
    Limits(),
    [(reserve(run_id=None), 90)],
    0,
    0,
)
@example(
    [
        ((("model", "*"),), Limits(None, 75_000_000), Enforcement.SHADOW, Counts.ALL),
        ((), Limits(None, 60_000_000), Enforcement.HARD, Counts.UNCACHED),
        ((), Limits(20_000, None), Enforcement.SOFT, Counts.UNCACHED),
    ],
    [Trigger(7, TriggerKind.HIGH_COST, 50, Mode.APPLY, downgrades=STEPS)],
    Limits(), Limits(), [(reserve(run_id=None, cached_input_tokens=400), 90)], 0, 0,
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_calls_that_are_alike_are_decided_as_one_after_the_other(
    budgets: list[Any], triggers: list[Trigger], whole: Limits, part: Limits,
    plan: list[tuple[Any, int]], before: int, used: int,
) -> None:  # fmt: skip
    ledger = Ledger(*map(numbered, range(len(budgets)), budgets), triggers=tuple(triggers))
    shares = (Share("planner", 1, 0),) if whole.tokens else ()
    run = ledger.opened(limits=whole, shares=shares)
    parts = {"run": run.run_id, "part": ledger.opened(key="part", limits=part, parent_run_id=run.run_id).run_id}
    for number in range(before):
        ledger.one(reserve(key=f"h{number}", run_id=run.run_id if number else None))
    ledger.one(record(usage=Usage(used, 0)))

    def planned(call: Any) -> Any:
        return reserve(**{name: getattr(call, name) for name in FIELDS}, **placed(parts.get(call.run_id)))

    command = Preflight(tuple((planned(call), count) for call, count in plan))
    expected, known = one_by_one(ledger.books, command), balance(ledger)
    answer = ledger.one(command)
    assert isinstance(answer, PreflightAnswer)
    event(f"{sum(answer.fits)} fit" if sum(answer.fits) < 3 else "several fit")
    event(f"stopped: {answer.refusal is not None}, warned: {bool(answer.warnings)}")
    fits, first, warnings = expected
    assert answer.fits == tuple(fits)
    assert said(answer.refusal) == said(first)
    assert list(map(said, answer.warnings)) == list(map(said, warnings))
    assert balance(ledger) == known


FIELDS = (
    "agent_type", "model", "input_tokens", "cached_input_tokens", "max_output_tokens", "requires", "apply",
)  # fmt: skip


def placed(run_id: int | None) -> dict[str, Any]:
    return {"key": ""} if run_id is None else {"key": "", "run_id": run_id}


def numbered(number: int, parts: tuple[Any, Limits, Enforcement, Counts]) -> Budget:
    selector, limit, enforcement, counts = parts
    tokens, nanos, calls = limit.amounts
    return budget(
        tokens=tokens, nanos=nanos, calls=calls, budget_id=80 + number, name=f"b{number}", selector=selector,
        enforcement=enforcement, counts=counts,
    )  # fmt: skip


def steps(ledger: Ledger, *commands: Command) -> int:
    """How many functions are called to decide a batch, those that Python is made of included.

    What is computed once in a process is computed by whoever asks first: so ask once before counting.
    """
    count = 0

    def called(_frame: object, happened: str, _of: object) -> None:
        nonlocal count
        count += happened in ("call", "c_call")

    watching = sys.getprofile()
    gc.disable()  # a collection calls functions too, and comes when it likes
    sys.setprofile(called)
    try:
        outcomes = ledger.decide(*commands)
    finally:
        sys.setprofile(watching)
        gc.enable()
    assert all(isinstance(each, PreflightAnswer) and each.fits == each.asked for each in outcomes)
    return count


def per_user(users: int) -> Ledger:
    """Four budgets with an account for each of some users."""
    ledger = Ledger(*(budget(budget_id=n, name=f"b{n}", tokens=10**15, selector=(("user", "*"),)) for n in range(4)))
    for number in range(users):
        ledger.granted(key=f"h{number}", user=f"u{number}")
    return ledger


def test_the_largest_preflight_takes_no_more_steps_than_a_few_calls() -> None:
    kinds = [reserve(key="", agent_type=f"a{n}", user="u0") for n in range(64)]
    few, many = (Preflight(tuple((kind, count) for kind in kinds)) for count in (2, 1_000))
    _, *counted = (steps(per_user(1), plan) for plan in (few, few, many))
    assert counted[0] == counted[1]


def test_preflights_of_a_batch_do_not_pay_for_the_accounts_of_all_others() -> None:
    preflights = [Preflight(((reserve(key="", user=f"u{number}"), 1),)) for number in range(8)]
    _, *counted = (steps(per_user(users), *preflights) for users in (8, 8, 256))
    assert counted[0] == counted[1]
