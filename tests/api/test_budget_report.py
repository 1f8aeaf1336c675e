"""Budget against actual over HTTP: what the events that were sent come to, of each limit, and where that leads."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from tests.api.sent_events import Sent, book, dollars, ratio, sent, take_back, usage
from tests.api.verbs import budget, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

PATH = "/v1/reports/budgets"
INSTANT = timedelta(microseconds=1)
HELD = {"tokens": 1_500, "cost": 1_000 * 2_500 + 500 * 15_000, "calls": 1}
"""What the hold of `reservation()` sets aside of the model `gpt-5.4`."""


async def _report(world: World, **params: Any) -> dict[str, Any]:
    answer = await world.get(PATH, role=Role.FINANCE, **params)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def _put_window(world: World, budget_id: str, begin: timedelta, end: timedelta, made: timedelta) -> None:
    """Let the windows of a budget's accounts, and the budget, be so far from now."""
    await world.rows(
        "update accounts set window_start = now() + $2, window_end = now() + $3 where budget_id = $1",
        int(budget_id), begin, end,
    )  # fmt: skip
    await world.rows("update budgets set created_at = now() + $2 where budget_id = $1", int(budget_id), made)


def _settled(events: Iterable[Sent]) -> dict[str, int]:
    standing = [each for each in events if not each.is_gone]
    return {
        "tokens": sum(each.body["usage"][name] for each in standing for name in ("input_tokens", "output_tokens")),
        "cost": sum(each.cost_nanos for each in standing), "calls": len(standing),
    }  # fmt: skip


def _told(unit: str, nanos: int) -> int | str:
    return dollars(nanos) if unit == "cost" else nanos


def _expected(
    row: dict[str, Any], at: datetime, since: datetime, limits: dict[str, int], settled: dict[str, int],
    held: dict[str, int],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return what is told of each limit, of a line that began at an instant."""
    end = datetime.fromisoformat(row["window_end"])
    over = Fraction((at - since) // INSTANT, (end - since) // INSTANT)
    rows = []
    for unit, limit in limits.items():
        projected = None if over < Fraction(1, 10) else round(settled[unit] / over)
        passed = settled[unit] > limit
        reaches = projected is not None and not passed and projected > limit
        reached_at = Fraction(limit, settled[unit]) * ((at - since) // INSTANT) if reaches else None
        rows.append({
            "unit": unit, "limit": _told(unit, limit), "settled": _told(unit, settled[unit]),
            "held": _told(unit, held[unit]), "used_share": ratio(settled[unit] + held[unit], limit),
            "projected": None if projected is None else _told(unit, projected),
            "will_pass": True if passed else None if projected is None else reaches,
            "will_pass_at": None if reached_at is None
            else (since - (-reached_at.numerator // reached_at.denominator) * INSTANT).isoformat(),
        })  # fmt: skip
    return rows


LIMITS = {"tokens": 10**6, "cost": 10**8, "calls": 12}
NOTHING = {"tokens": 0, "cost": 0, "calls": 0}


@pytest.mark.parametrize(
    ("begin", "end", "made"),
    [
        (timedelta(days=-3), timedelta(days=7), timedelta(days=-90)),
        (timedelta(days=-30), timedelta(days=1), timedelta(days=-90)),
        (timedelta(days=-20), timedelta(days=10), timedelta(days=-5)),
        (timedelta(hours=-3), timedelta(days=30), timedelta(days=-90)),
    ],
    ids=["early", "late", "made in the window", "only begun"],
)
async def test_a_limit_is_told_with_what_events_come_to_and_where_that_leads(
    begin: timedelta, end: timedelta, made: timedelta, own_world: World
) -> None:
    world, chance = own_world, random.Random(4)
    limits = {"tokens": LIMITS["tokens"], "cost": dollars(LIMITS["cost"]), "calls": LIMITS["calls"]}
    asked = budget("each", selector={"user": "*"}, limits=limits, window="year", enforcement="soft")
    budget_id = (await world.made("/v1/budgets", asked))["budget_id"]
    events = [sent(chance, usage=usage(chance)) for _ in range(30)]
    for each in events:
        del each.body["occurred_at"]
    await book(world, events)
    await take_back(world, events[:4])
    await world.made("/v1/reservations", reservation(user="ada"))
    spend = (await world.get("/v1/reports/spend", group_by="user")).json()["rows"]
    await _put_window(world, budget_id, begin, end, made)
    report = await _report(world)
    at = datetime.fromisoformat(report["at"])
    column, table = ("created_at", "budgets") if made > begin else ("window_start", "accounts")
    since = (await world.rows(f"select {column} from {table} where budget_id = $1", int(budget_id)))[0][0]
    assert sorted(row["subject"]["user"] for row in report["rows"]) == ["ada", "bob", "eve"]
    costs = {}
    for row in report["rows"]:
        user = row["subject"]["user"]
        settled = _settled(each for each in events if each.body["user"] == user)
        held = HELD if user == "ada" else NOTHING
        assert row["limits"] == _expected(row, at, since, LIMITS, settled, held), user
        assert (row["budget"], row["window"], row["enforcement"], row["cost_center"]) == ("each", "year", "soft", None)
        start, finish = (datetime.fromisoformat(row[name]) for name in ("window_start", "window_end"))
        assert row["passed_share"] == ratio((at - start) // INSTANT, (finish - start) // INSTANT)
        assert datetime.fromisoformat(row["projected_from"]) == since + (finish - since) / 10
        assert (row["limits"][0]["projected"] is None) == (at < since + (finish - since) / 10)
        costs[user] = row["limits"][1]["settled"]
    assert costs == {row["by"]["user"]: row["cost"] for row in spend}


async def test_only_accounts_of_windows_under_way_are_told(own_world: World) -> None:
    world = own_world
    made = {}
    for name, window in (("day", "day"), ("over", "day"), ("to come", "day"), ("gone", "day"), ("total", "total")):
        made[name] = (await world.made("/v1/budgets", budget(name, selector={}, window=window)))["budget_id"]
    await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", "limits": {"tokens": 9_000}})
    await world.made("/v1/reservations", reservation())
    hour = timedelta(hours=1)
    await _put_window(world, made["day"], -hour, hour, -hour)
    await _put_window(world, made["over"], -2 * hour, -hour, -hour)
    await _put_window(world, made["to come"], hour, 2 * hour, -hour)
    await _put_window(world, made["gone"], -hour, hour, -hour)
    await world.delete(f"/v1/budgets/{made['gone']}")
    assert [row["budget"] for row in (await _report(world))["rows"]] == ["day"]


async def test_accounts_are_chosen_by_budget_and_by_the_one_cost_center_they_are_of(own_world: World) -> None:
    world = own_world
    selectors: dict[str, dict[str, Any]] = {
        "each": {"cost_center": "*"}, "lab": {"cost_center": "lab", "user": "*"}, "all": {},
        "some": {"cost_center": ["lab", "ops"]}, "like": {"cost_center": "la*"},
    }  # fmt: skip
    ids = {}
    for name, selector in selectors.items():
        made = await world.made("/v1/budgets", budget(name, selector=selector, window="month"))
        ids[name] = made["budget_id"]
    for cost_center in ("lab", "ops"):
        await world.made("/v1/reservations", reservation(cost_center=cost_center))
    for budget_id in ids.values():
        await _put_window(world, budget_id, -timedelta(days=3), timedelta(days=7), -timedelta(days=90))
    rows = (await _report(world))["rows"]
    found = sorted((row["budget"], row["cost_center"]) for row in rows if row["cost_center"])
    assert found == [("each", "lab"), ("each", "ops"), ("lab", "lab")]
    assert sorted(row["budget"] for row in rows if row["cost_center"] is None) == ["all", "like", "some"]
    lab = (await _report(world, cost_center="lab"))["rows"]
    assert sorted(row["budget"] for row in lab) == ["each", "lab"]
    assert [row["subject"] for row in (await _report(world, budget="lab"))["rows"]] == [{"user": "ada"}]
    both = (await _report(world, budget="each", cost_center="ops"))["rows"]
    assert [row["subject"] for row in both] == [{"cost_center": "ops"}]
    assert (await _report(world, budget="nobody's"))["rows"] == []
    paged: list[str] = []
    after: str | None = "0"
    while after is not None:
        page = await _report(world, limit=2, after=after)
        paged += [row["account_id"] for row in page["rows"]]
        after = page["next"]
    assert paged == [row["account_id"] for row in rows] == sorted(paged, key=int)


async def test_a_limit_of_nothing_has_no_share_and_one_that_is_not_there_no_row(own_world: World) -> None:
    world = own_world
    asked = budget("none", selector={}, limits={"calls": 0}, window="month", enforcement="shadow")
    budget_id = (await world.made("/v1/budgets", asked))["budget_id"]
    await world.made("/v1/reservations", reservation())
    await _put_window(world, budget_id, -timedelta(days=3), timedelta(days=7), -timedelta(days=90))
    [row] = (await _report(world))["rows"]
    assert row["limits"] == [{
        "unit": "calls", "limit": 0, "settled": 0, "held": 1, "used_share": None, "projected": 0, "will_pass": False,
        "will_pass_at": None,
    }]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("budget", ""), ("limit", "0"), ("limit", "1001"), ("after", "-1")])
async def test_what_can_not_be_asked_for_is_refused(name: str, value: str, world: World) -> None:
    asked: dict[str, Any] = {name: value}
    check_problem(await world.get(PATH, **asked), 422, "invalid_request", name)
