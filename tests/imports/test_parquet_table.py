"""Parquet with a mapping."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.imports.reading import Event, accepted, events, keys, skipped
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.parquet_table import ROWS_AT_ONCE, read
from token_ledger.imports.rows import Defaults, SkipReason, UnreadableFile

ALL = Defaults(agent_type="data_agent")
NINE = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
COLUMNS = {
    "occurred_at": "at", "user": "user", "provider": "provider", "model": "model", "input_tokens": "usage.in",
    "output_tokens": "usage.out",
}  # fmt: skip
ROW: Event = {"at": NINE, "user": "ada", "provider": "openai", "model": "gpt-5.4", "usage": {"in": 1200, "out": 260}}
MAPPING = TableMapping.model_validate({"columns": COLUMNS})


def a_table(folder: Path, rows: list[Any], **options: Any) -> Path:
    path = folder / "export.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_rows_are_events_that_the_ledger_takes(tmp_path: Path) -> None:
    path = a_table(tmp_path, [ROW, {**ROW, "user": "bo"}, ROW])
    first, second, third = events(read(path, ALL, MAPPING))
    assert (first["user"], second["user"]) == ("ada", "bo")
    assert first["occurred_at"] == "2026-11-21T09:30:00+00:00"
    assert third["idempotency_key"] == f"{first['idempotency_key']}:2"
    assert accepted(first).usage.output_tokens == 260


def test_a_table_of_many_batches_has_a_key_for_each_row(tmp_path: Path) -> None:
    path = a_table(tmp_path, [{**ROW, "n": number} for number in range(2 * ROWS_AT_ONCE + 5)], row_group_size=1000)
    rows = [*read(path, ALL, MAPPING)]
    assert len({*keys(rows)}) == 2 * ROWS_AT_ONCE + 5
    assert [row.place.line for row in rows[-2:]] == [2 * ROWS_AT_ONCE + 4, 2 * ROWS_AT_ONCE + 5]


def test_numbers_with_gaps_are_counts_and_gaps_are_blank(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [{**ROW, "usage": {"in": 1200.0, "out": 5.0}}, {**ROW, "usage": {"in": nan, "out": nan}}]
    found = [*read(a_table(tmp_path, rows), ALL, MAPPING)]
    [event] = events(found[:1])
    assert event["usage"] == {"input_tokens": 1200, "output_tokens": 5}
    assert skipped(found) == [(2, SkipReason.NO_USAGE)]


def test_an_instant_without_a_zone_is_refused_with_its_row(tmp_path: Path) -> None:
    path = a_table(tmp_path, [{**ROW, "at": datetime(2026, 11, 21, 9, 30)}])
    with pytest.raises(UnreadableFile, match=r"export\.parquet, line 1: .* give --time-zone"):
        events(read(path, ALL, MAPPING))


def test_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="has 'at', which the mapping has for occurred_at; they have a"):
        events(read(a_table(tmp_path, [{"a": 1}]), ALL, MAPPING))


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.parquet"
    for content in (b"", b"a,b\n1,2\n", a_table(tmp_path, [ROW]).read_bytes()[:-20]):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match=r"export\.parquet: it is not Parquet, or damaged"):
            events(read(path, ALL, MAPPING))
    with pytest.raises(UnreadableFile, match="it can't be opened"):
        events(read(tmp_path / "nothing", ALL, MAPPING))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = a_table(tmp_path, [ROW])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnreadableFile, match=r"pip install 'token-ledger\[parquet\]'"):
        events(read(path, ALL, MAPPING))
