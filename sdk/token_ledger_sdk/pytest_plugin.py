"""Fixtures of pytest: a fake service, and both clients of it. pytest finds them where this package is installed.

It is loaded with every run of pytest, so the clients are imported by the fixtures that use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._async.client import AsyncTokenLedger
    from ._sync.client import TokenLedger
    from .testing import FakeService


@pytest.fixture
def ledger_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A fake service of the test's own; what clients keep of models, on disk or learned, is the test's own, too."""
    from .calibration import learned
    from .testing import FakeService

    learned.forget()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return FakeService()


@pytest.fixture
def token_ledger(ledger_service: FakeService) -> Iterator[TokenLedger]:
    """A client of `ledger_service`."""
    with ledger_service.client() as ledger:
        yield ledger


@pytest.fixture
def async_token_ledger(ledger_service: FakeService) -> AsyncTokenLedger:
    """An asynchronous client of `ledger_service`; it holds no connections that a test must close."""
    return ledger_service.async_client()
