"""Lists of events: each event has its own result, and a bad one does not affect the others."""

import asyncio
import json
from typing import Any

import pytest

from tests.api.verbs import event
from tests.api.world import World, check_problem, fresh

RAW = {
    "a NUL in a name": ('"user": "ada"', '"user": "a\\u0000b"'),
    "half a pair in a name": ('"user": "ada"', '"user": "\\ud800"'),
    "half a pair in an unknown field": ('"user": "ada"', '"user": "ada", "note": "\\udc00"'),
    "a NUL in an unknown field's name": ('"user": "ada"', '"user": "ada", "no\\u0000te": "x"'),
    "half a pair in an unknown field's name": ('"user": "ada"', '"user": "ada", "no\\ud800te": "x"'),
    "NaN": ('"input_tokens": 1000', '"input_tokens": NaN'),
    "Infinity": ('"input_tokens": 1000', '"input_tokens": Infinity'),
    "beyond floats": ('"input_tokens": 1000', '"input_tokens": 1e999'),
    "negative": ('"input_tokens": 1000', '"input_tokens": -1'),
    "a float": ('"input_tokens": 1000', '"input_tokens": 1000.0'),
    "beyond bigint": ('"input_tokens": 1000', '"input_tokens": 9223372036854775808'),
    "a thousand digits": ('"input_tokens": 1000', '"input_tokens": ' + "9" * 1_000),
    "text for a number": ('"input_tokens": 1000', '"input_tokens": "1000"'),
    "nested deep": ('"user": "ada"', '"user": ' + "[" * 300 + "]" * 300),
    "long": ('"user": "ada"', '"user": "' + "x" * 30_000 + '"'),
    "an unknown field": ('"user": "ada"', '"user": "ada", "prompt": "secret"'),
    "no user": ('"user": "ada", ', ""),
    "a user beside a run": ('"user": "ada"', '"user": "ada", "run_id": "1"'),
    "a run that is none": ('"user": "ada"', '"run_id": "9223372036854775807"'),
    "an instant without zone": ('"user": "ada"', '"user": "ada", "occurred_at": "2026-11-21T10:00:00"'),
    "an instant that is a number": ('"user": "ada"', '"user": "ada", "occurred_at": 1763719200'),
    "too long ago": ('"user": "ada"', '"user": "ada", "occurred_at": "2020-01-01T00:00:00Z"'),
    "in the future": ('"user": "ada"', '"user": "ada", "occurred_at": "2999-01-01T00:00:00Z"'),
    "before every calendar": ('"user": "ada"', '"user": "ada", "occurred_at": "0001-01-01T00:00:00+14:00"'),
    "a bad tag": ('"user": "ada"', '"user": "ada", "tags": {"": "x"}'),
}
NAMELESS = {
    "null": "null",
    "a number": "5",
    "text": '"event"',
    "a list": "[]",
    "an empty object": "{}",
    "no key": '{"source": "batch"}',
    "no source": '{"idempotency_key": "a"}',
    "a key that is a number": '{"source": "batch", "idempotency_key": 5}',
    "a NUL in the key": '{"source": "batch", "idempotency_key": "a\\u0000"}',
    "half a pair in the source": '{"source": "\\ud800", "idempotency_key": "a"}',
    "a key too long": json.dumps({"source": "batch", "idempotency_key": "x" * 201}),
}


async def _send(world: World, *events: str) -> list[dict[str, Any]]:
    content = '{"events": [' + ", ".join(events) + "]}"
    headers = {**world.headers(), "Content-Type": "application/json"}
    answer = await world.client.post("/v1/events", headers=headers, content=content.encode())
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def _events_and_kept(world: World) -> tuple[int, int]:
    rows = await world.rows("select (select count(*) from usage_events), (select count(*) from quarantine)")
    return rows[0][0], rows[0][1]


@pytest.mark.parametrize("label", RAW)
async def test_a_bad_event_is_quarantined_and_the_others_are_booked(label: str, world: World) -> None:
    good = json.dumps(event())
    old, new = RAW[label]
    assert old in good
    bad = json.dumps(event()).replace(old, new, 1)
    events, kept = await _events_and_kept(world)
    results = await _send(world, good, bad, json.dumps(event()))
    assert [result["status"] for result in results] == ["booked", "quarantined", "booked"]
    assert results[1]["code"] in ("invalid_request", "run_not_found", "time_out_of_range")
    assert results[1]["detail"]
    if results[1]["code"] == "invalid_request":
        assert results[1]["field"].startswith("events.1")
    assert await _events_and_kept(world) == (events + 2, kept + 1)
    again = await _send(world, bad)
    assert again[0]["quarantine_id"] == results[1]["quarantine_id"]
    assert again[0]["replayed"] is True
    assert await _events_and_kept(world) == (events + 2, kept + 1)


@pytest.mark.parametrize("label", NAMELESS)
async def test_an_event_without_source_or_key_is_refused_and_the_others_are_booked(label: str, world: World) -> None:
    events, kept = await _events_and_kept(world)
    results = await _send(world, json.dumps(event()), NAMELESS[label], json.dumps(event()))
    assert [result["status"] for result in results] == ["booked", "refused", "booked"]
    assert results[1]["code"] == "invalid_request"
    assert results[1]["field"].startswith("events.1")
    assert await _events_and_kept(world) == (events + 2, kept)


@pytest.mark.parametrize("later", [{"agent_type": 5}, {"user": None}, {"occurred_at": "2020-01-01T00:00:00Z"}])
async def test_an_event_that_cannot_be_booked_conflicts_with_one_that_was(later: dict[str, Any], world: World) -> None:
    booked = event()
    results = await _send(world, json.dumps(booked), json.dumps({**booked, **later}))
    assert [(result["status"], result.get("code")) for result in results] == [
        ("booked", None), ("conflict", "idempotency_conflict"),
    ]  # fmt: skip
    results = await _send(world, json.dumps({**booked, **later}))
    assert [result["status"] for result in results] == ["conflict"]


async def test_a_key_used_with_another_body_conflicts_and_the_others_are_booked(world: World) -> None:
    first = event()
    await _send(world, json.dumps(first))
    before = await _events_and_kept(world)
    results = await _send(world, json.dumps({**first, "agent_type": "other"}), json.dumps(first))
    assert [result["status"] for result in results] == ["conflict", "booked"]
    assert (results[0]["code"], results[0]["field"]) == ("idempotency_conflict", "agent_type")
    assert results[0]["quarantine_id"]
    assert results[1]["replayed"] is True
    assert await _events_and_kept(world) == (before[0], before[1] + 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user": "bob"}, "user"),
        ({"usage": {"input_tokens": 1, "output_tokens": 500}}, "usage.input_tokens"),
        ({"model": "gpt-5.4-mini"}, "model"),
        ({"outcome": "error"}, "outcome"),
        ({"estimated": True}, "estimated"),
        ({"occurred_at": "2026-11-21T00:00:00Z"}, "occurred_at"),
        ({"tags": {"team": "core"}}, "tags"),
    ],
)
async def test_a_conflict_names_the_field(change: dict[str, Any], field: str, world: World) -> None:
    first = event()
    results = await _send(world, json.dumps(first), json.dumps({**first, **change}))
    assert [(result["status"], result.get("field")) for result in results] == [("booked", None), ("conflict", field)]


async def test_the_same_event_twice_in_one_list_is_booked_once(world: World) -> None:
    twin = json.dumps(event())
    events, _ = await _events_and_kept(world)
    results = await _send(world, twin, twin, twin)
    assert [result["replayed"] for result in results] == [False, True, True]
    assert len({result["event_id"] for result in results}) == 1
    assert (await _events_and_kept(world))[0] == events + 1


async def test_the_same_key_from_another_source_is_another_event(world: World) -> None:
    key = fresh()
    results = await _send(
        world, *(json.dumps(event(idempotency_key=key, source=source)) for source in ("batch", "import"))
    )
    assert [result["replayed"] for result in results] == [False, False]


async def test_the_results_of_256_events_are_in_their_order(world: World) -> None:
    events = [
        event(usage={"input_tokens": n, "output_tokens": 0}) if n % 2 else event(usage={"input_tokens": -n})
        for n in range(1, 257)
    ]
    results = await _send(world, *map(json.dumps, events))
    assert [result.get("tokens") for result in results] == [n if n % 2 else None for n in range(1, 257)]


async def test_lists_that_come_together_are_booked_one_after_another(world: World) -> None:
    lists = [[json.dumps(event()) for _ in range(128)] for _ in range(3)]
    answers = await asyncio.gather(*(_send(world, *events) for events in lists))
    ids = sorted([int(result["event_id"]) for result in results] for results in answers)
    assert [each for event_ids in ids for each in event_ids] == sorted(each for event_ids in ids for each in event_ids)


@pytest.mark.parametrize("body", [{}, {"events": []}, {"events": [event()], "source": "batch"}])
async def test_a_malformed_list_is_refused_as_a_whole(body: dict[str, Any], world: World) -> None:
    before = await world.state()
    check_problem(await world.post("/v1/events", body), 422, "invalid_request")
    assert await world.state() == before


async def test_quarantined_events_are_listed(world: World) -> None:
    bad = event(note="unknown")
    kept = (await _send(world, json.dumps(bad)))[0]
    listed = (await world.get("/v1/quarantine", limit=1)).json()["quarantine"][0]
    assert (listed["quarantine_id"], listed["key"]) == (kept["quarantine_id"], bad["idempotency_key"])
    assert listed["code"] == "invalid_request"


@pytest.mark.parametrize("levels", [60, 70, 300, 900])
async def test_a_deeply_nested_event_is_quarantined_and_listed(levels: int, world: World) -> None:
    key = fresh()
    bad = f'{{"source": "s", "idempotency_key": "{key}", "tags": {"[" * levels}{"]" * levels}}}'
    kept = (await _send(world, bad))[0]
    assert kept["status"] == "quarantined"
    assert (await _send(world, bad))[0]["quarantine_id"] == kept["quarantine_id"]
    answer = await world.get("/v1/quarantine", limit=1)
    assert answer.status_code == 200, answer.text
    [listed] = answer.json()["quarantine"]
    assert listed["key"] == key
    assert ("as_sent" in listed["body"]) is (levels > 63)
    [row] = await world.rows("select body ? 'as_sent' as as_text from quarantine where key = $1", key)
    assert row["as_text"] is (levels > 63)


async def test_of_what_the_ledger_does_not_ask_for_texts_are_not_kept(world: World) -> None:
    bad = event(prompt="what a user wrote", usages={"input_tokens": 7, "note": ["what a user wrote"]}, user=None)
    await _send(world, json.dumps(bad))
    [listed] = (await world.get("/v1/quarantine", limit=1)).json()["quarantine"]
    assert listed["body"] == {**bad, "prompt": "…", "usages": {"input_tokens": 7, "note": ["…"]}}


async def test_a_deeply_nested_event_of_an_earlier_version_is_listed(world: World) -> None:
    kept = (await _send(world, json.dumps(event(note="unknown"))))[0]
    deep = f'{{"x": {"[" * 300}{"]" * 300}}}'
    number = int(kept["quarantine_id"])
    await world.owner.execute("update quarantine set body = $1::text::jsonb where quarantine_id = $2", deep, number)
    answer = await world.get("/v1/quarantine", limit=1)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json()["quarantine"][0]["body"]["as_sent"]) == json.loads(deep)
