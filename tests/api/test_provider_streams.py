"""Recorded streams of providers reported as they came: as text or as chunks, read, booked, and never stored."""

import csv
import gzip
import json
from typing import Any, Final

import pytest
from token_ledger_sdk.providers import chunks_of, reading_of_recorded

from tests.api.test_provider_bodies import RECORDED, report, responded
from tests.api.world import World, fresh
from token_ledger.proof.verify import verify_database
from token_ledger.wire.bodies.events import A_STREAM, MOST_CHUNKS

BEDROCK: Final = [
    {"messageStart": {"role": "assistant"}}, {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": {"inputTokens": 10, "outputTokens": 4, "cacheReadInputTokens": 50}}},
]  # fmt: skip
COHERE: Final = [
    {"type": "message-start", "id": "c1"},
    {"type": "message-end", "delta": {"usage": {"billed_units": {"input_tokens": 8, "output_tokens": 3}}}},
]


def streams(*, with_usage: bool) -> list[tuple[str, str, str]]:
    """Return the API, the provider and the text of every recorded stream that has a usage, or has none."""
    with gzip.open(RECORDED / "others.jsonl.gz", "rt", encoding="utf-8", newline="") as lines:
        archived = {each["file"]: each["body"] for each in map(json.loads, lines)}
    with (RECORDED / "index.csv").open(encoding="utf-8", newline="") as rows:
        found = [row for row in csv.DictReader(rows) if row["stream"] == "1" and bool(row["input_raw"]) == with_usage]
    return [
        (row["api"], row["provider"], archived.get(row["file"]) or (RECORDED / row["file"]).read_text("utf-8"))
        for row in found
    ]


async def test_every_recorded_stream_is_booked_with_the_usage_that_it_says_as_text_and_as_chunks(world: World) -> None:
    found = streams(with_usage=True)
    assert {api for api, _, _ in found} == {
        "anthropic_messages", "gemini_generate", "openai_chat", "openai_responses",
    }  # fmt: skip
    sent = [(provider, text, reading_of_recorded(text)) for _, provider, text in found]
    sent += [("bedrock", json.dumps(BEDROCK), reading_of_recorded(BEDROCK))]
    sent += [("cohere", json.dumps(COHERE), reading_of_recorded(COHERE))]
    chunks = [json.loads(text) if text.startswith("[") else chunks_of(text) for _, text, _ in sent]
    texts = [responded(text, provider=provider, model="asked-for") for provider, text, _ in sent]
    keyed = zip(texts, chunks, strict=True)
    as_text, as_chunks = [], []
    # The largest stream by itself is within the limit of a body, but all of them are not.
    for text, listed in keyed:
        as_text += await report(world, text)
        as_chunks += await report(world, {**text, "body": listed})
    assert {result["status"] for result in as_text} <= {"booked", "duplicate"}
    assert [result["tokens"] for result in as_text if result["status"] == "booked"] == [
        reading.usage.input_tokens + reading.usage.output_tokens
        for (_, _, reading), result in zip(sent, as_text, strict=True) if result["status"] == "booked"
    ]  # fmt: skip
    # The key is the same, and so is what was read: a stream is the same event in both forms.
    assert as_chunks == [{**result, "replayed": True} for result in as_text]
    assert (await verify_database(world.url, "acme")).clean


async def test_a_stream_without_usage_says_what_to_switch_on(world: World) -> None:
    found = streams(with_usage=False)
    results = await report(world, *(responded(text, provider=provider) for _, provider, text in found))
    assert [result["status"] for result in results] == ["quarantined"] * len(found) != []
    for number, result in enumerate(results):
        assert result["field"] == f"events.{number}.body"
        assert "stream_options={'include_usage': True}" in result["detail"]


async def test_the_example_of_a_stream_is_read(world: World) -> None:
    [booked] = await report(world, responded(A_STREAM, provider="openai"))
    assert (booked["status"], booked["tokens"]) == ("booked", 10)
    event_id = int(booked["event_id"])
    [row] = await world.rows("select model, response_id from usage_events where event_id = $1", event_id)
    assert tuple(row) == ("gpt-5.4", "chatcmpl-1")


async def test_nothing_that_a_stream_said_is_stored(world: World) -> None:
    begun = {"type": "message_start", "message": {"id": fresh("m"), "model": "claude-sonnet-5", "usage": {
        "input_tokens": 7, "output_tokens": 1, "note": "what a model wrote"}}}  # fmt: skip
    said = {"type": "content_block_delta", "delta": {"text": "what a model wrote"}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    whole, cut = [begun, said, ended], [begun, said]
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in cut)
    results = await report(world, *(responded(body, provider="anthropic") for body in (whole, cut, text)))
    assert [result["status"] for result in results] == ["booked", "quarantined", "quarantined"]
    assert "cut off" in results[1]["detail"]
    for table in ("usage_events", "quarantine", "operation_keys"):
        rows = await world.rows(f"select t::text as row from {table} as t")
        assert not [row["row"] for row in rows if "what a model wrote" in row["row"]]
    kept = (await world.get("/v1/quarantine", limit=2)).json()["quarantine"]
    usage = {"input_tokens": 7, "output_tokens": 1, "note": "…"}
    assert [each["body"]["body"] for each in kept] == [[{"message": {"usage": usage}}]] * 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "neither a response nor a stream"), ("hello", "neither a response nor a stream"),
        ("[" * 50_000, "neither a response nor a stream"), ('data: {"a": 1}\n\n', "no event of this stream"),
        ([], "no event of this stream"), ([1, "a", None], "no event of this stream"), (5, "as text or as a list"),
        (None, "as text or as a list"), ([{"id": name, "choices": []} for name in "ab"], "several responses"),
        ("{}\n" * (MOST_CHUNKS + 1), "more than 20000 chunks"), ([{}] * (MOST_CHUNKS + 1), "more than 20000 chunks"),
        ([[[]]], "no event of this stream"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_stream_is_kept_and_the_others_are_booked(body: Any, reason: str, world: World) -> None:
    results = await report(world, responded(A_STREAM.replace("chatcmpl-1", fresh("c")), provider="openai"),
                           responded(body, provider="openai"))  # fmt: skip
    assert [result["status"] for result in results] == ["booked", "quarantined"]
    assert (results[1]["field"], reason in results[1]["detail"]) == ("events.1.body", True), results[1]
