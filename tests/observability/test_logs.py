"""What a process logs: one format, and no secret whatever a library says."""

import json
import logging
from collections.abc import Iterator

import pytest

from token_ledger.cli import process
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import new_key

KEY, KEY_ID = new_key(TenantId(1), "live")
VALUE = "what somebody sent"
log = logging.getLogger("a.library")


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers, root.level = handlers, level


def _logged(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    line = capsys.readouterr().err
    assert KEY not in line
    assert VALUE not in line
    value: dict[str, str] = json.loads(line)
    return value


def test_a_message_its_arguments_and_its_fields_lose_their_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    process.start_logs(quiet=False)
    log.warning("refused %s", KEY, extra={"reason": f"Bearer {KEY}", "why": "postgresql://u:secret@db/x"})
    told = _logged(capsys)
    assert told["event"] == f"refused tl_live_{KEY_ID}_…"
    assert told["reason"] == f"Bearer tl_live_{KEY_ID}_…"
    assert told["why"] == "postgresql://u:…@db/x"


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"invalid input for query argument $3: [(1, '{VALUE}')] (value out of int64 range)",
        f"null value in column\nDETAIL:  Failing row contains (1, {VALUE}).",
    ],
    ids=["key", "argument", "row"],
)
def test_an_exception_loses_its_secrets_and_the_values_of_rows(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    process.start_logs(quiet=False)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("it failed")
    told = _logged(capsys)["exception"]
    assert told.startswith("Traceback")
    assert "ValueError: " in told
    assert "…" in told
