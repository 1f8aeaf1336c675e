"""Providers' responses reported as they came: read, booked, and never stored."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any, Final

import pytest
from token_ledger_sdk.providers import reading_of

from tests.api.world import World, check_problem, fresh
from token_ledger.proof.verify import verify_database

RECORDED: Final = Path(__file__).resolve().parents[2] / "sdk" / "tests" / "data"


def recorded() -> list[tuple[str, Any]]:
    """Return the provider and the body of every recorded response that was not streamed and has a usage."""
    with gzip.open(RECORDED / "others.jsonl.gz", "rt", encoding="utf-8", newline="") as lines:
        archived = {each["file"]: each["body"] for each in map(json.loads, lines)}
    with (RECORDED / "index.csv").open(encoding="utf-8", newline="") as rows:
        found = [row for row in csv.DictReader(rows) if row["stream"] == "0" and row["input_raw"]]
    return [
        (row["provider"], json.loads(archived.get(row["file"]) or (RECORDED / row["file"]).read_text("utf-8")))
        for row in found
    ]


def responded(body: Any, **fields: Any) -> dict[str, Any]:
    return {
        "source": "curl", "idempotency_key": fresh(), "user": "ada", "agent_type": "script", "body": body, **fields,
    }  # fmt: skip


ADVISED: Final = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [],
    "usage": {
        "input_tokens": 2_390, "output_tokens": 121, "iterations": [
            {"type": "message", "input_tokens": 2_390, "output_tokens": 121},
            {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2_518, "output_tokens": 22},
        ],
    },
}  # fmt: skip


async def report(world: World, *events: Any) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = (await world.made("/v1/usage", {"events": list(events)}))["results"]
    return results


async def test_every_recorded_response_is_booked_with_the_usage_that_it_says(world: World) -> None:
    bodies = recorded()
    assert len(bodies) > 100
    assert len({provider for provider, _ in bodies}) > 8
    # Some were recorded twice; here each is a response of its own.
    sent = [
        responded({**body, "id": f"{number}"} if "id" in body else body, provider=provider, model="asked-for")
        for number, (provider, body) in enumerate(bodies)
    ]
    results = await report(world, *sent)
    assert {result["status"] for result in results} == {"booked"}
    usages = [reading_of(body).usage for _, body in bodies]
    assert [result["tokens"] for result in results] == [used.input_tokens + used.output_tokens for used in usages]
    assert (await verify_database(world.url, "acme")).clean


async def test_what_another_model_used_within_a_call_is_an_event_of_the_same_call(world: World) -> None:
    sent = responded({**ADVISED, "id": fresh("msg")}, provider="anthropic")
    [booked] = await report(world, sent)
    assert (booked["status"], booked["tokens"]) == ("booked", 2_511)
    [other] = booked["other_models"]
    assert (other["booked"], other["model"], other["tokens"]) == (True, "claude-opus-4-8", 2_540)
    rows = await world.rows(
        "select model, calls, kind, cost_nanos from usage_events where response_id = $1 order by event_id",
        sent["body"]["id"],
    )
    assert [(row["model"], row["calls"], row["kind"]) for row in rows] == [
        ("claude-sonnet-5", 1, None), ("claude-opus-4-8", 0, "other_model"),
    ]  # fmt: skip
    assert sum(row["cost_nanos"] for row in rows) == 19_130_000
    [again] = await report(world, sent)
    assert (again["replayed"], again["other_models"]) == (True, booked["other_models"])
    [twice] = await report(world, {**sent, "idempotency_key": fresh()})
    assert (twice["status"], twice["other_models"][0]["booked"]) == ("duplicate", False)
    key = {"key": sent["idempotency_key"], "source": "curl", "reason": "a test"}
    taken = await world.made("/v1/reversals", key)
    assert (taken["cost"], taken["calls"], len(taken["corrections"])) == ("-0.019130000", -1, 2)
    assert (await verify_database(world.url, "acme")).clean


async def test_nothing_that_was_said_is_stored(world: World) -> None:
    said = {"id": fresh("r"), "model": "gpt-5.4", "choices": [{"message": {"content": "what a model wrote"}}]}
    read = responded({**said, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}, provider="openai")
    unread = responded({**said, "usage": {"prompt_tokens": "what a model wrote"}}, provider="openai")
    late = {**read, "idempotency_key": fresh(), "occurred_at": "2020-01-01T00:00:00Z"}
    results = await report(world, read, unread, late)
    assert [result["status"] for result in results] == ["booked", "quarantined", "quarantined"]
    assert results[1]["field"] == "events.1.body"
    for table in ("usage_events", "quarantine", "operation_keys"):
        rows = await world.rows(f"select t::text as row from {table} as t")
        assert not [row["row"] for row in rows if "what a model wrote" in row["row"]]
    kept = (await world.get("/v1/quarantine", limit=2)).json()["quarantine"]
    assert kept[1]["body"]["body"] == {"usage": {"prompt_tokens": "…"}}
    assert kept[0]["body"]["usage"] == {"input_tokens": 7, "output_tokens": 3}


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"provider": "openai"}, "gpt-5.4"),
        ({"provider": "openai", "model": "gpt-5.4-mini"}, "gpt-5.4"),
        ({"provider": "azure", "model": "my-deployment"}, "my-deployment"),
    ],
)
async def test_the_model_that_served_is_booked_where_the_provider_says_it(
    fields: dict[str, Any], model: str, world: World
) -> None:
    body = {"id": fresh("r"), "model": "gpt-5.4", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    [booked] = await report(world, responded(body, **fields))
    [row] = await world.rows("select model from usage_events where event_id = $1", int(booked["event_id"]))
    assert row["model"] == model


async def test_a_response_says_its_tier_and_otherwise_the_caller(world: World) -> None:
    used = {"model": "gpt-5.4", "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}
    bodies = [{**used, "id": fresh("r"), **tier} for tier in ({"service_tier": "flex"}, {}, {})]
    results = await report(
        world, responded(bodies[0], provider="openai", service_tier="batch"),
        responded(bodies[1], provider="openai", service_tier="batch"), responded(bodies[2], provider="openai"),
    )  # fmt: skip
    tiers = [
        (await world.rows("select service_tier from usage_events where event_id = $1", int(each["event_id"])))[0][0]
        for each in results
    ]
    assert tiers == ["flex", "batch", None]


async def test_a_response_that_names_no_model_needs_one(world: World) -> None:
    body = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    results = await report(
        world, responded(body, provider="openai"), responded(body, provider="openai", model="gpt-5.4")
    )
    assert [(each["status"], each.get("field")) for each in results] == [
        ("quarantined", "events.0.model"), ("booked", None),
    ]  # fmt: skip


async def test_the_same_usage_with_and_without_its_response_is_one_event(world: World) -> None:
    body = {"id": fresh("r"), "model": "gpt-5.4", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    sent = responded(body, provider="openai")
    [booked] = await report(world, sent)
    spelled = {name: said for name, said in sent.items() if name != "body"}
    usage = {"input_tokens": 7, "output_tokens": 3}
    [again] = await report(world, {**spelled, "model": "gpt-5.4", "usage": usage, "response_id": body["id"]})
    assert again == {**booked, "replayed": True}


async def test_a_body_is_of_an_event_and_of_nothing_else(world: World) -> None:
    check_problem(await world.post("/v1/usage", {"events": [], "body": {}}), 422, "invalid_request")
