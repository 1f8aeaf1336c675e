"""Guesses of mappings: right where names and rows show it, and said to be unsure where they don't."""

import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.imports.reading import a_file, accepted, events
from tests.imports.test_traces import AGENTS, AIDER
from token_ledger.imports import csv_table, json_table, parquet_table
from token_ledger.imports.guess import Guess, guess
from token_ledger.imports.rows import Defaults, UnreadableFile

NOBODY: Final = Defaults(user="u", agent_type="a", provider="openai")


def of_csv(folder: Path, *lines: str) -> Guess:
    return guess("csv", a_file(folder, "\n".join(lines) + "\n"))


def words(found: Guess) -> str:
    return "\n".join(found.unsure)


def test_a_table_with_well_known_names_is_sure(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        "created_at,user_id,team,agent,provider,model,prompt_tokens,completion_tokens,cached_tokens,cost_usd,request_id,x\n"
        "2026-11-21T09:30:00Z,ada,lab,bot,openai,gpt-5.4,1200,260,1000,0.5,r1,\n",
    )
    found = guess("csv", path)
    assert found.unsure == []
    assert found.unused == ["x"]
    assert found.mapping.columns == {
        "occurred_at": "created_at", "user": "user_id", "cost_center": "team", "agent_type": "agent",
        "provider": "provider", "model": "model", "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens", "cache_read_tokens": "cached_tokens", "cost": "cost_usd",
        "idempotency_key": "request_id",
    }  # fmt: skip
    [event] = events(csv_table.read(path, Defaults(), found.mapping))
    accepted(event)


def test_what_is_guessed_of_traces_reads_them() -> None:
    found = guess("csv", AIDER)
    assert found.mapping.columns["model"] == "main_model"
    assert "the provider is taken from the model's name" in words(found)
    assert "no column says the agent_type: give --agent-type" in words(found)
    assert len(events(csv_table.read(AIDER, NOBODY, found.mapping))) == 5522
    found = guess("csv", AGENTS)
    assert found.mapping.input_tokens == "uncached"
    assert "input_tokens is read from input_tokens, and could be prompt_total" in words(found)
    assert "no column says the user: give --user" in words(found)
    assert len(events(csv_table.read(AGENTS, NOBODY, found.mapping))) == 5649


@pytest.mark.parametrize(
    ("header", "cells", "meaning"),
    [
        ("input_tokens,cache_read_input_tokens", "5,90", "uncached"),
        ("input_tokens,cache_read_input_tokens", "100,90", "uncached"),
        ("input_tokens,cached_tokens", "100,90", "whole"),
        ("input_tokens,cached_tokens", "5,90", "uncached"),
        ("prompt_tokens,cache_read_input_tokens", "100,90", "whole"),
    ],
)
def test_what_input_means(header: str, cells: str, meaning: str, tmp_path: Path) -> None:
    found = of_csv(tmp_path, f"time,model,output_tokens,{header}", f"2026-11-21T09:30:00Z,gpt-5.4,1,{cells}")
    assert found.mapping.input_tokens == meaning
    assert ("without cached tokens" in words(found)) == (meaning == "uncached")


@pytest.mark.parametrize(
    ("cells", "form", "said"),
    [
        (["2026-11-21T09:30:00Z"], "iso", ""),
        (["2026-11-21 09:30:00"], "iso", "no time zone: give --time-zone"),
        (["2026/11/21 09:30"], "iso", "no time zone: give --time-zone"),
        (["1795253400"], "unix_seconds", "so the first is 2026-11-21T09:30:00+00:00"),
        (["1795253400000"], "unix_milliseconds", "so the first is 2026-11-21T09:30:00+00:00"),
        (["46347.4"], "spreadsheet_days", "day 46347.4 of a spreadsheet"),
        (["21.11.2026 09:30"], "%d.%m.%Y %H:%M", "no time zone"),
        (["02.11.2026 09:30"], "%d.%m.%Y %H:%M", "no time zone"),
        (["11/21/2026 9:30 AM"], "%m/%d/%Y %I:%M %p", "no time zone"),
        (["2/3/2026", "21/3/2026"], "%d/%m/%Y", "no time zone"),
        (["2/3/2026"], "%d/%m/%Y", "so '2/3/2026' begins with the day"),
        (["0", "3000"], "iso", "count from a begin that the file does not say"),
        (["Nov 21"], "iso", "are in no format that is known"),
    ],
)
def test_how_instants_are_written(cells: list[str], form: str, said: str, tmp_path: Path) -> None:
    rows = [f"{cell};gpt-5.4;1;1" for cell in cells]
    found = of_csv(tmp_path, "timestamp;model;tokens_in;tokens_out", *rows)
    assert found.mapping.time.format == form
    assert said in words(found)
    assert found.mapping.delimiter == "semicolon"


@pytest.mark.parametrize(
    ("cells", "decimal", "said"),
    [
        (["1200;0,5"], "comma", ""), (["1.200;0,5"], "comma", ""), (["1,200;0.5"], "point", ""), (["1200;3"], None, ""),
        (["1.200;1"], "comma", "'1.200' is read with a decimal comma; if that is wrong, change `decimal`"),
    ],
)  # fmt: skip
def test_what_a_comma_means(cells: list[str], decimal: str | None, said: str, tmp_path: Path) -> None:
    rows = [f"2026-11-21T09:30:00Z;gpt-5.4;1;{cell}" for cell in cells]
    found = of_csv(tmp_path, "timestamp;model;tokens_out;tokens_in;cost", *rows)
    assert found.mapping.decimal == decimal
    assert ("is read with" in words(found)) == bool(said)
    assert said in words(found)


@pytest.mark.parametrize("name", ["Prompt Tokens", "promptTokens", "PROMPT_TOKENS", "prompt-tokens", "inputTokens"])
def test_names_are_known_however_they_are_spelled(name: str, tmp_path: Path) -> None:
    found = of_csv(tmp_path, f"time,model,{name},outputTokens", "2026-11-21T09:30:00Z,gpt-5.4,1,2")
    assert found.mapping.columns["input_tokens"] == name


def test_an_id_that_repeats_is_no_key(tmp_path: Path) -> None:
    found = of_csv(tmp_path, "id,time,model,tokens_in,tokens_out", *["1,2026-11-21T09:30:00Z,gpt-5.4,1,2"] * 2)
    assert "idempotency_key" not in found.mapping.columns


def test_a_column_that_is_blank_at_first_is_used_where_no_other_is(tmp_path: Path) -> None:
    found = of_csv(
        tmp_path, "time,model,user,email,tokens_in,tokens_out,cached_tokens", "2026-11-21T09:30:00Z,m,,x,1,2,"
    )
    assert found.mapping.columns["user"] == "email"
    assert found.mapping.columns["cache_read_tokens"] == "cached_tokens"


CALL: Final[dict[str, Any]] = {
    "timestamp": "2026-11-21T09:30:00Z", "user": {"email": "ada@example.org"}, "model": "gpt-5.4",
    "usage": {"prompt_tokens": 1200, "completion_tokens": 260, "prompt_tokens_details": {"cached_tokens": 1000}},
}  # fmt: skip


def test_fields_within_fields_of_json(tmp_path: Path) -> None:
    path = a_file(tmp_path, json.dumps(CALL))
    found = guess("jsonl", path)
    assert found.mapping.columns == {
        "occurred_at": "timestamp", "model": "model", "user": "user.email", "usage": "usage"
    }  # fmt: skip
    [event] = events(json_table.read(path, NOBODY, found.mapping))
    assert accepted(event).usage.cache_read_tokens == 1000


def test_columns_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "export.parquet"
    rows = [{"ts": "2026-11-21T09:30:00Z", "model": "gpt-5.4", "input_tokens": 5.0, "output_tokens": float("nan")}]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    found = guess("parquet", path)
    assert found.mapping.columns["occurred_at"] == "ts"
    assert next(parquet_table.read(path, NOBODY, found.mapping)).place.line == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,b\n1,2\n", "line 1: no column looks like tokens; it has a, b. Say which is which in a mapping file"),
        ("", "the file is empty"),
        ("model,model\n", "are both called 'model'"),
    ],
)
def test_nothing_is_guessed_of_what_is_no_usage(content: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as refused:
        guess("csv", a_file(tmp_path, content))
    assert problem in str(refused.value)


def test_a_table_without_rows_is_guessed_by_its_header(tmp_path: Path) -> None:
    found = of_csv(tmp_path, "time,model,provider,user,agent,tokens_in,tokens_out")
    assert found.mapping.columns["input_tokens"] == "tokens_in"
    assert found.unsure == []
