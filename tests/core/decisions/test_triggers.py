"""Triggers: what counts as evidence, which downgrade is chosen, and when it is applied."""

from typing import Any

import pytest

from tests.core.given import NOW, Ledger, budget, reserve
from token_ledger.core.batch.outcomes import Granted
from token_ledger.core.decisions.triggers import find_evidence
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import Counts, Enforcement, Limits, Unit
from token_ledger.core.model.hold_cost import Size
from token_ledger.core.model.subject import EVERYTHING, Subject
from token_ledger.core.model.trigger import Advice, Downgrade, Evidence, Mode, Trigger, TriggerKind

STEP = Downgrade("acme", "large", "acme", "small", ("json", "tools"), 128_000)
COST = Trigger(1, TriggerKind.HIGH_COST, 80, Mode.APPLY, downgrades=(STEP,))
TOKENS = Trigger(2, TriggerKind.HIGH_TOKEN_USAGE, 80, Mode.APPLY)
LARGE_CALL_NANOS = 1_000 * 2_500 + 500 * 10_000


def trigger(base: Trigger = COST, **fields: Any) -> Trigger:
    values = {name: getattr(base, name) for name in Trigger.__slots__}
    return Trigger(**(values | fields))


def account(name: str, limits: Limits, settled: tuple[int, int] = (0, 0), held: tuple[int, int] = (0, 0)) -> Account:
    made = Account(1, 1, name, EVERYTHING, NOW, None, Enforcement.SHADOW, Counts.ALL, limits)
    made.settle(*settled, 1)
    made.hold(*held, 1)
    return made


@pytest.mark.parametrize(
    ("kind", "accounts", "expected"),
    [
        (TOKENS, [account("a", Limits(100), (80, 0))], ("a", 80, 100)),
        (TOKENS, [account("a", Limits(100), (40, 0), (40, 0))], ("a", 80, 100)),
        (TOKENS, [account("a", Limits(100), (85, 0)), account("b", Limits(10), (9, 0))], ("b", 9, 10)),
        (TOKENS, [account("a", Limits(0))], ("a", 0, 0)),
        (COST, [account("a", Limits(None, 1_000), (0, 800))], ("a", 800, 1_000)),
        (TOKENS, [account("a", Limits(100), (79, 0))], None),
        (TOKENS, [account("a", Limits(None, 100), (0, 100))], None),
        (TOKENS, [account("a", Limits(None, None, 1), (10**9, 10**9))], None),
        (COST, [account("a", Limits(100), (100, 0))], None),
        (COST, [account("a", Limits(None, 1_000), (0, 799))], None),
        (COST, [], None),
    ],
)
def test_evidence_is_the_fullest_account_at_the_percentage(
    kind: Trigger, accounts: list[Account], expected: tuple[str, int, int] | None
) -> None:
    found = find_evidence(kind, accounts, Size(10, 0, 10), 500)
    assert (found and (found.budget, found.used, found.limit)) == expected


@pytest.mark.parametrize(
    ("kind", "fires"),
    [
        (trigger(TOKENS, per_call_tokens=1_500), True), (trigger(TOKENS, per_call_tokens=1_501), False),
        (trigger(COST, per_call_nanos=7_000), True), (trigger(COST, per_call_nanos=7_001), False),
        (trigger(TOKENS, per_call_nanos=1), False), (trigger(COST, per_call_tokens=1), False),
    ],
)  # fmt: skip
def test_a_large_call_is_evidence_by_itself(kind: Trigger, fires: bool) -> None:
    found = find_evidence(kind, [], Size(1_000, 0, 500), 7_000)
    assert (found is not None and found.budget == "call") is fires


@pytest.mark.parametrize(("used", "limit", "percent"), [(799, 1_000, 79), (1_100, 1_000, 110), (0, 0, 100), (0, 5, 0)])
def test_percent_is_whole_and_a_limit_of_zero_is_used_up(used: int, limit: int, percent: int) -> None:
    assert Evidence("a", EVERYTHING, Unit.TOKENS, used, limit).percent == percent


def granted(*triggers: Trigger, **fields: Any) -> tuple[str, tuple[Advice, ...], bool]:
    """Reserve a call that is large by cost and tokens; return its model, the advice, whether it is compressed."""
    large = tuple(trigger(t, per_call_nanos=LARGE_CALL_NANOS, per_call_tokens=1_500) for t in triggers)
    outcome = Ledger(triggers=large).one(reserve(**fields))
    assert isinstance(outcome, Granted)
    reservation = outcome.reservation
    return reservation.facts.model, reservation.advice, reservation.is_compressed


def told(advice: tuple[Advice, ...]) -> list[tuple[bool, str | None]]:
    """Whether each technique is applied, and the model that it would change to."""
    return [(each.applied, each.downgrade.to_model if each.downgrade else None) for each in advice]


@pytest.mark.parametrize(
    ("mode", "switched_on", "model", "applied"),
    [
        (Mode.APPLY, (), "small", True),
        (Mode.OBSERVE, ("model_downgrade",), "small", True),
        (Mode.OBSERVE, (), "large", False),
        (Mode.OBSERVE, ("aggressive_compression",), "large", False),
        (Mode.OFF, (), "large", None),
        (Mode.OFF, ("model_downgrade",), "large", None),
    ],
)
def test_a_downgrade_is_applied_by_the_tenant_or_by_the_call(
    mode: Mode, switched_on: tuple[str, ...], model: str, applied: bool | None
) -> None:
    found, advice, _ = granted(trigger(mode=mode), apply=switched_on)
    assert found == model
    assert told(advice) == ([] if applied is None else [(applied, "small")])


@pytest.mark.parametrize(
    ("mode", "switched_on", "compressed"),
    [
        (Mode.APPLY, (), True), (Mode.OBSERVE, ("aggressive_compression",), True),
        (Mode.OBSERVE, (), False), (Mode.OBSERVE, ("model_downgrade",), False), (Mode.OFF, (), False),
    ],
)  # fmt: skip
def test_compression_is_applied_by_the_tenant_or_by_the_call(mode: Mode, switched_on: Any, compressed: bool) -> None:
    model, _, found = granted(trigger(TOKENS, mode=mode), apply=switched_on)
    assert (model, found) == ("large", compressed)


@pytest.mark.parametrize(
    ("step", "fields", "model"),
    [
        ({}, {}, "small"),
        ({}, {"requires": ("json",)}, "small"),
        ({"context_tokens": 1_500}, {}, "small"),
        ({}, {"requires": ("json", "vision")}, None),
        ({"capabilities": ()}, {"requires": ("json",)}, None),
        ({"context_tokens": 1_499}, {}, None),
        ({"model": "other"}, {}, None),
        ({"provider": "other"}, {}, None),
        ({"to_model": "unknown"}, {}, None),
        ({"to_model": "later"}, {}, None),
        ({"to_model": "large"}, {}, None),
    ],
)
def test_a_downgrade_can_do_what_the_call_needs_and_is_cheaper(
    step: dict[str, Any], fields: dict[str, Any], model: str | None
) -> None:
    values = {name: getattr(STEP, name) for name in Downgrade.__slots__}
    found, advice, _ = granted(trigger(downgrades=(Downgrade(**(values | step)),)), **fields)
    assert found == (model or "large")
    assert told(advice) == [(model is not None, model)]


def test_the_first_step_that_is_able_is_taken() -> None:
    weak = Downgrade("acme", "large", "acme", "later", ("json",), 128_000)
    assert granted(trigger(downgrades=(weak, STEP)), requires=("tools",))[0] == "small"


def test_a_downgraded_call_is_held_at_the_lower_price_on_the_other_models_accounts() -> None:
    per_model = budget(nanos=10**9, selector=(("model", "*"),))
    ledger = Ledger(per_model, triggers=(trigger(per_call_nanos=1),))
    reservation = ledger.granted()
    assert reservation.held_nanos == 1_000 * 100 + 500 * 500
    assert (reservation.requested.model, reservation.facts.model) == ("large", "small")
    (held_on,) = (ledger.books.account(number) for number in reservation.path)
    assert (held_on.subject, held_on.held_nanos) == (Subject({"model": "small"}), reservation.held_nanos)
    untouched = [a for a in ledger.books.writes.new_accounts if a.subject == Subject({"model": "large"})]
    assert all(a.held_nanos == a.held_calls == 0 for a in untouched)
