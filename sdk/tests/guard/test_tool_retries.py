"""Retries of tools: after which errors, and how long is waited."""

from __future__ import annotations

import asyncio
import urllib.error
from typing import Any

import httpx2
import pytest
from tenacity import RetryCallState, Retrying

from token_ledger_sdk import BreakerOpen, Problem, RunNotOpen, TenantStopped, ToolTimedOut, Unreachable
from token_ledger_sdk.guard.tool_retries import is_tools_fault, waits


def answered(status: int) -> httpx2.HTTPStatusError:
    return httpx2.HTTPStatusError("no", request=httpx2.Request("GET", "http://x"), response=httpx2.Response(status))


def caused_by(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


DENIED = TenantStopped(Problem(402, "tenant_stopped"))
FAULTS = [
    ValueError("mine"), TypeError("within"), ConnectionError("away"), httpx2.ConnectError("refused"), ToolTimedOut("5"),
    *map(answered, (408, 409, 425, 429, 500, 502, 503, 504)), caused_by(TimeoutError(), asyncio.CancelledError()),
    caused_by(ValueError(), ToolTimedOut("a tool within")),
]  # fmt: skip
OTHERS = [
    DENIED, RunNotOpen(Problem(409, "run_not_open")), Unreachable("away"), BreakerOpen("open"), KeyboardInterrupt(),
    asyncio.CancelledError(), SystemExit(1), GeneratorExit(), *map(answered, (400, 401, 402, 403, 404, 410, 422)),
    caused_by(RuntimeError("as the tool says it"), DENIED),
    urllib.error.HTTPError("http://x", 404, "not found", {}, None),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_a_tool_that_failed_may_answer_the_next_time(error: BaseException) -> None:
    assert is_tools_fault(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_nothing_else_is_tried_again_nor_counted(error: BaseException) -> None:
    assert not is_tools_fault(error)


def nominal(draw: float) -> list[float]:
    wait: Any = waits(lambda: draw)
    states = [RetryCallState(Retrying(), None, (), {}) for _ in range(8)]
    for number, state in enumerate(states, start=1):
        state.attempt_number = number
    return [wait(state) for state in states]


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_waits_double_from_2_to_30_seconds_and_differ_by_a_quarter(draw: float, factor: float) -> None:
    assert nominal(draw) == [seconds * factor for seconds in (2, 4, 8, 16, 30, 30, 30, 30)]
