"""Mapping files: what they may say, and in which words they are refused."""

import re
from pathlib import Path

import pytest

from tests.imports.reading import accepted, events
from token_ledger.imports.csv_table import read
from token_ledger.imports.mapping import MEASURED, TableMapping, mapping_text, read_mapping
from token_ledger.imports.rows import Defaults

WHOLE = """
columns: {occurred_at: time, model: model, input_tokens: in, output_tokens: out, cost: usd}
tags: {team: team name}
constants: {agent_type: bot, output_tokens: 0}
values:
  outcome: {1: ok, 2: error}
provider_from_model: true
input_tokens: uncached
output_tokens: without_reasoning
token_unit: 1000
cost_unit: cents
time: {format: "%d.%m.%Y %H:%M", zone: Europe/Berlin}
delimiter: semicolon
decimal: comma
encoding: windows-1252
source: proxy
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(text)
    return path


def test_a_mapping_is_what_it_says_and_is_written_as_it_is_read(tmp_path: Path) -> None:
    mapping = read_mapping(written(tmp_path, WHOLE))
    assert mapping.columns["cost"] == "usd"
    assert mapping.values["outcome"] == {"1": "ok", "2": "error"}
    assert mapping.constants == {"agent_type": "bot", "output_tokens": "0"}
    assert read_mapping(written(tmp_path, mapping_text(mapping))) == mapping
    least = TableMapping.model_validate({"columns": {"model": "m"}})
    assert mapping_text(least) == "columns:\n  model: m\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty: it must have `columns:`"),
        ("columns: {}", "columns: Dictionary should have at least 1 item"),
        ("tags: {a: b}", "columns: Field required"),
        ("columns: {prompt: in}", "'prompt' is no field of a call; use agent_type, annotated_pages"),
        ("columns: {model: 5}", '5 is not text; put it in quotes: "5"'),
        ("columns: {tags: {team: t}}", "`tags` stands beside `columns`"),
        ("columns: {model: a, model: b}", "'model' is given twice"),
        ("columns: {model: a}\nprovider: openai", "provider: Extra inputs are not permitted"),
        ("columns: {model: a}\ntime: {format: german}", "'german' is no format; use one of iso, unix_seconds"),
        (
            "columns: {model: a}\ntime: {zone: Mars/Base}",
            "'Mars/Base' is no time zone; write one such as Europe/Berlin",
        ),
        ("columns: {model: a}\ndelimiter: ','", "Input should be 'comma', 'semicolon', 'tab' or 'bar'"),
        ("columns: {model: a}\ntoken_unit: 7", "token_unit: Input should be 1, 1000 or 1000000"),
        ("columns: {model: a}\nconstants: {cost: 5}", "cost and usage are read from a column only"),
        ("columns: [model", "is not YAML"),
    ],
)
def test_a_wrong_mapping_is_refused_with_what_would_be_right(text: str, problem: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match="mapping") as refused:
        read_mapping(path)
    assert problem in str(refused.value)
    assert str(refused.value).startswith(str(path))


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "import.md").read_text(encoding="utf-8")


def test_the_example_of_the_page_reads_its_table(tmp_path: Path) -> None:
    blocks = dict(re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
    table = tmp_path / "calls.csv"
    table.write_text(blocks["calls.csv"])
    first, second = events(read(table, Defaults(), read_mapping(written(tmp_path, blocks["mapping.yaml"]))))
    command = accepted(first)
    assert (command.user, command.provider, command.model) == ("ada", "openai", "gpt-5.4")
    assert command.usage.cache_read_tokens == 1024
    assert first["occurred_at"] == "2026-11-21T09:30:00+00:00"
    assert second["usage"] == {"input_tokens": 980, "cache_read_tokens": 0, "output_tokens": 410}


def test_the_page_describes_every_key_of_a_mapping() -> None:
    described = {*re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)}
    assert described == {*TableMapping.model_fields}
    for name in {*MEASURED, "usage", "cost", "cache_write_tokens", "idempotency_key"}:
        assert f"`{name}`" in PAGE


def test_a_mapping_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't be read: No such file"):
        read_mapping(tmp_path / "nothing.yaml")
