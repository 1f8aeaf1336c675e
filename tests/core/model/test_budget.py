"""Selectors choose calls and name subjects; an account says which unit is short."""

from dataclasses import replace
from typing import Any

import pytest

from tests.core.given import NOW, Ledger, budget
from token_ledger.core.model.account import Account
from token_ledger.core.model.budget import NO_LIMITS, Budget, Counts, Enforcement, Limits, Unassigned, Unit
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.selector import parse_selector
from token_ledger.core.model.subject import EVERYTHING, Subject
from token_ledger.core.model.tenant import TenantConfig
from token_ledger.core.model.window import Window

FACTS = CallFacts(
    "ada",
    "research",
    "planner",
    "chat",
    "acme",
    "large",
    run_id=77,
    tool="search",
    tags=(("stage", "prod"), ("team", "red")),
)
NO_RUN = FACTS._replace(run_id=None, tool=None, tags=())


def subject(facts: CallFacts, selector: dict[str, Any], window: Window = Window.DAY) -> str | None:
    chosen = budget(tokens=1, window=window, selector=tuple(sorted(selector.items())))
    config: TenantConfig = Ledger(chosen).books.config
    found = config.matches(facts, () if facts.run_id is None else (facts.run_id,))
    return found[0][1].text if found else None


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, "{}"),
        ({"user": "ada"}, "{}"),
        ({"user": "*"}, '{"user":"ada"}'),
        ({"user": "*", "model": "large"}, '{"user":"ada"}'),
        ({"user": "*", "agent_type": "*"}, '{"agent_type":"planner","user":"ada"}'),
        ({"run": "*"}, '{"run":"77"}'),
        ({"run": "77"}, "{}"),
        ({"tool": "*", "tag.team": "red"}, '{"tool":"search"}'),
        ({"tag.stage": "*"}, '{"tag.stage":"prod"}'),
        ({"provider": "acme"}, "{}"),
        ({"provider": "*", "model": "lar*"}, '{"provider":"acme"}'),
        ({"user": ("ada", "bob")}, "{}"),
        ({"user": ("ada", "bob"), "agent_type": "*"}, '{"agent_type":"planner"}'),
        ({"user": ("bob", "eve")}, None),
        ({"model": "small*"}, None),
        ({"provider": "openai"}, None),
        ({"user": "bob"}, None),
        ({"user": "Ada"}, None),
        ({"user": "ada", "model": "small"}, None),
        ({"user": "*", "cost_center": "sales"}, None),
        ({"request_type": "report"}, None),
        ({"run": "78"}, None),
        ({"tag.team": "blue"}, None),
        ({"tag.unknown": "*"}, None),
        ({"team": "*"}, None),
    ],
)
def test_a_selector_matches_all_its_dimensions_or_nothing(selector: dict[str, Any], expected: str | None) -> None:
    assert subject(FACTS, selector) == expected


@pytest.mark.parametrize("selector", [{"run": "*"}, {"tool": "*"}, {"tag.team": "*"}, {"tool": "search"}])
def test_a_call_without_the_dimension_is_not_selected(selector: dict[str, str]) -> None:
    assert subject(NO_RUN, selector) is None


def test_a_budget_per_run_has_an_account_per_run() -> None:
    assert subject(FACTS, {"user": "*"}, Window.RUN) == '{"run":"77","user":"ada"}'
    assert subject(FACTS, {}, Window.RUN) == '{"run":"77"}'
    assert subject(NO_RUN, {}, Window.RUN) is None


def test_every_matching_budget_is_found_in_their_order() -> None:
    budgets = [
        Budget(n, f"b{n}", (("user", user),), Limits(1), Window.DAY) for n, user in ((1, "*"), (2, "bob"), (3, "ada"))
    ]
    config = Ledger(*budgets).books.config
    assert [found.budget_id for found, _ in config.matches(FACTS, ())] == [1, 3]
    assert config.matches(FACTS, ()) == config.matches(FACTS._replace(), ())


@pytest.mark.parametrize(
    ("selector", "window", "expected"),
    [
        ({}, Window.RUN, ['{"run":"75"}', '{"run":"76"}', '{"run":"77"}']),
        ({"run": "*"}, Window.DAY, ['{"run":"75"}', '{"run":"76"}', '{"run":"77"}']),
        ({"run": "76"}, Window.RUN, ['{"run":"76"}']),
        ({"run": "75"}, Window.DAY, ["{}"]),
        ({"run": "78"}, Window.DAY, []),
        ({"user": "*"}, Window.DAY, ['{"user":"ada"}']),
        ({}, Window.TOTAL, ["{}"]),
    ],
)
def test_a_call_of_a_sub_run_is_one_of_every_run_that_it_is_a_part_of(
    selector: dict[str, str], window: Window, expected: list[str]
) -> None:
    chosen = budget(tokens=1, window=window, selector=tuple(sorted(selector.items())))
    found = Ledger(chosen).books.config.matches(FACTS, (75, 76, 77))
    assert [subject.text for _, subject in found] == expected


@pytest.mark.parametrize("selector", [{}, {"user": "*"}, {"tag.team": "red"}, {"run": "7", "tool": "*"}])
def test_a_selector_of_dimensions_is_accepted(selector: dict[str, str]) -> None:
    parse_selector(selector)


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ({"team": "red"}, "'team' is no dimension"), ({"User": "ada"}, "'User'"), ({"": "*"}, "''"),
        ({"tag.": "red"}, "'tag.'"), ({"tags.team": "red"}, "'tags.team'"), ({"providers": "acme"}, "'providers'"),
        ({"user": ""}, "user needs a value"), ({"tag.team": ""}, "tag.team needs a value"),
    ],
)  # fmt: skip
def test_a_selector_of_anything_else_is_refused(selector: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_selector(selector)


OVERRIDES = (
    (Subject({"user": "ada"}), Limits(100)), (Subject({"user": "bob"}), NO_LIMITS),
)  # fmt: skip


@pytest.mark.parametrize("window", [Window.DAY, Window.RUN])
def test_named_subjects_have_other_limits_or_none(window: Window) -> None:
    everyone = budget(tokens=50, calls=5, window=window, selector=(("user", "*"),), overrides=OVERRIDES)
    run = {"run": "77"} if window is Window.RUN else {}
    found = [everyone.limits_of(Subject({"user": user, **run})) for user in ("ada", "bob", "eve")]
    assert found == [Limits(100), NO_LIMITS, Limits(50, None, 5)]
    assert replace(everyone, overrides=()).limits_of(Subject({"user": "ada"})) == Limits(50, None, 5)


@pytest.mark.parametrize(
    ("unassigned", "facts", "expected"),
    [
        (Unassigned.SHARED, FACTS._replace(cost_center="unassigned"), '{"cost_center":"unassigned"}'),
        (Unassigned.PER_USER, FACTS._replace(cost_center="unassigned"), '{"cost_center":"unassigned","user":"ada"}'),
        (Unassigned.PER_USER, FACTS, '{"cost_center":"research"}'),
    ],
)
def test_calls_without_a_cost_center_share_an_account_or_each_user_has_one(
    unassigned: Unassigned, facts: CallFacts, expected: str
) -> None:
    chosen = budget(tokens=1, selector=(("cost_center", "*"),), unassigned=unassigned)
    [(_, found)] = Ledger(chosen).books.config.matches(facts, ())
    assert found.text == expected


def test_an_override_of_calls_without_a_cost_center_is_one_for_every_user() -> None:
    overrides = ((Subject({"cost_center": "unassigned"}), Limits(7)),)
    chosen = budget(
        tokens=1, selector=(("cost_center", "*"),), unassigned=Unassigned.PER_USER, overrides=overrides
    )  # fmt: skip
    assert chosen.limits_of(Subject({"cost_center": "unassigned", "user": "ada"})) == Limits(7)
    assert chosen.limits_of(Subject({"cost_center": "research"})) == Limits(1)


@pytest.mark.parametrize(
    ("limits", "asked", "lacking"),
    [
        (Limits(), (10**15, 10**18, 10**9), None),
        (Limits(100, 1_000, 3), (40, 400, 1), None),
        (Limits(100, 1_000, 3), (41, 401, 2), Unit.TOKENS),
        (Limits(101, 1_000, 3), (41, 401, 2), Unit.COST),
        (Limits(101, 1_001, 3), (41, 401, 2), Unit.CALLS),
        (Limits(tokens=0), (1, 0, 1), Unit.TOKENS),
        (Limits(tokens=59), (0, 0, 1), Unit.TOKENS),
        (Limits(nanos=599), (0, 0, 1), Unit.COST),
        (Limits(calls=2), (0, 0, 1), Unit.CALLS),
        (Limits(calls=3), (0, 0, 1), None),
    ],
)
def test_the_first_unit_without_room_is_named(
    limits: Limits, asked: tuple[int, int, int], lacking: Unit | None
) -> None:
    account = Account(1, 1, "cap", EVERYTHING, NOW, None, Enforcement.HARD, Counts.ALL, limits)
    account.settle(30, 300, 1)
    account.hold(30, 300, 1)
    assert account.lacking(*asked) is lacking


def test_figures_are_limit_settled_and_held_of_a_unit() -> None:
    account = Account(1, 1, "cap", EVERYTHING, NOW, None, Enforcement.HARD, Counts.ALL, Limits(10, None, 7))
    account.settle(1, 2, 3)
    account.hold(4, 5, 6)
    account.hold(-1, -1, -1)
    figures: dict[Unit, Any] = {unit: account.figures(unit) for unit in Unit}
    assert figures == {Unit.TOKENS: (10, 1, 3), Unit.COST: (None, 2, 4), Unit.CALLS: (7, 3, 5)}
