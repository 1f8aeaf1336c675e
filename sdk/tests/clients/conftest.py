"""What tests of tools share."""

from __future__ import annotations

import pytest

from .tool_doubles import Waits


@pytest.fixture
def waits() -> Waits:
    return Waits()
