"""A database that the tests of one module share, and settings that point commands at a fresh one."""

from pathlib import Path

import pytest

from tests.storage.conftest import shared_url

__all__ = ["shared_url"]


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKEN_LEDGER_DATABASE_URL", database_url)
    monkeypatch.setenv("TOKEN_LEDGER_DATA_DIR", str(tmp_path))
    return tmp_path
