"""The group `sdk`: what a wrapped client of the openai library adds to a call; counting, importing, and tools."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any, Final

import httpx2
from openai import OpenAI
from token_ledger_sdk import TokenLedger
from token_ledger_sdk.tokens import count_tokens

from tests.bench import spooled, tools
from tests.bench.ledger import LedgerBench
from tests.bench.model_provider import READY_PATH
from tests.bench.plan import Measurements, Plan
from tests.bench.rows import Figure, Row, Run, Target, interleave
from tests.bench.servers import bench_server, http_server
from tests.bench.together import coalesced

GROUP: Final = "sdk"
_MODEL: Final = "gpt-5.4-mini"
_IMPORT: Final = "from token_ledger_sdk import TokenLedger"
_CALLS: Final = 200
_CHUNKS: Final = 2_000
_MESSAGES: Final[list[Any]] = [{"role": "user", "content": "What is the capital of the UK?"}]


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Start the database server, and yield the measurements."""
    with bench_server() as server:
        ledger = LedgerBench(plan, server)
        yield {
            "wrap": partial(wrap, ledger),
            "wrap_stream": partial(wrap_stream, plan),
            "count_messages": partial(count_messages, plan),
            "import": partial(imports, plan),
            "tools_parallel": partial(tools.tools_parallel, ledger),
            "tool_cache": partial(tools.tool_cache, ledger),
            "coalesced": partial(coalesced, GROUP, ledger),
            "leased_call": partial(spooled.leased_call, GROUP, ledger),
            "flush": partial(spooled.flush, GROUP, ledger),
            "spool_100k": partial(spooled.spool_100k, GROUP, ledger),
        }


def wrap(ledger: LedgerBench) -> list[Row]:
    """Measure what a guarded call takes longer than a bare one: with a hold of its own, and from a lease."""
    log = ledger.server.directory / "provider.log"
    with (
        http_server(_provider_command, READY_PATH, log) as url,
        ledger.service() as (base, key, _),
        TokenLedger(base, key) as tenant,
        OpenAI(base_url=f"{url}/v1", api_key="sk") as bare,
    ):
        single = tenant.wrap(bare, user="ada", agent_type="data_agent", lease_calls=0)
        leased = tenant.wrap(bare, user="bob", agent_type="data_agent", lease_calls=_CALLS)
        measured = interleave(ledger.plan.repetitions, *(partial(_call_ms, each) for each in (bare, single, leased)))
    named = zip(("wrap", "wrap_leased"), measured, (3.0, 0.3), strict=True)
    return [
        Row(GROUP, name, "ms", "the bare call, ms", _added(runs), Target(Figure.VALUE, most, at_most=True))
        for name, runs, most in named
    ]


def _provider_command(port: int) -> list[str]:
    return [sys.executable, "-m", "tests.bench.model_provider", str(port)]


def _added(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    return tuple(Run(run.value - run.yardstick_value, run.yardstick_value) for run in runs)


def _call_ms(client: OpenAI) -> float:
    def call() -> object:
        return client.chat.completions.create(model=_MODEL, messages=_MESSAGES, max_completion_tokens=50)

    for _ in range(_CALLS // 10):
        call()
    return median(_seconds(call) for _ in range(_CALLS)) * 1_000


def wrap_stream(plan: Plan) -> list[Row]:
    """Measure what a chunk of a guarded stream takes longer than a bare one, without any network."""
    with OpenAI(base_url="http://provider.test/v1", api_key="sk", http_client=_streaming()) as bare:
        ledger = TokenLedger("http://ledger.test", "tl_test_1_secret", transport=httpx2.MockTransport(_granted))
        guarded = ledger.wrap(bare, user="ada", agent_type="data_agent", lease_calls=0)
        (runs,) = interleave(plan.repetitions, partial(_chunk_us, bare), partial(_chunk_us, guarded))
    return [Row(GROUP, "wrap_stream", "µs", "a bare chunk, µs", _added(runs), Target(Figure.VALUE, 5, at_most=True))]


def _chunk_us(client: OpenAI) -> float:
    def read() -> None:
        stream = client.chat.completions.create(model=_MODEL, messages=_MESSAGES, max_completion_tokens=50, stream=True)
        for _ in stream:
            pass

    read()
    return median(_processor_seconds(read) for _ in range(5)) / _CHUNKS * 1_000_000


class _Events(httpx2.SyncByteStream):
    def __init__(self) -> None:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": _MODEL}
        delta = {"choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}], "usage": None}
        last = {"choices": [], "usage": {"prompt_tokens": 14, "completion_tokens": _CHUNKS, "total_tokens": 0}}
        self._event, self._last = (f"data: {json.dumps(head | each)}\n\n".encode() for each in (delta, last))

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(_CHUNKS):
            yield self._event
        yield self._last
        yield b"data: [DONE]\n\n"


def _streaming() -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Events())

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _granted(request: httpx2.Request) -> httpx2.Response:
    now = "2026-11-20T12:00:00Z"
    held: dict[str, object] = {
        "reservation_id": "1", "state": "held", "created_at": now, "expires_at": now, "run_id": None, "held": {},
        "provider": "openai", "model": _MODEL, "directive": {}, "warnings": [], "replayed": False,
    }  # fmt: skip
    settled = {"event_id": "2", "cost": "0", "tokens": 0} | {"overrun": False, "late": False, "unpriced": False}
    return httpx2.Response(200, json=held | settled | {"clamped": False})


def count_messages(plan: Plan) -> list[Row]:
    """Measure how long 20 messages with 10 tools take to be counted."""
    words = "The quick brown fox jumps over the lazy dog, and looks for what it had lost. " * 3
    messages = [{"role": "user", "content": f"{number}: {words}"} for number in range(20)]
    fields = {name: {"type": "string", "description": f"The {name} to look for"} for name in ("city", "day", "unit")}
    tools = [
        {"type": "function", "function": {"name": f"tool_{number}", "description": "Looks something up.",
                                          "parameters": {"type": "object", "properties": fields}}}
        for number in range(10)
    ]  # fmt: skip
    text = "\n".join(str(each["content"]) for each in messages) + json.dumps(tools)
    plain, whole = partial(count_tokens, text, _MODEL), partial(count_tokens, messages, _MODEL, tools=tools)
    (runs,) = interleave(plan.repetitions, partial(_median_ms, plain), partial(_median_ms, whole))
    target = Target(Figure.VALUE, 2, at_most=True)
    return [Row(GROUP, "count_messages", "ms", "tiktoken of the same text, ms", runs, target)]


def imports(plan: Plan) -> list[Row]:
    """Measure how long a program takes longer that imports a client of the SDK."""
    (runs,) = interleave(plan.repetitions, partial(_program_ms, "pass"), partial(_program_ms, _IMPORT))
    target = Target(Figure.VALUE, 150, at_most=True)
    return [Row(GROUP, "import", "ms", "a program that does nothing, ms", _added(runs), target)]


def _program_ms(code: str) -> float:
    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    run()
    return median(run() for _ in range(7)) * 1_000


def _median_ms(work: Callable[[], object], times: int = 50) -> float:
    work()
    return median(_processor_seconds(work) for _ in range(times)) * 1_000


def _processor_seconds(work: Callable[[], object]) -> float:
    """Return what of the processor something takes that waits for nothing: others on the machine do not matter then."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
