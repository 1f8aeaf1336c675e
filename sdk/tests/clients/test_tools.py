"""Tools of the synchronous client: time-outs, retries, breakers, and what is booked of each call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from token_ledger_sdk import (
    BreakerOpen,
    BudgetExceeded,
    ConfigurationError,
    RunNotOpen,
    TokenLedger,
    ToolTimedOut,
    Usage,
    current_call,
)
from token_ledger_sdk.testing import FakeService

from ..conftest import Clock
from .tool_doubles import OK, OURS, Waits, events, outcomes, toolbox_of


class Tool:
    """A function that raises what stands in `script`, and then answers."""

    def __init__(self, *script: BaseException) -> None:
        self.script = list(script)
        self.calls: list[Any] = []

    def __call__(self, query: str = "x") -> list[str]:
        self.calls.append(query)
        if self.script:
            raise self.script.pop(0)
        return [query]


@pytest.fixture
def ledger(ledger_service: FakeService, clock: Clock, waits: Waits) -> Iterator[TokenLedger]:
    with ledger_service.client(toolbox=toolbox_of(clock, waits)) as made:
        yield made


def as_tool(ledger: TokenLedger, function: Callable[..., Any], **said: Any) -> Callable[..., Any]:
    return ledger.tool(**{"tool": "search", **OURS, **said})(function)


def test_a_tool_keeps_its_name_and_is_one_event(ledger: TokenLedger, ledger_service: FakeService) -> None:
    with ledger.context(**OURS):

        @ledger.tool
        def search(query: str, *, most: int = 3) -> list[str]:
            """Search."""
            return [query] * most

        assert search("x", most=2) == ["x", "x"]
    assert (search.__name__, search.__doc__) == ("search", "Search.")
    (call,) = ledger_service.calls
    assert (call.kind, call.tool, call.user, call.failed, call.cost) == ("tool_call", "search", "ada", False, 0)
    assert outcomes(ledger_service) == [OK]


def test_a_tool_of_a_run_is_an_event_of_it(ledger: TokenLedger, ledger_service: FakeService) -> None:
    with ledger.run(user="ada") as run:
        search = run.tool(tool="search", agent_type="data_agent", cost=Decimal("0.005"))(Tool())
        with ledger.context(user="bob"):
            search()
    (call,) = ledger_service.calls
    assert (call.run_id, call.user, call.cost) == (run.run_id, "ada", Decimal("0.005"))


def test_a_tool_is_not_called_once_its_run_has_ended(ledger: TokenLedger, ledger_service: FakeService) -> None:
    tool = Tool()
    with ledger.run(user="ada") as run:
        search = run.tool(tool="search", agent_type="data_agent", retries=3)(tool)
        run.cancel()
        for _ in range(6):
            with pytest.raises(RunNotOpen):
                search()
    assert (tool.calls, ledger_service.calls) == ([], [])
    assert ledger.toolbox.breaker_state("search") == "closed"


def test_a_retry_is_not_made_once_the_run_has_ended(ledger: TokenLedger, ledger_service: FakeService) -> None:
    tool = Tool(ConnectionError(), ConnectionError())
    with ledger.run(user="ada") as run:
        search = run.tool(tool="search", agent_type="data_agent", retries=3)(
            lambda: (run.cancel() if tool.calls else None, tool())
        )
        with pytest.raises(RunNotOpen):
            search()
    assert len(tool.calls) == 2
    assert outcomes(ledger_service) == [("error", "cut_connection", 1, False)]


# Retries


def test_it_is_tried_again_after_growing_waits(
    ledger: TokenLedger, ledger_service: FakeService, waits: Waits, caplog: pytest.LogCaptureFixture
) -> None:
    tool = Tool(ConnectionError("secret"), ValueError("secret"), TimeoutError())
    search = as_tool(ledger, tool, retries=3, cost=Decimal("0.005"))
    assert search("secret query") == ["secret query"]
    assert (len(tool.calls), waits.seconds) == (4, [2, 4, 8])
    assert outcomes(ledger_service) == [("ok", None, 3, False)]
    assert ledger_service.calls[0].cost == Decimal("0.020")  # each attempt may have cost it
    said = [record.__dict__ for record in caplog.records]
    assert [(each["attempt"], each["error_kind"], each["user"]) for each in said] == [
        (1, "cut_connection", "ada"), (2, "ValueError", "ada"), (3, "timeout", "ada"),
    ]  # fmt: skip
    assert "secret" not in caplog.text
    assert "tool search failed (cut_connection) in attempt 1 of 4" in caplog.text


def test_the_last_error_is_raised_when_all_attempts_have_failed(
    ledger: TokenLedger, ledger_service: FakeService, waits: Waits
) -> None:
    last = ValueError("last")
    with pytest.raises(ValueError, match="last") as raised:
        as_tool(ledger, Tool(ConnectionError(), last), retries=1)()
    assert raised.value is last
    assert (waits.seconds, outcomes(ledger_service)) == ([2], [("error", "ValueError", 1, False)])


def test_without_retries_it_is_called_once(ledger: TokenLedger, ledger_service: FakeService, waits: Waits) -> None:
    with pytest.raises(ConnectionError):
        as_tool(ledger, Tool(ConnectionError()))()
    assert (waits.seconds, outcomes(ledger_service)) == ([], [("error", "cut_connection", None, False)])


def test_retries_may_be_limited_to_some_errors(ledger: TokenLedger, waits: Waits) -> None:
    with pytest.raises(ValueError, match="no"):
        as_tool(ledger, Tool(ConnectionError(), ValueError("no")), retries=9, retry_on=(ConnectionError,))()
    assert waits.seconds == [2]


def test_a_free_attempt_costs_nothing(ledger: TokenLedger, ledger_service: FakeService) -> None:
    as_tool(ledger, Tool(httpx2.ConnectError("refused")), retries=1, cost=Decimal("0.005"))()
    assert ledger_service.calls[0].cost == Decimal("0.005")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_not_tried_again_and_is_booked(
    error: type[BaseException], ledger: TokenLedger, ledger_service: FakeService, waits: Waits
) -> None:
    search = as_tool(ledger, Tool(*(error() for _ in range(6))), retries=3)
    for _ in range(6):
        with pytest.raises(error):
            search()
    assert waits.seconds == []
    assert [failed for failed, *_ in outcomes(ledger_service)] == ["error"] * 6
    assert ledger.toolbox.breaker_state("search") == "closed"


def test_a_denial_within_is_not_tried_again_nor_counted(
    ledger: TokenLedger, ledger_service: FakeService, waits: Waits
) -> None:
    ledger_service.deny()
    call: Any = {"provider": "openai", "model": "gpt-5.4", "input_tokens": 9, "max_output_tokens": 9, **OURS}
    search = as_tool(ledger, ledger.guard(**call)(lambda: None), retries=3)
    for _ in range(6):
        with pytest.raises(BudgetExceeded):
            search()
    assert (waits.seconds, ledger.toolbox.breaker_state("search")) == ([], "closed")


def test_misuse_is_refused_before_anything_is_done(ledger: TokenLedger, ledger_service: FakeService) -> None:
    with pytest.raises(TypeError, match="give a `def` that calls it"):
        as_tool(ledger, threading.Lock)
    search = as_tool(ledger, Tool().__call__, retries=3)
    for _ in range(6):
        with pytest.raises(TypeError):
            search("x", 5)
    with pytest.raises(ConfigurationError, match="no user"):
        ledger.tool(agent_type="a")(Tool())()
    with pytest.raises(ConfigurationError, match="no agent type"):
        ledger.tool(user="ada")(Tool())()
    assert (ledger_service.requests, ledger.toolbox.breaker_state("search")) == ([], "closed")


# Breakers


def test_a_tool_that_fails_again_and_again_is_not_called(
    ledger: TokenLedger, ledger_service: FakeService, clock: Clock
) -> None:
    tool = Tool(*[ConnectionError()] * 6)
    search = as_tool(ledger, tool, cost=Decimal("0.005"))
    for _ in range(5):
        with pytest.raises(ConnectionError):
            search()
    with pytest.raises(BreakerOpen, match="search"):
        search()
    assert (len(tool.calls), ledger.toolbox.breaker_state("search")) == (5, "open")
    assert outcomes(ledger_service)[-1] == ("error", "breaker_open", None, False)
    assert [call.cost for call in ledger_service.calls] == [Decimal("0.005")] * 5 + [0]
    clock.now += 60
    with pytest.raises(ConnectionError):
        search()
    assert ledger.toolbox.breaker_state("search") == "open"
    clock.now += 60
    assert ledger.toolbox.breaker_state("search") == "half_open"
    assert search() == ["x"]
    assert ledger.toolbox.breaker_state("search") == "closed"


def test_retries_end_when_the_breaker_opens(ledger: TokenLedger, ledger_service: FakeService, waits: Waits) -> None:
    search = as_tool(ledger, Tool(*[ConnectionError()] * 9), retries=9)
    with pytest.raises(ConnectionError):
        search()
    assert len(waits.seconds) == 4
    assert outcomes(ledger_service) == [("error", "cut_connection", 4, False)]


def test_functions_of_one_name_share_a_breaker_and_others_do_not(ledger: TokenLedger) -> None:
    for _ in range(5):
        with pytest.raises(ConnectionError):
            as_tool(ledger, Tool(ConnectionError()))()
    with pytest.raises(BreakerOpen):
        as_tool(ledger, Tool())()
    as_tool(ledger, Tool(), tool="other")()


def test_a_tool_may_have_no_breaker(ledger: TokenLedger) -> None:
    search = as_tool(ledger, Tool(*[ConnectionError()] * 20), failures=None)
    for _ in range(20):
        with pytest.raises(ConnectionError):
            search()


# Time-outs


def test_a_call_that_takes_too_long_is_left_alone(ledger: TokenLedger, ledger_service: FakeService) -> None:
    release, ended = threading.Event(), threading.Event()

    def search() -> str:
        release.wait()
        ended.set()
        return "late"

    with pytest.raises(ToolTimedOut, match=r"no answer after 0\.001 s: its thread goes on"):
        as_tool(ledger, search, timeout_seconds=0.001, cost=Decimal("0.005"))()
    release.set()
    ended.wait()
    assert outcomes(ledger_service) == [("error", "timeout", None, False)]
    assert ledger_service.calls[0].cost == Decimal("0.005")


def test_a_fallback_stands_for_an_answer_that_did_not_come(
    ledger: TokenLedger, ledger_service: FakeService, waits: Waits
) -> None:
    release = threading.Event()
    fallback: list[str] = []
    search = as_tool(ledger, release.wait, timeout_seconds=0.001, retries=1, fallback=fallback, failures=2)
    first = search()
    first.append("changed by its caller")
    assert search() == []  # not called any more
    release.set()
    assert waits.seconds == [2]
    assert outcomes(ledger_service) == [("error", "timeout", 1, False), ("error", "breaker_open", None, False)]


def test_a_fallback_hides_no_other_error(ledger: TokenLedger) -> None:
    with pytest.raises(ConnectionError):
        as_tool(ledger, Tool(ConnectionError()), timeout_seconds=600, fallback=[])()


def test_within_a_time_out_the_context_and_the_answer_are_those_of_the_call(
    ledger: TokenLedger, ledger_service: FakeService
) -> None:
    model: Any = {"provider": "openai", "model": "gpt-5.4", "input_tokens": 9, "max_output_tokens": 9}
    search = as_tool(ledger, lambda: current_call().model, timeout_seconds=600, **model)
    assert search() == "gpt-5.4"
    with pytest.raises(ZeroDivisionError):
        as_tool(ledger, lambda: 1 / 0, timeout_seconds=600)()


# Tools with a price


def test_each_attempt_has_a_hold_of_its_own(ledger: TokenLedger, ledger_service: FakeService) -> None:
    model: Any = {"provider": "openai", "model": "gpt-5.4", "input_tokens": 100, "max_output_tokens": 50}
    tool = Tool(ConnectionResetError())
    search = as_tool(ledger, tool, retries=1, usage=lambda _: Usage(90, 7), **model)
    search()
    assert [hold.state for hold in ledger_service.holds] == ["released", "released"]
    (call,) = ledger_service.calls
    assert (call.usage.input_tokens, call.usage.output_tokens, call.estimated) == (190, 57, True)
    assert events(ledger_service)[0]["provider"] == "openai"
    ledger_service.deny()
    with pytest.raises(BudgetExceeded):
        search()
    assert len(tool.calls) == 2


def test_without_the_extra_the_error_says_what_to_install(
    ledger_service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("circuitbreaker", "token_ledger_sdk.guard.breakers"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    monkeypatch.delattr("token_ledger_sdk.guard.breakers", raising=False)
    with (
        ledger_service.client() as ledger,
        pytest.raises(ConfigurationError, match=r"pip install 'token-ledger-sdk\[tools\]'"),
    ):
        ledger.tool(**OURS)


def test_nothing_is_logged_of_what_goes_well(ledger: TokenLedger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "token_ledger_sdk")
    as_tool(ledger, Tool(), retries=3, timeout_seconds=600)()
    assert caplog.records == []


# At the same time


def test_gather_calls_in_threads_with_the_context_of_the_caller(
    ledger: TokenLedger, ledger_service: FakeService
) -> None:
    barrier = threading.Barrier(3)

    def search(number: int) -> int:
        barrier.wait()
        return number

    tool = ledger.tool(search)
    with ledger.context(**OURS):
        found = ledger.gather(lambda: tool(1), lambda: tool(2), lambda: tool(3))
    assert found == (1, 2, 3)
    assert [call.user for call in ledger_service.calls] == ["ada"] * 3


def test_one_that_fails_does_not_lose_the_others(ledger: TokenLedger, ledger_service: FakeService) -> None:
    good, bad = as_tool(ledger, Tool()), as_tool(ledger, Tool(ConnectionError(), ConnectionError()))
    with pytest.raises(ConnectionError), ledger.run(user="ada") as run:
        run.gather(good, bad, good)
    assert sorted(outcome for outcome, *_ in outcomes(ledger_service)) == ["error", "ok", "ok"]
    found = ledger.gather(good, bad, return_exceptions=True)
    assert (found[0], type(found[1])) == (["x"], ConnectionError)
