"""JSON with a mapping: an object a line, or an array, however it is broken into lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.imports.reading import Event, a_file, accepted, events, keys, quarantined, skipped
from token_ledger.imports.json_table import read
from token_ledger.imports.json_values import LONGEST_DOCUMENT
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.rows import Defaults, Row, SkipReason, UnreadableFile
from token_ledger.imports.text_lines import LONGEST_LINE

ALL = Defaults(agent_type="data_agent")
COLUMNS = {
    "occurred_at": "at", "user": "user.name", "provider": "provider", "model": "model",
    "input_tokens": "usage.prompt_tokens", "output_tokens": "usage.completion_tokens",
}  # fmt: skip
CALL: Event = {
    "at": "2026-11-21T09:30:00Z", "user": {"name": "ada"}, "provider": "openai", "model": "gpt-5.4",
    "usage": {"prompt_tokens": 1200, "completion_tokens": 260},
}  # fmt: skip


def a_mapping(**changes: Any) -> TableMapping:
    return TableMapping.model_validate({"columns": COLUMNS, **changes})


def rows(folder: Path, content: str | bytes, mapping: TableMapping | None = None, *, zipped: bool = False) -> list[Row]:
    return [*read(a_file(folder, content, compressed=zipped), ALL, mapping or a_mapping())]


def lines(*calls: Event) -> str:
    return "".join(json.dumps(call) + "\n" for call in calls)


SECOND = {**CALL, "user": {"name": "bo"}}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lines(CALL, SECOND).encode(), id="an object a line"),
        pytest.param(lines(CALL, SECOND).rstrip().encode(), id="without a last end"),
        pytest.param(lines(CALL, SECOND).replace("\n", "\r\n\r\n").encode(), id="ends of Windows, empty lines"),
        pytest.param(b"\xef\xbb\xbf" + lines(CALL, SECOND).encode(), id="a mark before UTF-8"),
        pytest.param(lines(CALL, SECOND).encode("utf-16"), id="UTF-16 with its mark"),
        pytest.param(json.dumps([CALL, SECOND]).encode(), id="an array in one line"),
        pytest.param(json.dumps([CALL, SECOND], indent=2).encode(), id="an array in many lines"),
        pytest.param(b"\n[\n" + b",\n".join(map(str.encode, map(json.dumps, (CALL, SECOND)))) + b"\n]\n", id="between"),
        pytest.param(json.dumps([CALL, SECOND]).encode("utf-16"), id="an array in UTF-16"),
        pytest.param((json.dumps(CALL, indent=2) + "\n" + json.dumps(SECOND, indent=2)).encode(), id="documents"),
    ],
)
def test_however_it_is_written_they_are_the_same_calls(content: bytes, tmp_path: Path) -> None:
    expected = events(rows(tmp_path, lines(CALL, SECOND)))
    assert [event["user"] for event in expected] == ["ada", "bo"]
    assert accepted(expected[0]).usage.input_tokens == 1200
    assert events(rows(tmp_path, content)) == expected
    assert events(rows(tmp_path, content, zipped=True)) == expected


def test_places_are_the_lines_on_which_objects_begin(tmp_path: Path) -> None:
    assert [row.place.line for row in rows(tmp_path, lines(CALL) + "\n" + lines(SECOND))] == [1, 3]
    assert [row.place.line for row in rows(tmp_path, json.dumps([CALL, SECOND], indent=2))] == [2, 14]


def test_keys_do_not_follow_the_order_of_fields(tmp_path: Path) -> None:
    turned = dict(reversed(CALL.items()))
    first, second, third = keys(rows(tmp_path, lines(CALL, turned, SECOND)))
    assert second == f"{first}:2"
    assert third not in (first, second)


def test_an_array_longer_than_a_line_may_be_is_read(tmp_path: Path) -> None:
    padded = {**CALL, "text": "x" * 100_000}
    count = LONGEST_LINE // 100_000 + 10
    content = json.dumps([{**padded, "n": number} for number in range(count)])
    assert len(content) > LONGEST_LINE
    assert len({*keys(rows(tmp_path, content))}) == count


def test_an_object_may_end_anywhere_in_what_is_read_at_once(tmp_path: Path) -> None:
    for size in range(2**20 - 400, 2**20 - 100, 37):
        content = json.dumps([{**CALL, "text": "x" * size}, SECOND, {**CALL, "text": "y" * 3_000_000}])
        assert len(events(rows(tmp_path, content))) == 3


def test_a_field_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    flat = {**CALL, "user.name": "cy", "user": "someone"}
    assert [event["user"] for event in events(rows(tmp_path, lines(flat)))] == ["cy"]


def test_a_usage_is_read_as_its_provider_means_it(tmp_path: Path) -> None:
    columns = {name: column for name, column in COLUMNS.items() if not name.endswith("_tokens")} | {"usage": "usage"}
    told = {"input_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 7}
    content = lines(CALL, {**CALL, "usage": told}, {**CALL, "usage": None})
    found = rows(tmp_path, content, a_mapping(columns=columns))
    first, second = events(found[:2])
    assert (first["usage"]["input_tokens"], second["usage"]["input_tokens"]) == (1200, 100)
    assert second["usage"]["cache_write_5m_tokens"] == 5
    assert skipped(found) == [(3, SkipReason.NO_USAGE)]


def test_numbers_may_be_text_and_names_may_be_numbers(tmp_path: Path) -> None:
    call = {**CALL, "user": {"name": 17}, "usage": {"prompt_tokens": "1,200", "completion_tokens": 260.0}}
    [event] = events(rows(tmp_path, lines(call)))
    assert (event["user"], event["usage"]) == ("17", {"input_tokens": 1200, "output_tokens": 260})


@pytest.mark.parametrize("count", [-1, 1.5, "many", True, [1], {"a": 1}])
def test_what_is_wrong_with_one_row_is_left_to_the_quarantine(count: object, tmp_path: Path) -> None:
    wrong = {**CALL, "usage": {"prompt_tokens": count, "completion_tokens": 1}}
    assert quarantined(events(rows(tmp_path, lines(CALL, wrong)))[1]) == "usage.input_tokens"


LINE = json.dumps(CALL)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        pytest.param(b"", 0, "the file is empty", id="empty"),
        pytest.param(b" \n\n", 1, "the file is empty", id="blank"),
        pytest.param(f"{LINE}\n{LINE[:-9]}\n{LINE}\n", 2, "it is not JSON: invalid control character", id="ends"),
        pytest.param(f"{LINE}\n{LINE[:-9]}", 2, "it is the last line, so the file may have been cut off", id="cut off"),
        pytest.param(f"{LINE}\n{LINE}{LINE}\n", 2, "it is not JSON: extra data", id="two in a line"),
        pytest.param(f"{LINE}\n[1]\n", 2, "a line must be an object with the fields of a call, not [1]", id="list"),
        pytest.param(LINE.replace("1200", "NaN"), 1, "NaN is not JSON: write null", id="NaN"),
        pytest.param(f"[{LINE},\n{LINE.replace('1200', '-Infinity')}]", 2, "-Infinity is not JSON", id="infinity"),
        pytest.param(f"[{LINE},\n{LINE}", 2, "was cut off: export it anew", id="an array without its end"),
        pytest.param(f"[{LINE},\n{LINE[:-3]}", 2, "the file was cut off there", id="an array that is cut off"),
        pytest.param(f"[{LINE}\n{LINE}]", 2, "the array goes on without a comma", id="no comma"),
        pytest.param(f"[{LINE},\n5]", 2, "an object with the fields of a call must begin here", id="a number in it"),
        pytest.param(f"[{LINE},\n]", 2, "an object with the fields of a call must begin here", id="a comma too many"),
        pytest.param(f"[,{LINE}]", 1, "an object with the fields of a call must begin here", id="a comma first"),
        pytest.param(f"[{LINE}]\n[{LINE}]", 2, "something follows the array", id="two arrays"),
        pytest.param("[" * 100_000, 1, "an object with the fields of a call must begin here", id="nested"),
        pytest.param('{"a":' * 100_000, 1, "nested hundreds of levels deep", id="nested objects"),
        pytest.param(f"{LINE}\n".encode() + LINE.replace("ada", "\u00e4da").encode("utf-16-le"), 2,
                     "byte 0xe4 is not UTF-8", id="zeros in between"),
        pytest.param(f"{LINE}\n".encode() + LINE.replace("ada", "aXda").encode().replace(b"X", b"\xe4"), 2,
                     "byte 0xe4 is not UTF-8", id="mixed encodings"),
        pytest.param(f"[{LINE},\n".encode() + LINE.encode().replace(b"ada", b"\xe4da") + b"]", 2,
                     "byte 0xe4 is not UTF-8", id="mixed encodings in an array"),
        pytest.param(f"{LINE}\n" + LINE.replace("ada", "x" * LONGEST_LINE), 2, "longer than 8 MB", id="10 MB"),
        pytest.param(f"[{LINE},\n" + LINE.replace("ada", "x" * (LONGEST_LINE + 2**21)) + "]", 2,
                     "the object is longer than 8 MB", id="10 MB in an array"),
        pytest.param(f"{LINE}\n" + LINE.replace("30:00Z", "30:00"), 2, "give --time-zone", id="no zone"),
        pytest.param(LINE.replace('"at"', '"when"'), 0, "none of the first 1 objects has 'at', which the mapping has"
                     " for occurred_at; they have when, user.name", id="another field"),
        pytest.param("who,what\n1,2\n", 1, "it is not JSON: expecting value", id="CSV"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_kind_says_is_refused(
    content: str | bytes, line: int, problem: str, tmp_path: Path
) -> None:
    for zipped in (False, True):
        with pytest.raises(UnreadableFile) as refused:
            rows(tmp_path, content, zipped=zipped)
        assert problem in refused.value.problem
        assert refused.value.place.line == line


def test_a_document_over_several_lines_is_bounded(tmp_path: Path) -> None:
    text = json.dumps(CALL, indent=1).replace("ada", "x" * LONGEST_DOCUMENT)
    with pytest.raises(UnreadableFile, match="the object is longer than 64 MB"):
        rows(tmp_path, text)
