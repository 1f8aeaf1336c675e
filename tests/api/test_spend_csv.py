"""The report of spend as CSV: what the JSON has, in lines that say what they are, and no names that are formulas."""

import csv
import hashlib
import io
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.api.sent_events import NOW, WHOLE_SPAN, Sent, book, dollars, sent, usage
from tests.api.world import World, check_problem, fresh
from token_ledger.reports.formats import spend_csv
from token_ledger.reports.formats.csv_lines import plain_name, plain_name_sql

PATH = "/v1/reports/spend"
NAMES = ("=1+1", "+1", "-1", "@SUM(A1)", "'quoted", 'a "b", c;d', "名前", "rest", "total", "# end of 1 rows", "#1")
FIGURES = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost",
)  # fmt: skip


def _table(text: str) -> tuple[list[dict[str, str]], str]:
    """Return the lines of CSV, and what the last one says, once its sum is found to be true."""
    *lines, last = text.splitlines(keepends=True)
    body = "".join(lines)
    told, hashed = last.split("; sha256 of all lines above: ")
    assert hashed == hashlib.sha256(body.encode()).hexdigest() + "\n"
    return list(csv.DictReader(io.StringIO(body, newline=""))), told


async def _csv(world: World, **params: Any) -> tuple[list[dict[str, str]], str]:
    answer = await world.get(PATH, format="csv", **params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return _table(answer.text)


def _figures(sums: dict[str, Any], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{name}": str(sums[name]) for name in FIGURES}


def _named(value: str | None) -> str:
    return "" if value is None else f"'{value}" if value[0] in "=+-@" else value


async def _booked(world: World) -> list[Sent]:
    chance = random.Random(6)
    events = []
    for number, name in enumerate(NAMES * 2):
        each = sent(chance, usage=usage(chance), **({"tags": {"team": name}} if number < len(NAMES) else {}))
        each.body["user"] = name
        events.append(each)
    await book(world, events)
    return events


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"group_by": "user"}, lambda each: each.body["user"]),
        ({"group_by": "user,tag:team", "top": 7, "after": 2}, lambda each: (each.body["user"], "tags" in each.body)),
        ({"group_by": "user,day"}, lambda each: (each.body["user"], each.at.date())),
    ],
    ids=["users", "a page of users and tags", "days"],
)
async def test_csv_has_what_the_json_has_and_says_how_many_rows(
    asked: dict[str, Any], key: Callable[[Sent], object], own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spend_csv, "_LINES_AT_A_TIME", 3)
    events = await _booked(own_world)
    params: dict[str, Any] = {**WHOLE_SPAN, **asked}
    report = (await own_world.get(PATH, **params)).json()
    lines, told = await _csv(own_world, **params)
    names = report["group_by"]
    assert [*lines[0]] == ["line", *names, *FIGURES]
    assert lines == [
        *({"line": "row", **{name: _named(row["by"][name]) for name in names}, **_figures(row)}
          for row in report["rows"]),
        {"line": "rest", **dict.fromkeys(names, ""), **_figures(report["rest"])},
        {"line": "total", **dict.fromkeys(names, ""), **_figures(report["total"])},
    ]  # fmt: skip
    assert told == (
        f"# end of {len(report['rows'])} rows of {len(set(map(key, events)))}, from {report['from']} to {report['to']},"
        f" UTC, booked until {report['booked_until']}"
    )
    assert lines[-1]["cost"] == dollars(sum(each.cost_nanos for each in events))
    assert sum(Decimal(line["cost"]) for line in lines[:-1]) == Decimal(lines[-1]["cost"])


async def test_a_line_of_a_user_has_what_was_sent_for_them(own_world: World) -> None:
    events = await _booked(own_world)
    lines, _ = await _csv(own_world, group_by="user", **WHOLE_SPAN)
    costs = {
        _named(name): dollars(sum(each.cost_nanos for each in events if each.body["user"] == name)) for name in NAMES
    }
    assert {line["user"]: line["cost"] for line in lines if line["line"] == "row"} == costs
    assert [line["line"] for line in lines] == ["row"] * len(NAMES) + ["rest", "total"]


async def test_the_span_before_has_columns_of_its_own(own_world: World) -> None:
    chance = random.Random(7)
    events = [sent(chance, usage=usage(chance)) for _ in range(4)]
    for each, (user, days) in zip(events, (("ada", 2), ("ada", 10), ("bob", 3), ("eve", 9)), strict=True):
        each.body |= {"user": user, "occurred_at": (NOW - timedelta(days=days)).isoformat()}
    await book(own_world, events)
    span = {"from": (NOW - timedelta(days=7)).isoformat(), "to": (NOW + timedelta(days=1)).isoformat()}
    params: dict[str, Any] = {**span, "compare": "previous", "group_by": "user"}
    report = (await own_world.get(PATH, **params)).json()
    lines, _ = await _csv(own_world, **params)
    assert lines == [
        *({"line": "row", "user": row["by"]["user"], **_figures(row), **_figures(row["compared"], "compared_")}
          for row in report["rows"]),
        {"line": "rest", "user": "", **_figures(report["rest"]), **_figures(report["compared"]["rest"], "compared_")},
        {"line": "total", "user": "", **_figures(report["total"]),
         **_figures(report["compared"]["total"], "compared_")},
    ]  # fmt: skip
    assert [line["compared_calls"] for line in sorted(lines[:2], key=lambda line: line["user"])] == ["1", "0"]
    assert [line["compared_calls"] for line in lines[2:]] == ["1", "2"]


async def test_an_id_below_0_is_a_number_and_no_formula(own_world: World) -> None:
    price: dict[str, Any] = {"idempotency_key": fresh(), "rates": {"base": {"input": "2", "output": "4"}}}
    await own_world.made("/v1/prices/house/sum", price, method="PUT")
    one = sent(random.Random(8), usage={"input_tokens": 1_000, "output_tokens": 500})
    one.body |= {"provider": "house", "model": "sum"}
    del one.body["occurred_at"]
    one.cost_nanos = 4_000_000
    await book(own_world, [one])
    lines, _ = await _csv(own_world, group_by="price_entry")
    assert int(lines[0]["price_entry"]) < 0


async def test_the_accept_header_asks_for_it_too_and_format_decides(world: World) -> None:
    headers = {**world.headers(), "Accept": "text/csv"}
    answer = await world.client.get(f"{PATH}?period=2026-11", headers=headers)
    assert answer.headers["content-disposition"] == 'attachment; filename="spend-2026-11-01-2026-12-01.csv"'
    lines, _ = _table(answer.text)
    assert [line["line"] for line in lines] == ["rest", "total"]
    assert (await world.client.get(f"{PATH}?format=json", headers=headers)).json()["rows"] == []


@pytest.mark.parametrize(("name", "value", "field"), [("kinds", "true", "kinds"), ("format", "xml", "format")])
async def test_what_a_table_can_not_have_is_refused(name: str, value: str, field: str, world: World) -> None:
    asked: dict[str, Any] = {"format": "csv", name: value}
    check_problem(await world.get(PATH, **asked), 422, "invalid_request", field)


@pytest.mark.parametrize("name", [*NAMES, "\tx", "\rx", "\nx", "", "x=1", "x\n=1", "\\t", "t", "r", "n"])
async def test_a_name_is_written_the_same_in_either_language(name: str, world: World) -> None:
    [row] = await world.rows(f"select {plain_name_sql('$1::text')}", name)
    assert row[0] == plain_name(name)
    assert plain_name(name) == (f"'{name}" if name and name[0] in "=+-@\t\r\n" else name)
