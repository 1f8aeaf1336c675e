"""The list of events: each once, in pages and as CSV, whatever is booked meanwhile; it adds up to the reports."""

import csv
import hashlib
import io
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pyarrow
import pytest
from pyarrow import parquet

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.reports.event_list import COLUMNS, EventList
from token_ledger.reports.formats import event_csv
from token_ledger.reports.formats.event_json import ListedEvent

NOW = datetime.now(UTC).replace(microsecond=0)
SPAN: dict[str, Any] = {"from": (NOW - timedelta(days=3)).isoformat(), "to": (NOW + timedelta(hours=2)).isoformat()}
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "'quoted", "plain", 'a "b", c;d', "名前")


async def booked(world: World, number: int = 25, path: str = "/v1/events", **fields: Any) -> None:
    events = [
        event(user=f"user {each % 3}", occurred_at=(NOW - timedelta(minutes=each // 2)).isoformat(), **fields)
        for each in range(number)
    ]  # fmt: skip
    answer = await world.made(path, {"events": events})
    assert {each["status"] for each in answer["results"]} == {"booked"}, answer


async def pages(world: World, limit: int, **params: Any) -> AsyncIterator[dict[str, Any]]:
    after: dict[str, Any] = {}
    while True:
        answer = await world.get("/v1/events", limit=limit, **SPAN, **params, **after)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        yield page
        if page["next"] is None:
            return
        after = {"after": page["next"]}


async def listed(world: World, limit: int = 1_000, **params: Any) -> list[dict[str, Any]]:
    return [each async for page in pages(world, limit, **params) for each in page["events"]]


def table(text: str) -> tuple[list[dict[str, str]], str]:
    """Return the rows of CSV, and its last line, once that is found to be true."""
    *lines, last = text.splitlines(keepends=True)
    body = "".join(lines)
    rows = list(csv.DictReader(io.StringIO(body, newline="")))
    hashed = hashlib.sha256(body.encode()).hexdigest()
    assert last == f"# end of {len(rows)} events; sha256 of all lines above: {hashed}\n"
    return rows, last


def as_text(value: Any) -> str:
    return "true" if value is True else "false" if value is False else str(value)


async def test_pages_have_every_event_once_and_nothing_that_is_booked_meanwhile(own_world: World) -> None:
    await booked(own_world)
    whole = await listed(own_world)
    assert len(whole) == 25
    order = [(each["posted_at"], int(each["event_id"])) for each in whole]
    assert order == sorted(order, reverse=True)
    found: list[dict[str, Any]] = []
    async for page in pages(own_world, 4):
        found += page["events"]
        await booked(own_world, 3)  # of the same instants
    assert found == whole


async def test_an_event_says_what_it_was_and_what_it_cost(own_world: World) -> None:
    world = own_world
    at = (NOW - timedelta(hours=1)).isoformat()
    one = event(
        user="ada", cost_center="research", request_type="chat", tool="search", tags={"team": "red"}, occurred_at=at,
        measured={"latency_ms": 1_830}, outcome="error", estimated=True, idempotency_key="one",
        usage={"input_tokens": 1_200, "output_tokens": 240, "cache_read_tokens": 800, "reasoning_tokens": 40},
    )  # fmt: skip
    answer = await world.made("/v1/usage", {"events": [one]})
    [booked_event] = answer["results"]
    assert booked_event["status"] == "booked", booked_event
    [shown] = await listed(world)
    assert shown == {
        "event_id": booked_event["event_id"], "posted_at": shown["posted_at"], "day": at[:10],
        "occurred_at": shown["occurred_at"], "booked_at": shown["booked_at"], "kind": "llm_call", "outcome": "error",
        "user": "ada", "cost_center": "research", "agent_type": "data_agent", "request_type": "chat",
        "provider": "openai", "model": "gpt-5.4", "tool": "search", "tags": {"team": "red"}, "calls": 1,
        "input_tokens": 1_200, "cache_read_tokens": 800, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0,
        "output_tokens": 240, "reasoning_tokens": 40, "cost": booked_event["cost"], "list_cost": booked_event["cost"],
        "price_id": booked_event["price_id"], "estimated": True, "unpriced": False, "late": False, "latency_ms": 1_830,
    }  # fmt: skip
    assert datetime.fromisoformat(shown["posted_at"]) == datetime.fromisoformat(at)


async def test_csv_has_what_the_pages_have_and_says_where_it_ends(
    own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = own_world
    monkeypatch.setattr(event_csv, "_LINES_AT_A_TIME", 4)
    for name in FORMULAS:
        await booked(world, 3, cost_center=name, tags={"team": name})
    hold = (await world.made("/v1/reservations", reservation(user="bob")))["reservation_id"]
    usage = {"input_tokens": 900, "output_tokens": 77}
    await world.made(f"/v1/reservations/{hold}/settle", {"idempotency_key": fresh(), "usage": usage})
    measured = {"error_kind": "timeout", "finish_reason": "length", "latency_ms": 5, "retries": 2}
    await booked(world, 1, measured=measured, path="/v1/usage")
    shown = await listed(world)
    for asked in ({"format": "csv"}, {}):
        headers = {**world.headers(), **({} if asked else {"Accept": "text/csv"})}
        answer = await world.client.get("/v1/events", headers=headers, params={**SPAN, **asked})
        assert answer.headers["content-type"].startswith("text/csv")
        rows, _ = table(answer.text)
        assert len(rows) == len(shown) == 26
        for row, each in zip(rows, shown, strict=True):
            for column in COLUMNS:
                value, text = each.get(column.name), row[column.name]
                if column.kind == "object":
                    assert (json.loads(text) if text else None) == value
                elif column.kind == "instant" and value is not None:
                    assert datetime.fromisoformat(text) == datetime.fromisoformat(value)
                elif column.kind == "name" and value is not None and value[0] in "=+-@":
                    assert text == f"'{value}"
                else:
                    assert text == ("" if value is None else as_text(value)), column.name


async def test_parquet_has_what_the_pages_have_with_types(own_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = own_world
    monkeypatch.setattr(event_csv, "_LINES_AT_A_TIME", 4)
    for name in FORMULAS:
        await booked(world, 3, cost_center=name, tags={"team": name})
    shown = await listed(world)
    for asked in ({"format": "parquet"}, {}):
        headers = {**world.headers(), **({} if asked else {"Accept": "application/vnd.apache.parquet"})}
        answer = await world.client.get("/v1/events", headers=headers, params={**SPAN, **asked})
        read = parquet.read_table(io.BytesIO(answer.content))
        assert answer.headers["content-disposition"].endswith('.parquet"')
        assert read.schema.field("cost").type == pyarrow.decimal128(19, 9)
        rows = read.to_pylist()
        assert len(rows) == len(shown) == 24
        for row, each in zip(rows, shown, strict=True):
            for column in COLUMNS:
                value, found = each.get(column.name), row[column.name]
                match column.kind:
                    case "id" if value is not None:
                        assert found == int(value)
                    case "money" if value is not None:
                        assert found == Decimal(value)
                    case "instant":
                        assert found == datetime.fromisoformat(value or "")
                    case "object":
                        assert (json.loads(found) if found else None) == value
                    case _:
                        assert found == value, column.name
    nothing = await world.get("/v1/events", format="parquet", period="2020-02")
    assert parquet.read_table(io.BytesIO(nothing.content)).num_rows == 0
    with pytest.raises(pyarrow.ArrowInvalid):
        parquet.read_table(io.BytesIO(answer.content[:-9]))


async def test_a_server_without_pyarrow_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    problem = check_problem(await world.get("/v1/events", format="parquet"), 422, "invalid_request", "format")
    assert "token-ledger[parquet]" in problem["detail"]


@pytest.mark.parametrize(
    "chosen",
    [
        {}, {"user": "user 1"}, {"user": ["user 0", "user 2"]}, {"cost_center": "research"}, {"tag": "team=red"},
        {"estimated": "true"}, {"outcome": "error"}, {"model": "gpt-5.4", "user": "user 1"}, {"user": "nobody"},
    ],
    ids=str,
)  # fmt: skip
async def test_the_list_adds_up_to_the_report_of_spend(chosen: dict[str, Any], own_world: World) -> None:
    world = own_world
    await booked(world, 7, cost_center="research")
    await booked(world, 5, tags={"team": "red"}, estimated=True)
    await booked(world, 4, outcome="error")
    events = await listed(world, 5, **chosen)
    total = (await world.get("/v1/reports/spend", **SPAN, **chosen)).json()["total"]
    assert total["calls"] == len(events)
    assert Decimal(total["cost"]) == sum((Decimal(each["cost"]) for each in events), Decimal())
    for name in ("input_tokens", "output_tokens"):
        assert total[name] == sum(each[name] for each in events)


async def test_what_is_no_place_in_this_list_is_refused_in_words(world: World) -> None:
    for text in ("", "7", "a.b.c", "1.2", "1.2.99999999999999999999", f"{10**17}.1.1", "-1.2.3\n"):
        check_problem(await world.get("/v1/events", after=text), 422, "invalid_request", "after")
    other = await world.get("/v1/events", after="1000000.1.1", **SPAN)
    assert "another span" in check_problem(other, 422, "invalid_request", "after")["detail"]
    check_problem(await world.get("/v1/events", limit=1_001), 422, "invalid_request", "limit")
    check_problem(await world.get("/v1/events", format="xml"), 422, "invalid_request", "format")
    check_problem(await world.get("/v1/events", role=Role.AGENT), 403, "forbidden")


async def test_an_export_that_fails_on_its_way_has_no_last_line(own_world: World) -> None:
    await booked(own_world, 3)

    class Gone(Exception):
        pass

    def away() -> Any:
        raise Gone

    sent: list[bytes] = []
    with pytest.raises(Gone):
        sent.extend([part async for part in event_csv.event_csv(away, cast(EventList, None))])
    assert b"end of" not in b"".join(sent)


def test_the_last_line_of_a_page_is_found_whatever_names_have_in_them() -> None:
    names = ['a "quoted" name', "two\nlines", '"\n"', '\n\n","\n', "", '""']
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, name in enumerate(names):
        writer.writerow([number, name, "x"])
        last = event_csv._last_line(text.getvalue().encode())
        assert next(csv.reader(io.StringIO(last.decode(), newline=""))) == [str(number), name, "x"]


def test_answers_describe_the_columns_of_the_list() -> None:
    assert [*ListedEvent.__annotations__] == [column.name for column in COLUMNS]
