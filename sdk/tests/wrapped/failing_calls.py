"""What a failed call costs, whichever library makes it: the same cases for each of them.

A module of tests has a class of its own with these cases, and a fixture `caller` that says how its library calls.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from token_ledger_sdk import BudgetExceeded, LedgerError
from token_ledger_sdk.failures import NEVER_BILLED

from .conftest import GrantingLedger
from .provider import Provider

MAYBE_BILLED = [408, 409, 499, 500, 502, 504, 520, 521, 522, 523, 524]
ERROR = {"type": "error", "error": {"type": "some_error", "code": 1, "status": "SOME_ERROR", "message": "no"}}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """How a library makes a call that may have 300 tokens of output, once.

    `call` says whether it asks for a stream, which it reads to its end, and by which address, if it is not the
    provider's. What it returns is awaited, if it can be. `answer` is a body that the library understands, `begun` a
    stream, and after how many of its events the first word of it has come, and no other.
    """

    call: Callable[[bool, str | None], Any]
    answer: dict[str, Any]
    begun: tuple[str, int]

    async def __call__(self, *, stream: bool = False, url: str | None = None) -> None:
        made = self.call(stream, url)
        if hasattr(made, "__await__"):
            await made


def in_turns(statuses: list[int]) -> list[tuple[int, bool]]:
    """Return each status, every other one with a stream."""
    return [(status, number % 2 == 1) for number, status in enumerate(statuses)]


@contextmanager
def failing() -> Iterator[None]:
    """Expect an exception that is none of the ledger's; which one is the library's own affair."""
    try:
        yield
    except LedgerError:
        raise
    except Exception:
        return
    raise AssertionError("the call did not fail")


class FailingCalls:
    """The cases, for callers of every kind."""

    @pytest.mark.parametrize(("status", "stream"), in_turns(sorted(NEVER_BILLED)))
    async def test_an_error_that_is_never_billed_releases(
        self, status: int, stream: bool, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        provider.json(ERROR, status)
        with failing():
            await caller(stream=stream)
        assert granting.released["reason"] == f"the provider answered {status}"

    @pytest.mark.parametrize(("status", "stream"), in_turns(MAYBE_BILLED))
    async def test_an_error_of_a_gateway_is_an_estimate(
        self, status: int, stream: bool, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        provider.json(ERROR, status)
        with failing():
            await caller(stream=stream)
        is_the_limit(granting, f"status_{status}")

    async def test_no_connection_releases(self, caller: Caller, provider: Provider, granting: GrantingLedger) -> None:
        provider.json(caller.answer)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and nobody listens
            with failing():
                await caller(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert granting.released["reason"].startswith("no connection to the provider: ")

    async def test_a_call_that_times_out_is_an_estimate(
        self, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        provider.json(caller.answer)
        provider.replies[0].late = True
        with failing():
            await caller()
        is_the_limit(granting, "timeout")

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_connection_that_is_cut_before_the_answer_is_an_estimate(
        self, stream: bool, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        provider.stream("data: x", cut_after=0)
        with failing():
            await caller(stream=stream)
        is_the_limit(granting, "cut_connection")

    async def test_a_stream_that_is_cut_costs_the_text_that_came(
        self, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        stream, events = caller.begun
        provider.stream(stream, cut_after=events)
        with failing():
            await caller(stream=True)
        settled = granting.settled
        assert (settled["estimated"], settled["outcome"]) == (True, "error")
        assert settled["usage"]["output_tokens"] == 1

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_denial_is_raised_and_not_tried_again(
        self, stream: bool, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        granting.most_output = 64
        with pytest.raises(BudgetExceeded) as denied:
            await caller(stream=stream)
        assert denied.value.fits is not None
        assert denied.value.fits.max_output_tokens == 64
        assert (len(granting.sent("/reservations")), provider.asked) == (1, [])


class AwaitedFailingCalls(FailingCalls):
    """The same, and what else becomes of a call that is awaited."""

    async def test_a_call_that_is_canceled_is_an_estimate(
        self, caller: Caller, provider: Provider, granting: GrantingLedger
    ) -> None:
        provider.json(caller.answer)
        provider.replies[0].withheld = True
        calling = asyncio.ensure_future(caller())
        while not provider.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        while not granting.sent("/settle"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # what is told only of the end of a task books a moment later
        is_the_limit(granting, "cancelled", outcomes=("ok", "error"))


def is_the_limit(granting: GrantingLedger, error_kind: str, outcomes: tuple[str, ...] = ("error",)) -> None:
    """Check that the only call was booked as all that it may have cost."""
    settled = granting.settled
    assert (settled["estimated"], settled.get("outcome", "ok") in outcomes) == (True, True), json.dumps(settled)
    assert settled["usage"]["input_tokens"] == granting.reserved["input_tokens"]
    assert settled["usage"]["output_tokens"] == 300
    assert settled["measured"]["error_kind"] == error_kind
    assert settled["measured"]["estimate_rule"] == "input counted, output limit"
