"""Whatever a file holds, a reader of tables yields rows or says what is wrong with it, and raises nothing else."""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.imports import test_csv_table, test_json_table, test_litellm, test_provider_usage
from token_ledger.imports import anthropic_usage, csv_table, json_table, litellm, openai_usage
from token_ledger.imports.guess import guess
from token_ledger.imports.rows import CallRow, Defaults, Row, SkippedRow, UnreadableFile
from token_ledger.wire.commands.events import event_commands

EVERYTHING: Final = Defaults(user="u", agent_type="a", provider="p")
LOG: Final = test_litellm.A_LOG
CASES: Final[dict[str, tuple[Callable[[Path], Iterator[Row]], bytes]]] = {
    "csv": (lambda path: csv_table.read(path, EVERYTHING, test_csv_table.a_mapping()),
            (test_csv_table.HEADER + 3 * test_csv_table.ROW).encode()),
    "jsonl": (lambda path: json_table.read(path, EVERYTHING, test_json_table.a_mapping()),
              test_json_table.lines(test_json_table.CALL, test_json_table.SECOND).encode()),
    "array": (lambda path: json_table.read(path, EVERYTHING, test_json_table.a_mapping()),
              json.dumps([test_json_table.CALL, test_json_table.SECOND], indent=1).encode()),
    "litellm": (lambda path: litellm.read(path, EVERYTHING), json.dumps([LOG]).encode()),
    "litellm csv": (lambda path: litellm.read(path, EVERYTHING), test_litellm.as_csv(LOG, LOG).encode()),
    "litellm dump": (lambda path: litellm.read(path, EVERYTHING), test_litellm.as_dump(LOG, LOG).encode()),
    "openai": (lambda path: openai_usage.read(path, EVERYTHING),
               json.dumps(test_provider_usage.openai_page(test_provider_usage.OPENAI)).encode()),
    "anthropic": (lambda path: anthropic_usage.read(path, EVERYTHING),
                  json.dumps(test_provider_usage.anthropic_page(test_provider_usage.ANTHROPIC)).encode()),
}  # fmt: skip
PIECES: Final = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([
        b'"', b"\n", b"\r", b",", b";", b"\\", b"{", b"}", b"[", b"]", b"null", b"true", b"NaN", b"1e999", b"-1", b"\0",
        b"9" * 40, b"[" * 50, b'"\\ud800"', b"\xff\xfe", b"\t", b"\\N", b"\\.", b"{}", b"[]", b":", b"0001-01-01", b"<",
    ]),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_or_what_is_wrong(case: str, tmp_path: Path, data: st.DataObject) -> None:
    read, whole = CASES[case]
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        begin = data.draw(st.integers(0, len(content)))
        end = min(len(content), begin + data.draw(st.sampled_from([0, 1, 2, 5, 9])))
        content[begin:end] = data.draw(PIECES)
    if data.draw(st.booleans()):
        content = bytearray(gzip.compress(bytes(content), mtime=0))
        content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    path = tmp_path / "export"
    path.write_bytes(bytes(content))
    with suppress(UnreadableFile):
        for row in read(path):
            assert isinstance(row, CallRow | SkippedRow)
            if isinstance(row, CallRow):
                json.dumps(row.event)
                event_commands(row.event, "event")
    with suppress(UnreadableFile):
        guess("csv" if "csv" in case else "jsonl", path)
