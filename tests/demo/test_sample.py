"""The committed sample is what its README says, and can be made again by the committed rule."""

import gzip
import itertools
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from tests.data.traces import select_sample

README = select_sample.TARGET.with_name("README.md").read_text()
SOURCES = re.findall(r"^\| (\S+/\S+) @ [0-9a-f]{12}.*? \| ([\d,]+) \| (\d+) \| \S+, `(\S+)` \|$", README, re.MULTILINE)
COUNTS = [name for name in select_sample.COLUMNS if name.endswith("_tokens") or name == "prompt_total"]


@pytest.fixture(scope="module")
def sessions() -> list[select_sample.Session]:
    return select_sample.read_sessions(select_sample.TARGET)


@pytest.fixture(scope="module")
def rows(sessions: list[select_sample.Session]) -> list[dict[str, str]]:
    return list(itertools.chain.from_iterable(sessions))


def test_there_are_thousands_of_calls_of_several_tools_and_models(rows: list[dict[str, str]]) -> None:
    assert len(rows) >= 5_000
    assert {row["tool"] for row in rows} == {"claude-code", "codex", "pi"}
    assert len({row["model"] for row in rows}) == 10


def test_every_count_is_a_number_not_below_zero_or_not_reported(rows: list[dict[str, str]]) -> None:
    wrong = [(name, row[name]) for row in rows for name in COUNTS if not re.fullmatch(r"[0-9]*", row[name])]
    assert wrong == []
    assert all(row["input_tokens"] and row["output_tokens"] and row["prompt_total"] for row in rows)


def test_the_file_has_every_row_that_it_is_read_with(rows: list[dict[str, str]]) -> None:
    lines = gzip.decompress(select_sample.TARGET.read_bytes()).decode().splitlines()
    assert lines[0].split(",") == list(select_sample.COLUMNS)
    assert len(lines) - 1 == len(rows)


def header(path: Path) -> tuple[int, bytes]:
    """Flags, of which none may say that a name follows, and time."""
    content = path.read_bytes()
    return content[3], content[4:8]


def test_the_gzip_header_has_neither_time_nor_name() -> None:
    assert header(select_sample.TARGET) == (0, bytes(4))


def test_sessions_stand_together_in_the_order_of_time(traffic: ModuleType, rows: list[dict[str, str]]) -> None:
    read = traffic.read_sessions(select_sample.TARGET)
    assert len({session.name for session in read}) == len(read)
    assert sum(len(session.calls) for session in read) == len(rows)
    lines = gzip.decompress(select_sample.TARGET.read_bytes()).decode().splitlines()[1:]
    for _, group in itertools.groupby(lines, key=lambda line: line.split(",")[1]):
        times = [line.split(",")[0] for line in group]
        assert times == sorted(times)


def test_the_rule_selects_the_sample_from_itself(sessions: list[select_sample.Session], tmp_path: Path) -> None:
    again = tmp_path / "again.csv.gz"
    select_sample.write_sample(select_sample.select(reversed(sessions)), again)
    assert gzip.decompress(again.read_bytes()) == gzip.decompress(select_sample.TARGET.read_bytes())


def test_placeholder_outputs_are_those_of_the_sessions_with_small_subagents(
    sessions: list[select_sample.Session],
) -> None:
    placeholders = [rows for rows in sessions if any(row["output_final"] != "1" for row in rows)]
    assert sum(map(len, placeholders)) == 349
    for rows in placeholders:
        assert any(row["is_subagent"] == "1" for row in rows)
        assert any(row["model"] == "claude-sonnet-4-6" for row in rows)


def test_the_whole_prompt_is_what_was_published_as_comparable(traffic: ModuleType, rows: list[dict[str, str]]) -> None:
    assert [traffic.usage_of(row).input_tokens for row in rows] == [int(row["prompt_total"]) for row in rows]


def test_parts_fit_into_their_wholes(traffic: ModuleType, rows: list[dict[str, str]]) -> None:
    for row in rows:
        usage = traffic.usage_of(row)
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        assert usage.cache_read_tokens + written <= usage.input_tokens
        assert usage.reasoning_tokens <= usage.output_tokens


def test_the_readme_counts_the_sample(sessions: list[select_sample.Session], rows: list[dict[str, str]]) -> None:
    assert sum(int(calls.replace(",", "")) for _, calls, _, _ in SOURCES) == len(rows)
    assert sum(int(count) for _, _, count, _ in SOURCES) == len(sessions)
    for tool, calls in Counter(row["tool"] for row in rows).items():
        assert f"{calls:,} of {tool}" in README


def test_every_source_has_its_license_text() -> None:
    licenses = {name for _, _, _, name in SOURCES}
    assert len(SOURCES) == 6
    assert {f"licenses/{path.name}" for path in (select_sample.TARGET.parent / "licenses").iterdir()} == licenses
    for name in licenses:
        text = (select_sample.TARGET.parent / name).read_text()
        assert "Permission is hereby granted" in text or "Apache License" in text


def a_session(calls: int, **values: str) -> select_sample.Session:
    columns = dict.fromkeys(select_sample.COLUMNS, "0") | {"tool": "codex", "model": "gpt-5.5", "output_final": "1"}
    return [columns | {"ts_utc": f"2026-05-01T00:00:{call % 60:02}Z", "session": "s"} | values for call in range(calls)]


def with_one(session: select_sample.Session, **values: str) -> select_sample.Session:
    return [*session[:-1], session[-1] | values]


SMALL_SUBAGENT = {"model": "claude-sonnet-4-6", "is_subagent": "1", "output_final": "0"}


@pytest.mark.parametrize(
    ("session", "is_chosen"),
    [
        pytest.param(a_session(5), True, id="as short as may be"),
        pytest.param(a_session(300), True, id="as long as may be"),
        pytest.param(with_one(a_session(5, output_final="0"), **SMALL_SUBAGENT), True, id="small sub-agent"),
        pytest.param(a_session(4), False, id="too short"),
        pytest.param(a_session(301), False, id="too long"),
        pytest.param(a_session(5, ts_utc="2026-03-31T23:59:59Z"), False, id="too early"),
        pytest.param(with_one(a_session(5), output_final="0"), False, id="one placeholder"),
        pytest.param(a_session(5, tool="aider"), False, id="a tool that is not wanted"),
        pytest.param(a_session(5, model="claude-sonnet-4-6", output_final="0"), False, id="small, no sub-agent"),
        pytest.param(with_one(a_session(5, output_final="0"), is_subagent="1"), False, id="sub-agent, not small"),
        pytest.param(with_one(a_session(4), **SMALL_SUBAGENT), False, id="small sub-agent, too short"),
    ],
)
def test_the_rule_chooses_a_session(session: select_sample.Session, is_chosen: bool) -> None:
    assert select_sample.select([session]) == ([session] if is_chosen else [])


def test_sessions_are_chosen_until_there_are_enough_calls() -> None:
    many = [a_session(300, session=str(number)) for number in range(20)]
    assert sum(map(len, select_sample.select(many))) == 2_100


@pytest.mark.parametrize("model", ["", "<synthetic>"])
def test_rows_without_a_model_are_left_out(model: str, tmp_path: Path) -> None:
    source = tmp_path / "source.csv.gz"
    select_sample.write_sample([with_one(a_session(6), model=model)], source)
    assert [len(rows) for rows in select_sample.read_sessions(source)] == [5]


def test_the_same_sessions_make_the_same_bytes(sessions: list[select_sample.Session], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    select_sample.write_sample(sessions[:3], first)
    select_sample.write_sample(sessions[:3], second)
    assert first.read_bytes() == second.read_bytes()
    assert header(first) == (0, bytes(4))
