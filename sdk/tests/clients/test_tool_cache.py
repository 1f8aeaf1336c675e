"""Cached tools of the synchronous client: whose answers are kept, for how long, and what a write makes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from token_ledger_sdk import TokenLedger, ToolTimedOut, Usage
from token_ledger_sdk.testing import FakeService

from ..conftest import Clock
from ..forking import check_in_a_fork
from .tool_doubles import CACHED, OK, OURS, Waits, events, outcomes, toolbox_of


class Documents:
    """Texts that are read and written, and how often."""

    def __init__(self) -> None:
        self.texts = {1: "one", 2: "two"}
        self.reads = 0

    def read(self, number: int) -> list[str]:
        self.reads += 1
        return [self.texts[number]]

    def write(self, number: int, text: str) -> None:
        self.texts[number] = text


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
def ledger(ledger_service: FakeService, clock: Clock) -> Iterator[TokenLedger]:
    with ledger_service.client(toolbox=toolbox_of(clock, Waits())) as made:
        yield made


def cached(ledger: TokenLedger, function: Callable[..., Any], **said: Any) -> Callable[..., Any]:
    return ledger.tool(**{"tool": "read", "cache_seconds": 60, **OURS, **said})(function)


def counts(ledger: TokenLedger) -> tuple[int, int, int]:
    found = ledger.toolbox.statistics("read")
    return found.hits, found.joined, found.misses


def test_an_answer_is_kept_for_its_time(
    ledger: TokenLedger, ledger_service: FakeService, documents: Documents, clock: Clock
) -> None:
    read = cached(ledger, documents.read, cost=Decimal("0.005"))
    assert read(1) == read(number=1) == ["one"]
    clock.now += 59.9
    read(1)
    assert (documents.reads, outcomes(ledger_service)) == (1, [OK, CACHED, CACHED])
    assert [call.cost for call in ledger_service.calls] == [Decimal("0.005"), 0, 0]
    clock.now += 0.1
    read(1)
    read(2)
    assert documents.reads == 3
    assert counts(ledger) == (2, 0, 3)
    assert ledger.toolbox.statistics().hit_rate == 0.4


def test_an_answer_that_a_model_gave_is_booked_as_a_cache_hit(ledger: TokenLedger, ledger_service: FakeService) -> None:
    model: Any = {"provider": "openai", "model": "gpt-5.4", "input_tokens": 100, "max_output_tokens": 50}
    ask = cached(ledger, lambda question: [question], usage=lambda _: Usage(90, 7), **model)
    ask("x")
    ask("x")
    first, second = ledger_service.calls
    assert (first.kind, second.kind, second.tool) == ("tool_call", "cache_hit", "read")
    assert (second.cost, len(ledger_service.holds)) == (0, 1)
    assert events(ledger_service)[1]["usage"]["output_tokens"] == 7


def test_what_one_caller_changes_no_other_gets(ledger: TokenLedger, documents: Documents) -> None:
    read = cached(ledger, documents.read)
    for _ in range(3):
        answer = read(1)
        assert answer == ["one"]
        answer.append("mine")


def test_users_do_not_share_answers_unless_the_tool_says_so(ledger: TokenLedger, documents: Documents) -> None:
    for said, reads in (({}, 2), ({"shared": True}, 1)):
        documents.reads = 0
        read = ledger.tool(tool=f"read{reads}", agent_type="a", cache_seconds=60, **said)(documents.read)
        for user in ("ada", "bob", "ada"):
            with ledger.context(user=user):
                read(1)
        assert documents.reads == reads


def test_tenants_do_not_share_answers_in_one_toolbox(ledger_service: FakeService, documents: Documents) -> None:
    from token_ledger_sdk.testing.service import URL

    toolbox = toolbox_of(Clock(), Waits())
    for key in ("tl_test_1_a", "tl_test_1_b", "tl_test_1_a"):
        with TokenLedger(URL, key, transport=ledger_service.transport, toolbox=toolbox) as ledger:
            assert cached(ledger, documents.read, shared=True)(1) == ["one"]
    assert documents.reads == 2
    with TokenLedger(URL, "tl_test_1_b", transport=ledger_service.transport, toolbox=toolbox) as other:
        assert other.invalidate_tools("read") == 1
    assert toolbox.statistics().invalidated == 1
    with TokenLedger(URL, "tl_test_1_a", transport=ledger_service.transport, toolbox=toolbox) as ledger:
        cached(ledger, documents.read, shared=True)(1)
    assert documents.reads == 2


def test_a_run_has_the_answers_of_its_user(ledger: TokenLedger, documents: Documents) -> None:
    for user in ("ada", "ada", "bob"):
        with ledger.run(user=user) as run:
            read = run.tool(tool="read", agent_type="a", cache_seconds=60)(documents.read)
            read(1)
            read(1)
    assert documents.reads == 2
    assert cached(ledger, documents.read)(1) == ["one"]  # outside of any run it is still that user
    assert documents.reads == 2


def test_functions_of_one_name_do_not_answer_for_each_other(ledger: TokenLedger) -> None:
    def other(number: int) -> str:
        return "other"

    assert cached(ledger, Documents().read)(1) == ["one"]
    assert cached(ledger, other)(1) == "other"


def test_an_argument_that_cannot_be_compared_is_refused_before_anything_is_done(
    ledger: TokenLedger, ledger_service: FakeService
) -> None:
    with pytest.raises(TypeError, match="give cache_key="):
        cached(ledger, lambda client: client)(object())
    assert ledger_service.requests == []


def test_errors_and_fallbacks_are_not_kept(ledger: TokenLedger) -> None:
    answers = iter([ConnectionError(), "found"])

    def read() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ConnectionError):
        cached(ledger, read)()
    assert cached(ledger, read)() == "found"
    hang = threading.Event()
    for _ in range(2):
        assert cached(ledger, hang.wait, timeout_seconds=0.001, fallback="none", tool="late")() == "none"
    hang.set()
    assert ledger.toolbox.statistics("late").misses == 2


def test_an_answer_that_cannot_be_copied_is_not_kept(ledger: TokenLedger, caplog: pytest.LogCaptureFixture) -> None:
    read = cached(ledger, lambda: threading.Lock())
    assert read() is not read()
    assert "not cached: it can't be copied" in caplog.text


def test_the_least_recently_used_answers_make_room(ledger_service: FakeService, documents: Documents) -> None:
    from token_ledger_sdk import Toolbox

    with ledger_service.client(toolbox=Toolbox(most_answers=2)) as ledger:
        read = cached(ledger, lambda number: documents.read(1))
        for number in (1, 2, 1, 3, 1, 2):
            read(number)
    assert documents.reads == 4


# Writes


def writing(ledger: TokenLedger, function: Callable[..., Any], **said: Any) -> Callable[..., Any]:
    return ledger.tool(**{"tool": "write", **OURS, "invalidates": "documents", **said})(function)


@pytest.mark.parametrize("invalidates", ["documents", "read", ["x", "documents"], lambda number, text: f"doc:{number}"])
def test_nothing_stale_is_returned_after_a_write(
    invalidates: Any, ledger: TokenLedger, ledger_service: FakeService, documents: Documents
) -> None:
    read = cached(ledger, documents.read, reads=lambda number: ["documents", f"doc:{number}"])
    write = writing(ledger, documents.write, invalidates=invalidates)
    read(1)
    with ledger.context(user="bob"):
        write(1, "new")
    assert read(1) == ["new"]
    assert outcomes(ledger_service) == [OK, OK, OK]


def test_a_write_forgets_only_what_has_read_it(ledger: TokenLedger, documents: Documents) -> None:
    read = cached(ledger, documents.read, reads=lambda number: f"doc:{number}")
    write = writing(ledger, documents.write, invalidates=lambda number, text: f"doc:{number}")
    read(1)
    read(2)
    write(1, "new")
    read(1)
    read(2)
    assert documents.reads == 3
    assert ledger.toolbox.statistics("read").invalidated == 1


def test_a_write_that_failed_may_have_written(ledger: TokenLedger, documents: Documents) -> None:
    def write(text: str) -> None:
        documents.texts[1] = text
        raise ConnectionError("the answer was lost")

    read = cached(ledger, documents.read, reads="documents")
    read(1)
    with pytest.raises(ConnectionError):
        writing(ledger, write)("new")
    assert read(1) == ["new"]


def test_a_write_that_was_left_alone_may_write_later(ledger: TokenLedger, documents: Documents) -> None:
    go, written = threading.Event(), threading.Event()

    def write(text: str) -> None:
        go.wait()
        documents.texts[1] = text

    invalidate = ledger.toolbox.cache.invalidate

    def noted(marks: Any) -> int:
        done = invalidate(marks)
        if documents.texts[1] == "new":
            written.set()
        return done

    ledger.toolbox.cache.invalidate = noted  # type: ignore[method-assign]
    read = cached(ledger, documents.read, reads="documents")
    with pytest.raises(ToolTimedOut):
        writing(ledger, write, timeout_seconds=0.001)("new")
    assert read(1) == ["one"]
    go.set()
    written.wait()
    assert read(1) == ["new"]


def test_the_run_may_say_what_is_stale(ledger: TokenLedger, documents: Documents) -> None:
    read = cached(ledger, documents.read, reads="documents")
    read(1)
    documents.write(1, "new")
    with ledger.run(user="ada") as run:
        assert run.invalidate_tools("documents", "others") == 1
    assert read(1) == ["new"]


class Gate:
    """A read that has read, and waits before it returns."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.has_read, self.go = threading.Event(), threading.Event()

    def read(self, number: int) -> list[str]:
        answer = self.documents.read(number)
        self.has_read.set()
        self.go.wait()
        return answer


def test_a_read_under_way_when_the_write_came_is_not_kept(ledger: TokenLedger, documents: Documents) -> None:
    gate = Gate(documents)
    read = cached(ledger, gate.read, reads="documents")
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(read, 1)
        gate.has_read.wait()
        writing(ledger, documents.write)(1, "new")
        gate.has_read.clear()
        late = pool.submit(read, 1)  # begins a call of its own: that under way has read what was before
        gate.has_read.wait()
        gate.go.set()
        assert (early.result(), late.result()) == (["one"], ["new"])
    assert read(1) == ["new"]
    assert ledger.toolbox.statistics("read").stale == 1


# Calls at the same time


def until_joined(ledger: TokenLedger, number: int) -> None:
    while counts(ledger)[1] < number:
        time.sleep(0.001)


def test_of_a_hundred_threads_one_calls_the_tool(
    ledger: TokenLedger, ledger_service: FakeService, documents: Documents
) -> None:
    gate = Gate(documents)
    read = cached(ledger, gate.read)
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(read, 1) for _ in range(100)]
        until_joined(ledger, 99)
        gate.go.set()
        answers = [each.result() for each in asked]
    assert answers == [["one"]] * 100
    assert len({id(answer) for answer in answers}) == 100
    assert (documents.reads, counts(ledger)) == (1, (0, 99, 1))
    assert sorted(outcomes(ledger_service), key=repr) == sorted([OK, *[CACHED] * 99], key=repr)


def test_those_who_wait_get_the_error_of_the_call(ledger: TokenLedger, ledger_service: FakeService) -> None:
    go = threading.Event()
    calls: list[int] = []

    def read() -> None:
        calls.append(1)
        go.wait()
        raise ConnectionError("away")

    tool = cached(ledger, read, cost=Decimal("0.005"))
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(tool) for _ in range(10)]
        until_joined(ledger, 9)
        go.set()
        assert [type(each.exception()) for each in asked] == [ConnectionError] * 10
    assert len(calls) == 1
    assert outcomes(ledger_service) == [("error", "cut_connection", None, False)] * 10
    assert sum(call.cost for call in ledger_service.calls) == Decimal("0.005")


def test_those_who_wait_try_themselves_after_an_interruption(ledger: TokenLedger, documents: Documents) -> None:
    go = threading.Event()
    interruptions = [KeyboardInterrupt()]

    def read() -> list[str]:
        go.wait()
        if interruptions:
            raise interruptions.pop()
        return documents.read(1)

    tool = cached(ledger, read)
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(tool) for _ in range(10)]
        until_joined(ledger, 9)
        go.set()
        ended = [each.exception() for each in asked]
    assert [type(error) for error in ended if error is not None] == [KeyboardInterrupt]
    assert documents.reads == 1


def test_an_interruption_while_the_use_is_read_leaves_nobody_waiting(ledger: TokenLedger) -> None:
    uses: list[Any] = [KeyboardInterrupt(), {"input_tokens": 1, "output_tokens": 1}]

    def usage(_: object) -> Any:
        use = uses.pop(0)
        if isinstance(use, BaseException):
            raise use
        return use

    model: Any = {"provider": "openai", "model": "gpt-5.4", "input_tokens": 100, "max_output_tokens": 50}
    tool = cached(ledger, lambda: [1], usage=usage, **model)
    with pytest.raises(KeyboardInterrupt):
        tool()
    assert tool() == [1]


@pytest.mark.parametrize("seconds", [None, 600])
def test_a_tool_that_asks_itself_does_not_wait_for_itself(seconds: float | None, ledger: TokenLedger) -> None:
    calls: list[int] = []

    def read() -> list[int]:
        calls.append(1)
        return [0] if len(calls) > 1 else ledger.gather(tool)[0] + [1]

    tool = cached(ledger, read, timeout_seconds=seconds)
    assert tool() == tool() == [0, 1]
    assert len(calls) == 2


def test_a_forked_process_begins_with_an_empty_cache(ledger: TokenLedger, documents: Documents) -> None:
    read = cached(ledger, documents.read)
    read(1)
    cache = ledger.toolbox.cache
    marks = frozenset({("t", "read")})
    cache.look("read", b"under way", marks, None, again=False)

    def check() -> None:
        read(1)
        _, leads = cache.look("read", b"under way", marks, None, again=False)  # type: ignore[misc]
        assert (documents.reads, leads) == (2, True)

    with cache._lock:
        check_in_a_fork(check)
    read(1)
    assert documents.reads == 1
