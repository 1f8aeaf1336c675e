"""`report`: the cost report of a period goes to a file or is printed, as a page or as JSON."""

import json
from pathlib import Path

import pytest

from tests.cli.test_prices import Capture, acme, said
from tests.cli.test_reconcile import FIRST, record

__all__ = ["acme"]
MONTH = f"{FIRST:%Y-%m}"


async def test_a_report_is_written_to_a_file_and_its_total_is_said(acme: str, tmp_path: Path, capsys: Capture) -> None:
    await record(acme, {"center": "research"}, {"center": "support", "tags": {"team": "red"}})
    page = tmp_path / "report.html"
    asked = ("report", "--period", MONTH, "--by", "cost_center,tag:team", "--output", str(page))
    assert await said(capsys, *asked) == ""
    text = page.read_text(encoding="utf-8")
    assert "exactly 7.000000000 dollars" in text
    assert "By cost center" in text
    assert "By team" in text
    printed = json.loads(await said(capsys, "report", "--tenant", "acme", "--period", MONTH, "--format", "json"))
    assert (printed["tenant"], printed["total"]["cost"], printed["total"]["calls"]) == ("acme", "7.000000000", 2)
    assert [row["key"] for row in printed["tables"][0]["rows"]] == ["research", "support"]


@pytest.mark.parametrize("period", ["last-month", "this_month", "FY2026-Q3", "2020-02"])
async def test_a_period_has_the_names_that_it_has_over_http(period: str, acme: str, capsys: Capture) -> None:
    printed = json.loads(await said(capsys, "report", "--period", period, "--format", "json"))
    assert printed["total"]["calls"] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--period", "soon"), "use today, yesterday"),
        (("--by", "colour"), "there is no dimension 'colour'"),
        (("--tenant", "nobody"), "nobody"),
        (("--output", "/nowhere/at/all.html"), "/nowhere/at/all.html"),
    ],
    ids=["period", "dimension", "tenant", "file"],
)
async def test_what_cannot_be_reported_is_said(words: tuple[str, ...], why: str, acme: str, capsys: Capture) -> None:
    assert why in await said(capsys, "report", *words, status=1)
