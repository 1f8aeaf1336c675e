"""`reconcile`: the reasons of a made-up bill are printed, and what the ledger lacks is booked once, if asked."""

import csv
import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.cli.commands import rows, run
from tests.cli.test_prices import Capture, acme, said
from token_ledger.cli.connections import open_ledger, tenant_named
from token_ledger.core.batch.administration import CreateBudget, Reverse
from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.outcomes import BudgetAnswer, Recorded, Reversed
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.proof.verify import verify_database

__all__ = ["acme"]
FIRST = datetime.combine(datetime.now(UTC).date() - timedelta(days=10), time(), UTC)
"""The first day of the bill."""


async def record(url: str, *calls: dict[str, Any]) -> None:
    """Record calls of gpt-4o at noon: 2.50 dollars per million tokens of input, 10 of output, 1.25 from the cache."""
    async with open_ledger(url) as (database, commits):
        number = await tenant_named(database, "acme")
        for place, call in enumerate(calls):
            usage = Usage(*call.get("tokens", (1_000_000, 100_000)), others=others_of(call.get("others", {})))
            at = FIRST + timedelta(days=call.get("day", 0), hours=12)
            event = Record(
                f"{place}", b"x", "batch", "data", "openai", call.get("model", "gpt-4o"), usage, user="ada",
                cost_center=call.get("center"), tags=tuple(call.get("tags", {}).items()), occurred_at=at,
            )  # fmt: skip
            assert isinstance(await commits.submit(number, event), Recorded)


def bill(folder: Path, *results: tuple[int, dict[str, Any]], name: str = "bill.json") -> str:
    """Write a page of OpenAI's with a bucket for each result, which is of a day from the first on."""
    begin = int(FIRST.timestamp())
    buckets = [
        {"start_time": begin + day * 86_400, "end_time": begin + (day + 1) * 86_400, "results": [each]}
        for day, each in results
    ]
    path = folder / name
    path.write_text(json.dumps({"object": "page", "data": buckets, "has_more": False}))
    return str(path)


def cost(dollars: str, line_item: str = "gpt-4o-2024-08-06, input", project: str | None = None) -> dict[str, Any]:
    return {
        "object": "organization.costs.result", "amount": {"value": dollars, "currency": "usd"}, "line_item": line_item,
        "project_id": project,
    }  # fmt: skip


def usage(tokens: int, output: int = 100_000, project: str | None = None, **others: Any) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result", "input_tokens": tokens, "output_tokens": output,
        "input_cached_tokens": 0, "model": "gpt-4o-2024-08-06", "project_id": project, "batch": False,
        "service_tier": None, **others,
    }  # fmt: skip


async def test_four_reasons_are_named(acme: str, tmp_path: Path, capsys: Capture) -> None:
    await record(acme, *({"day": day} for day in range(3)), {"day": 3, "tokens": (1_001_600, 100_000)})
    costs = bill(
        tmp_path, (0, cost("4.75")), (1, cost("1.75")), (2, cost("3.5")), (2, cost("0.35", "[web] search")),
        (3, cost("3.50")),
    )  # fmt: skip
    tokens = bill(
        tmp_path, (0, usage(1_500_000)), (1, usage(1_000_000, batch=True)), (2, usage(1_000_000)),
        (3, usage(1_001_600)), name="usage.json",
    )  # fmt: skip
    command = ("reconcile", "openai", costs, tokens, "--tenant", "acme")
    found = json.loads(await said(capsys, *command, "--json"))
    assert found["reasons"] == {
        "fees": "0.350000000", "untracked calls": "1.250000000", "service tier": "-1.750000000",
        "rounding": "-0.004000000",
    }  # fmt: skip
    assert [found[name] for name in ("billed", "ledger", "difference")] == [
        "13.850000000", "14.004000000", "-0.154000000",
    ]  # fmt: skip
    assert [cell["capture_rate"] for cell in found["cells"]] == ["0.6875", "1.0000", "0.0000", "1.0000", "1.0000"]
    printed = await said(capsys, *command)
    assert "untracked calls 1.250000000" in printed
    assert "openai/gpt-4o" in printed
    assert "openai/[web] search" in printed
    table = list(csv.DictReader((await said(capsys, *command, "--csv")).splitlines()))
    assert [row["service tier"] for row in table] == ["", "-1.750000000", "", "", ""]
    assert table[0]["details"] == "untracked calls: 500,000 tokens"
    assert [row["day"] for row in table][::4] == [f"{FIRST:%Y-%m-%d}", f"{FIRST + timedelta(days=3):%Y-%m-%d}"]


async def test_projects_are_those_of_a_tag_or_of_cost_centers(acme: str, tmp_path: Path, capsys: Capture) -> None:
    await record(
        acme, {"tags": {"project": "web"}, "center": "x"}, {"tags": {"project": "app"}, "center": "y"}, {"center": "y"}
    )
    whole = bill(tmp_path, (0, cost("10.5", project="web")))
    found = json.loads(await said(capsys, "reconcile", "openai", whole, "--json"))
    assert [(cell["project"], cell["difference"]) for cell in found["cells"]] == [("", "0.000000000")]
    for option, projects in ((("--project-tag", "project"), ["", "app", "web"]), (("--by-cost-center",), ["x", "y"])):
        parts = bill(tmp_path, *((0, cost("3.5", project=project)) for project in projects))
        cells = json.loads(await said(capsys, "reconcile", "openai", parts, *option, "--json"))["cells"]
        assert [cell["project"] for cell in cells] == projects
        assert cells[0]["difference"] == "0.000000000"


async def test_what_the_bill_has_more_is_booked_once(acme: str, tmp_path: Path, capsys: Capture) -> None:
    await record(acme, {"tags": {"project": "web"}}, {"day": 1, "tokens": (1_001_600, 100_000)})
    costs = bill(
        tmp_path, (0, cost("4.75", project="web")), (0, cost("0.35", "web search", "web")), (1, cost("3.50")),
    )  # fmt: skip
    tokens = bill(tmp_path, (0, usage(1_500_000, project="web")), (1, usage(1_001_600)), name="usage.json")
    command = ("reconcile", "openai", costs, tokens, "--project-tag", "project", "--json")
    booking = (*command, "--book", "--reason", "bill of November")
    found = json.loads(await said(capsys, *booking))
    assert (found["difference"], found["reasons"]) == ("-0.004000000", {"rounding": "-0.004000000"})
    for again in (command, booking):
        assert json.loads(await said(capsys, *again)) == found
    booked = await rows(
        acme,
        "select provider, model, user_id, cost_nanos, tags ->> 'item' as item, tags ->> 'project' as project, calls,"
        " tags ->> 'reason' as reason, posted_at from usage_events where agent_type = 'reconciliation' order by model",
    )
    noon = FIRST + timedelta(hours=12)
    assert [tuple(row) for row in booked] == [
        ("", "", "reconciliation", 350_000_000, "web search", "web", 0, "bill of November", noon),
        ("openai", "gpt-4o", "reconciliation", 1_250_000_000, None, "web", 0, "bill of November", noon),
    ]
    more = bill(tmp_path, (0, cost("5.00", project="web")), (0, cost("0.35", "web search", "web")), (1, cost("3.50")))
    found = json.loads(await said(capsys, "reconcile", "openai", more, tokens, *booking[4:]))
    assert found["difference"] == "-0.004000000"
    noted = await rows(
        acme, "select after ->> 'reason' as reason, after ->> 'adjustments' as adjustments, after ->> 'cost' as cost"
        " from audit_log where action = 'reconciliation.book' order by audit_id",
    )  # fmt: skip
    assert [tuple(row) for row in noted] == [
        ("bill of November", "2", "1.600000000"), ("bill of November", "1", "0.250000000"),
    ]  # fmt: skip
    report = await verify_database(acme)
    assert report.clean, report.as_text()


async def add_budgets(url: str) -> None:
    """Give every user a day's and a year's budget."""
    async with open_ledger(url) as (database, commits):
        number = await tenant_named(database, "acme")
        for window in (Window.DAY, Window.YEAR):
            budget = CreateBudget(f"{window}", b"x", window, (("agent_type", "*"),), Limits(tokens=10**9), window)
            assert isinstance(await commits.submit(number, budget), BudgetAnswer)


async def booked_in(url: str) -> tuple[int, int, int]:
    """Return what all events cost, what the roll-ups have, and what is settled on the accounts of days."""
    [found] = await rows(
        url,
        "select (select sum(cost_nanos) from usage_events)::bigint as events,"
        " (select sum(cost_nanos) from daily_usage)::bigint as reports,"
        " (select sum(settled_nanos) from accounts where budget = 'day')::bigint as accounts",
    )
    return found["events"], found["reports"], found["accounts"]


async def test_what_the_bill_has_less_is_taken_off_once(acme: str, tmp_path: Path, capsys: Capture) -> None:
    await add_budgets(acme)
    await record(acme, {}, {"day": 1}, {"day": 2, "model": "gpt-4o-mini"})
    tokens = bill(tmp_path, (0, usage(1_000_000)), (1, usage(1_000_000)), name="usage.json")

    async def book(name: str, *costs: tuple[int, dict[str, Any]]) -> tuple[Any, list[int]]:
        before = {row["event_id"] for row in await rows(acme, "select event_id from usage_events")}
        words = ("--book", "--reason", "a bill", "--json")
        found = json.loads(await said(capsys, "reconcile", "openai", bill(tmp_path, *costs, name=name), tokens, *words))
        after = await rows(acme, "select event_id, cost_nanos from usage_events order by 1")
        return found, [row["cost_nanos"] for row in after if row["event_id"] not in before]

    discounted = (
        (0, cost("3.123456789")),
        (0, cost("-0.25", "credit")),
        (1, cost("4.00")),
        (2, cost("0", "gpt-4o-mini")),
    )
    found, booked = await book("bill.json", *discounted)
    # What is added comes first; of the small model the bill has nothing.
    assert booked == [500_000_000, -376_543_211, -210_000_000, -250_000_000]
    assert (found["billed"], found["ledger"], found["difference"]) == ("6.873456789", "6.873456789", "0.000000000")
    assert await booked_in(acme) == (6_873_456_789,) * 3
    for name in ("bill.json", "again.json"):
        again, booked = await book(name, *discounted)
        assert (again, booked) == (found, [])
    newer, booked = await book("newer.json", (0, cost("3.2")), *discounted[1:])
    assert (booked, newer["difference"]) == ([76_543_211], "0.000000000")
    older, booked = await book("bill.json", *discounted)
    assert (booked, older["ledger"]) == ([-76_543_211], "6.873456789")
    newer, booked = await book("newer.json", (0, cost("3.2")), *discounted[1:])
    assert (booked, newer["difference"]) == ([76_543_211], "0.000000000")
    assert await booked_in(acme) == (6_950_000_000,) * 3
    report = await verify_database(acme)
    assert report.clean, report.as_text()


async def test_what_the_ledger_counts_by_the_piece_is_not_booked_again(
    acme: str, tmp_path: Path, capsys: Capture
) -> None:
    price = ("prices", "set", "acme", "openai/gpt-4o", "--input", "2.5", "--output", "10", "--cache-read", "1.25")
    await said(capsys, *price, "--other", "web_searches=10", "--from", f"{FIRST:%Y-%m-%d}")
    await record(acme, {"others": {"web_searches": 30}})
    costs = bill(tmp_path, (0, cost("3.5")), (0, cost("0.5", "web search")))
    found = json.loads(await said(capsys, "reconcile", "openai", costs, "--book", "--reason", "x", "--json"))
    assert (found["difference"], found["ledger"]) == ("0.000000000", "4.000000000")
    booked = await rows(acme, "select cost_nanos from usage_events where agent_type = 'reconciliation'")
    assert [row["cost_nanos"] for row in booked] == [200_000_000]


async def reverse(url: str, place: int) -> None:
    """Take back a call that `record` made."""
    [event] = await rows(url, f"select event_id, booked_at from usage_events order by event_id offset {place} limit 1")
    async with open_ledger(url) as (database, commits):
        number = await tenant_named(database, "acme")
        command = Reverse(str(place), b"x", "batch", ((event["event_id"], event["booked_at"]),), "never made", "cli:x")
        assert isinstance(await commits.submit(number, command), Reversed)


async def test_the_ledgers_side_knows_what_is_unpriced_and_corrected(
    acme: str, tmp_path: Path, capsys: Capture
) -> None:
    await record(acme, {"model": "new-1"}, {}, {"tokens": (7, 7)})
    await reverse(acme, 2)
    costs = bill(tmp_path, (0, cost("3.5", "gpt-4o")), (0, cost("6.00", "new-1")))
    tokens = bill(tmp_path, (0, usage(1_000_000)), (0, usage(1_000_000, model="new-1")), name="usage.json")
    command = ("reconcile", "openai", costs, tokens, "--json")
    known, new = json.loads(await said(capsys, *command))["cells"][:2]
    assert [known[name] for name in ("difference", "events", "corrections", "unpriced")] == ["0.000000000", 3, 1, 0]
    assert (new["model"], new["unpriced"]) == ("new-1", 1)
    assert new["reasons"] == [
        {"cause": "unpriced", "amount": "6.000000000", "detail": "1 call without a price, 1,100,000 tokens"}
    ]
    price = ("prices", "set", "acme", "openai/new-1", "--input", "4", "--output", "20", "--from", f"{FIRST:%Y-%m-%d}")
    await said(capsys, *price)
    await said(capsys, "prices", "recost", "acme", "--accept")
    _, new = json.loads(await said(capsys, *command))["cells"]
    assert (new["ledger"], new["unpriced"], new["corrections"], new["reasons"]) == ("6.000000000", 0, 1, [])


async def test_calls_that_are_no_longer_kept_are_not_compared(acme: str, tmp_path: Path, capsys: Capture) -> None:
    connection = await asyncpg.connect(acme)
    await connection.execute("insert into checkpoints select tenant_id, 1, $1, now() from tenants", FIRST)
    await connection.close()
    complaint = await said(capsys, "reconcile", "openai", bill(tmp_path, (0, cost("1"))), status=1)
    assert "compare what is newer" in complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--book",), "--book and --reason go together"),
        (("--reason", "x"), "--book and --reason go together"),
        (("--csv", "--json"), "choose --csv or --json"),
        (("--project-tag", "p", "--by-cost-center"), "choose --project-tag or --by-cost-center"),
        (("--tenant", "globex"), "no tenant named 'globex'"),
    ],
)
async def test_complaints(words: tuple[str, ...], complaint: str, acme: str, tmp_path: Path, capsys: Capture) -> None:
    await record(acme, {})
    costs = bill(tmp_path, (0, cost("1.00")), (0, cost("9", "web search")))
    assert complaint in await said(capsys, "reconcile", "openai", costs, *words, status=1)
    assert await rows(acme, "select 1 from usage_events where agent_type = 'reconciliation'") == []


async def test_a_file_that_is_no_bill_is_named_with_its_line(acme: str, tmp_path: Path, capsys: Capture) -> None:
    costs = bill(tmp_path, (0, {**cost("1"), "amount": {"value": "1", "currency": "eur"}}))
    complaint = await said(capsys, "reconcile", "openai", costs, status=1)
    assert f"{costs}, line 1: the currency is 'eur'" in complaint
    assert "No such file" in await said(capsys, "reconcile", "csv", str(tmp_path / "none.csv"), status=1)
    await run("tenant", "globex")
    capsys.readouterr()
    assert "say with --tenant" in await said(capsys, "reconcile", "openai", bill(tmp_path, (0, cost("1"))), status=1)
