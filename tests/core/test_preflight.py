"""Preflight: calls that are decided together are decided as they would be one after the other, and cost as little."""

import json
import time
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from tests.core.given import Ledger, balance, budget, record, reserve
from token_ledger.core.admission import reserve as decide_reserve
from token_ledger.core.allocation import Share
from token_ledger.core.books import Books
from token_ledger.core.budget import Budget, Counts, Enforcement, Limits
from token_ledger.core.commands import Command, Preflight
from token_ledger.core.outcomes import Denied, Granted, Outcome, PreflightAnswer
from token_ledger.core.trigger import Downgrade, Mode, Trigger, TriggerKind
from token_ledger.core.usage import Usage

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


def one_by_one(books: Books, command: Preflight) -> tuple[list[int], Outcome | None, list[Any]]:
    """Decide every call for itself, as preflight once did: how many fit, what stops the first, what is warned of."""
    trial = books.scratch()
    fits: list[int] = []
    first: Outcome | None = None
    warnings: list[Any] = []
    for call, count in command.calls:
        outcomes: list[Outcome] = []
        while len(outcomes) < count and (not outcomes or isinstance(outcomes[-1], Granted)):
            outcomes.append(decide_reserve(trial, call))
        fits.append(sum(isinstance(outcome, Granted) for outcome in outcomes))
        first = first or next((outcome for outcome in outcomes if not isinstance(outcome, Granted)), None)
        told = [o.reservation.warnings for o in outcomes if isinstance(o, Granted) and o.reservation.warnings]
        warnings = warnings or (json.loads(told[0]) if told else [])
    return fits, first, warnings


def said(outcome: Any) -> Any:
    """What an answer says; ids that a trial gives to what is never made mean nothing."""
    if isinstance(outcome, Denied):
        denial = outcome.denial
        return denial.code, denial.facts, [said(refusal) for refusal in denial.refusals], denial.fits_output_tokens
    return {**outcome, "account_id": None} if isinstance(outcome, dict) else outcome


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


def seconds(ledger: Ledger, *commands: Command) -> float:
    """How long the processor works on a batch."""
    started = time.process_time()
    outcomes = ledger.decide(*commands)
    taken = time.process_time() - started
    assert all(isinstance(each, PreflightAnswer) and each.fits == each.asked for each in outcomes)
    return taken


def test_the_largest_preflight_takes_no_longer_than_a_few_calls() -> None:
    ledger = Ledger(*(budget(budget_id=n, name=f"b{n}", tokens=10**15, selector=(("user", "*"),)) for n in range(4)))
    largest = Preflight(tuple((reserve(key="", agent_type=f"a{n}"), 1_000) for n in range(64)))
    assert seconds(ledger, largest) < 0.1  # 2 ms; one after the other they took 450


def test_preflights_of_a_batch_do_not_pay_for_the_accounts_of_all_others() -> None:
    ledger = Ledger(*(budget(budget_id=n, name=f"b{n}", tokens=10**15, selector=(("user", "*"),)) for n in range(4)))
    for number in range(256):
        ledger.granted(key=f"h{number}", user=f"u{number}")
    preflights = [Preflight(((reserve(key="", user=f"u{number}"), 1),)) for number in range(256)]
    assert seconds(ledger, *preflights) < 0.2  # 16 ms; with a copy of every account for each they took 760
