"""What was kept of a call is read as what it is: a response, a stream's text in any of its forms, a list of chunks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from token_ledger_sdk import AnyStreamUsage, Reading, Usage, UsageMissing, reading_of, reading_of_recorded

from .test_recorded import ROWS, STREAMS, WITHOUT_USAGE, events_of
from .test_shapes import BEDROCK, COHERE, COHERE_1

Forms = dict[str, Any]


def forms_of(text: str) -> Forms:
    """Return a stream in every form in which it may have been kept."""
    events = events_of(text)
    lines = [line for line in text.splitlines() if line]
    return {
        "as it came": text,
        "CRLF": text.replace("\r\n", "\n").replace("\n", "\r\n"),
        "a byte order mark": "\ufeff" + text,
        "without empty lines": "\n".join(lines),
        "only data": "\n\n".join(line for line in lines if line.startswith("data:")),
        "lines of JSON": "\n".join(json.dumps(event) for event in events),
        "a JSON list": json.dumps(events),
        "an event over several lines": "\n\n".join(
            "\n".join(f"data: {line}" for line in json.dumps(event, indent=1).splitlines()) for event in events
        ),
        "chunks": events,
        "a tuple of chunks": tuple(events),
    }


@pytest.mark.parametrize("row", STREAMS, ids=[row["file"] for row in STREAMS])
def test_a_recorded_stream_is_read_alike_in_every_form(row: dict[str, str], recorded: Callable[[str], str]) -> None:
    text = recorded(row["file"][:3])
    stream = AnyStreamUsage()
    list(stream.watch(events_of(text)))
    for name, form in forms_of(text).items():
        if row["file"][:3] in WITHOUT_USAGE:
            with pytest.raises(UsageMissing, match="'include_usage': True"):
                reading_of_recorded(form)
        else:
            assert reading_of_recorded(form) == stream.reading(), name


@pytest.mark.parametrize("row", [row for row in ROWS if row["stream"] == "0" and row["input_raw"]][::10])
def test_a_recorded_response_is_read_from_its_text(row: dict[str, str], recorded: Callable[[str], str]) -> None:
    text = recorded(row["file"][:3])
    assert reading_of_recorded(text) == reading_of_recorded(json.loads(text)) == reading_of(json.loads(text))


@pytest.mark.parametrize(
    ("chunks", "reading"),
    [
        (BEDROCK, Reading(Usage(60, 4, 50), provider_format="bedrock")),
        (COHERE, Reading(Usage(8, 3), response_id="c1", provider_format="cohere")),
        (COHERE_1, Reading(Usage(8, 3), provider_format="cohere", response_id="c1")),
    ],
)
def test_streams_of_which_there_is_no_recording(chunks: list[dict[str, Any]], reading: Reading) -> None:
    for form in (chunks, json.dumps(chunks), "\n".join(map(json.dumps, chunks))):
        assert reading_of_recorded(form) == reading
    for cut in (chunks[:-1], json.dumps(chunks[:-1]), "\n".join(map(json.dumps, chunks))[:-5]):
        with pytest.raises(UsageMissing, match="was cut off before"):
            reading_of_recorded(cut)


@pytest.mark.parametrize("row", STREAMS, ids=[row["file"] for row in STREAMS])
def test_a_text_that_was_cut_off_is_never_read_as_less(row: dict[str, str], recorded: Callable[[str], str]) -> None:
    """Wherever it ends, a stream has either its final figures or none."""
    text = recorded(row["file"][:3])
    if row["file"][:3] in WITHOUT_USAGE:
        return
    final = reading_of_recorded(text).usage
    for length in range(0, len(text), max(1, len(text) // 60)):
        try:
            usage = reading_of_recorded(text[:length]).usage
        except UsageMissing:
            continue
        assert usage == final


def test_chunks_of_several_responses_are_not_read_as_one(recorded: Callable[[str], str]) -> None:
    answers = [{"id": name, "model": "m", "choices": [{"finish_reason": "stop"}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 1}} for name in ("a", "b")]  # fmt: skip
    for form in (answers, json.dumps(answers), "\n".join(map(json.dumps, answers))):
        with pytest.raises(UsageMissing, match=r"several responses \('a', 'b'\): give each by itself"):
            reading_of_recorded(form)
    with pytest.raises(UsageMissing, match="several responses"):
        reading_of_recorded(recorded("196") + recorded("184"))


@pytest.mark.parametrize("text", ["", "hello", "data: [DONE]\n\n", "[" * 100_000, "5", "data: {", 'data: ["a"]\n\n'])
def test_any_other_text_is_named(text: str) -> None:
    with pytest.raises(UsageMissing, match="neither a response nor a stream"):
        reading_of_recorded(text)


@pytest.mark.parametrize("chunks", [[], [5, None, "data: {}"], [{"a": 1}], [["x"]]])
def test_a_list_of_anything_else_has_no_known_format(chunks: list[Any]) -> None:
    for form in (chunks, json.dumps(chunks)):
        with pytest.raises(UsageMissing, match="no event of this stream had a known format"):
            reading_of_recorded(form)


def test_a_stream_of_more_chunks_than_asked_for_is_not_read() -> None:
    for form in (COHERE, json.dumps(COHERE), "\n".join(map(json.dumps, COHERE))):
        assert reading_of_recorded(form, most_chunks=3).usage == Usage(8, 3)
        with pytest.raises(UsageMissing, match="more than 2 chunks"):
            reading_of_recorded(form, most_chunks=2)
