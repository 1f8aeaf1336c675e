"""The cost report: every table adds up to the total and to the report of spend; the page says the same as the JSON."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.reports.formats.cost_html import change, columns_of, dollars, short

NOW = datetime.now(UTC).replace(microsecond=0)
WEEK: dict[str, Any] = {"from": (NOW - timedelta(days=6)).date().isoformat(), "to": NOW.date().isoformat()}
HOSTILE = "<script>alert('x')</script>&\"'"


async def books(world: World) -> None:
    """Book calls of the week before and of this one: three users, a call that failed, one that came from a cache."""
    events = [
        event(
            user=f"user {number % 3}", cost_center=("research", HOSTILE, None)[number % 3],
            occurred_at=(NOW - timedelta(days=1 + number % 10)).isoformat(), tags={"team": f"team {number % 2}"},
            outcome="error" if number % 7 == 0 else "ok", estimated=number % 5 == 0,
            usage={"input_tokens": 1_000 * number, "output_tokens": 10 * number},
        )
        for number in range(1, 40)
    ]  # fmt: skip
    answer = await world.made("/v1/events", {"events": events})
    assert {each["status"] for each in answer["results"]} == {"booked"}


def costs(rows: Any) -> Decimal:
    return sum((Decimal(row["cost"]) for row in rows), Decimal())


async def test_every_table_adds_up_to_the_total_and_to_the_report_of_spend(own_world: World) -> None:
    world = own_world
    await books(world)
    by: dict[str, Any] = {"by": ["cost_center,user", "tag:team"]}
    choices: list[dict[str, Any]] = [{}, {"user": "user 1"}, {"tag": "team=team 0"}]
    for chosen in choices:
        answer = await world.get("/v1/reports/cost", **WEEK, **by, **chosen)
        assert answer.status_code == 200, answer.text
        report = answer.json()
        spend = (await world.get("/v1/reports/spend", **WEEK, compare="previous", top=0, **chosen)).json()
        assert report["total"] == {name: spend["total"][name] for name in report["total"]}
        assert report["before"] == spend["compared"]["total"]
        assert report["lines"] == spend["lines"]
        assert Decimal(report["total"]["cost"]) > 0
        tables = report["tables"]
        assert [each["by"] for each in tables] == ["cost_center", "user", "tag:team", "agent_type", "model"]
        for table in (*tables, report["trend"]):
            for name in ("calls", "input_tokens", "output_tokens"):
                assert sum(row[name] for row in (*table["rows"], table["rest"])) == report["total"][name]
            assert costs((*table["rows"], table["rest"])) == Decimal(report["total"]["cost"])
        for table in tables:
            answer = await world.get(
                "/v1/reports/spend", **WEEK, compare="previous", group_by=table["by"], **chosen
            )  # fmt: skip
            assert {row["key"]: (row["cost"], row["before"]) for row in table["rows"]} == {
                row["by"][table["by"]]: (row["cost"], row["compared"]) for row in answer.json()["rows"]
            }
            assert sum(row["share"] for row in table["rows"]) == pytest.approx(1, abs=0.001)
        assert [row["key"] for row in report["trend"]["rows"]] == [
            (NOW - timedelta(days=6 - day)).date().isoformat() for day in range(6)
        ]


async def test_a_table_ends_with_the_sum_of_its_other_rows(own_world: World) -> None:
    events = [event(user=f"user {number}") for number in range(40)]
    await own_world.made("/v1/events", {"events": events})
    report = (await own_world.get("/v1/reports/cost", period="today", by="user")).json()
    table = report["tables"][0]
    assert (len(table["rows"]), table["others"], table["rest"]["calls"]) == (25, 15, 15)


async def test_what_to_do_first_has_its_evidence_and_only_measured_savings(own_world: World) -> None:
    world = own_world
    await books(world)
    hit = {
        "type": "cache_hit", "source": "cache", "idempotency_key": fresh(), "agent_type": "data_agent", "user": "ada",
        "provider": "openai", "model": "gpt-5.4", "usage": {"input_tokens": 1_000, "output_tokens": 500},
    }  # fmt: skip
    answer = await world.made("/v1/usage", {"events": [hit]})
    report = (await world.get("/v1/reports/cost", period="today")).json()
    assert report["saved"] == answer["results"][0]["saved"] != "0.000000000"
    [technique] = report["techniques"]
    assert technique == {"technique": "smart_caching", "fired": 1, "applied": 1, "saved": report["saved"]}
    week = (await world.get("/v1/reports/cost", **WEEK)).json()
    assert (week["saved"], week["techniques"]) == (None, [])
    events = (await world.get("/v1/events", **WEEK, outcome="error", limit=1_000)).json()["events"]
    failed = week["recommendations"][0]
    assert Decimal(failed["saves"]) == costs(events) > 0
    assert f"{len(events)} failed calls" in failed["evidence"]
    assert [each["saves"] for each in week["recommendations"][1:]] == [None]


async def test_a_trigger_that_only_observes_is_said_to_save_what_is_not_measured(own_world: World) -> None:
    world = own_world
    trigger = {"kind": "high_token_usage", "mode": "observe", "per_call_tokens": 10, "at_percent": 100}
    await world.made("/v1/triggers", {"idempotency_key": fresh(), **trigger})
    await world.made("/v1/reservations", reservation())
    report = (await world.get("/v1/reports/cost", period="today")).json()
    technique = {"technique": "aggressive_compression", "fired": 1, "applied": 0, "saved": None}
    assert report["techniques"] == [technique]
    assert report["saved"] is None
    [advice] = report["recommendations"]
    assert advice["saves"] is None
    assert "applied 0 times" in advice["evidence"]
    chosen = (await world.get("/v1/reports/cost", period="today", user="ada")).json()
    assert chosen["techniques"] == []  # of whom the calls were that it fired for is not known


class Page(HTMLParser):
    """The text of a page, what it loads, and the tags that are open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


async def test_the_page_needs_nothing_else_and_says_what_the_json_says(own_world: World) -> None:
    world = own_world
    await books(world)
    report = (await world.get("/v1/reports/cost", **WEEK, by="cost_center,user")).json()
    for asked in ({"format": "html"}, {}):
        headers = {**world.headers(), **({} if asked else {"Accept": "text/html"})}
        answer = await world.client.get(
            "/v1/reports/cost", headers=headers, params={**WEEK, "by": "cost_center,user", **asked}
        )
        assert answer.headers["content-type"].startswith("text/html")
        page = Page(answer.text)
        assert page.loaded == []
        assert "script" not in page.tags
        assert not re.search(r"url\(|@import|https?:", answer.text)
        text = " ".join(page.texts)
        assert f"exactly {report['total']['cost']} dollars" in text
        assert HOSTILE in text
        assert HOSTILE not in answer.text
        for table in report["tables"]:
            for row in table["rows"]:
                assert f'title="{row["cost"]}"' in answer.text
                assert (row["key"] or "none") in unescape(text)
        assert answer.text.count("<rect") == len(report["trend"]["rows"])


async def test_a_period_without_calls_has_a_report(own_world: World) -> None:
    report = (await own_world.get("/v1/reports/cost", period="2020-02")).json()
    assert (report["first_day"], report["last_day"]) == ("2020-02-01", "2020-02-29")
    assert (report["cost_per_call"], report["change"], report["top"]) == (None, None, [])
    page = await own_world.get("/v1/reports/cost", period="2020-02", format="html")
    assert page.status_code == 200
    assert "not measured" in page.text


async def test_what_cannot_be_asked_for_is_refused_in_words(world: World) -> None:
    check_problem(await world.get("/v1/reports/cost", by="colour"), 422, "invalid_request", "by")
    check_problem(
        await world.get("/v1/reports/cost", detail="summary", format="html"), 422, "invalid_request", "detail"
    )
    check_problem(await world.get("/v1/reports/cost", period="soon"), 422, "invalid_request", "period")
    check_problem(await world.get("/v1/reports/cost", role=Role.AGENT), 403, "forbidden")
    summary = (await world.get("/v1/reports/cost", detail="summary")).json()
    assert not {"tables", "trend", "techniques"} & summary.keys()


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0.000000000", "$0.00"), ("1234.567890123", "$1,234.57"), ("0.000001499", "$0.000001"), ("-2.5", "-$2.50"),
        ("0.125", "$0.125000"), ("9223372036.854775807", "$9,223,372,036.85"),
    ],
)  # fmt: skip
def test_dollars_are_shown_as_people_read_them(amount: str, shown: str) -> None:
    assert dollars(amount) == shown


def test_many_tokens_are_shown_in_few_digits() -> None:
    counts = (0, 999_999, 1_000_000, 56_557_866, 987_654_321_012, -2_500_000)
    assert [short(each) for each in counts] == ["0", "999,999", "1.0 M", "56.6 M", "987.7 B", "-2.5 M"]


def test_changes_and_columns_of_odd_figures_can_be_shown() -> None:
    assert [change(part) for part in (None, 0.1234, -0.5, 0.0)] == ["nothing before", "+12.3 %", "-50.0 %", "+0.0 %"]
    rows: Any = [{"key": key, "cost": cost} for key, cost in (("a", "-1"), ("b", "4"), (None, "0"), ("d", "2"))]
    columns = columns_of({"by": "day", "rows": rows, "rest": rows[0], "others": 0})
    assert [(each.height, each.label) for each in columns] == [(0, "a"), (160, "b"), (0, ""), (80, "d")]
