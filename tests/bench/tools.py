"""Rows of the group `sdk` about tools: independent ones at the same time, and a script that repeats what it asks."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from token_ledger_sdk import AsyncTokenLedger, Run, TokenLedger

from tests.bench.ledger import LedgerBench
from tests.bench.rows import Failure, Figure, Row, Target, interleave

_TOOLS: Final = 5
_TOOL_SECONDS: Final = 0.1
_CALL_SECONDS: Final = 0.02
"""How long a tool of the script takes: less than most really do, so that what the cache itself takes counts."""
SCRIPT: Final[tuple[tuple[str, str], ...]] = (
    ("document", "plan"), ("document", "rates"), ("look_up", "ulm"), ("look_up", "bonn"), ("query", "open orders"),
    ("document", "plan"), ("look_up", "ulm"), ("query", "open orders"), ("query", "late orders"), ("document", "rates"),
    ("look_up", "kiel"), ("document", "plan"), ("look_up", "ulm"), ("query", "open orders"), ("look_up", "bonn"),
    ("write_document", "plan"), ("document", "plan"), ("document", "rates"), ("document", "plan"), ("look_up", "kiel"),
    ("query", "open orders"), ("query", "late orders"), ("look_up", "ulm"), ("document", "plan"), ("look_up", "bonn"),
    ("write_order", "open orders"), ("query", "open orders"), ("query", "late orders"), ("query", "open orders"),
    ("document", "plan"), ("document", "rates"), ("look_up", "ulm"), ("look_up", "kiel"), ("query", "late orders"),
    ("write_document", "rates"), ("document", "rates"), ("document", "plan"), ("document", "rates"),
    ("look_up", "bonn"), ("query", "open orders"), ("query", "late orders"), ("document", "rates"), ("look_up", "ulm"),
    ("document", "plan"), ("query", "open orders"), ("look_up", "kiel"), ("document", "rates"), ("look_up", "bonn"),
)  # fmt: skip
"""48 calls: 3 writes, 7 reads of something for the first time, 3 for the first time after its write, 35 repetitions."""
_CALLS_WITH_CACHE: Final = 13


def tools_parallel(ledger: LedgerBench) -> list[Row]:
    """Measure five independent tools of 100 ms each, as tasks and in threads, beside one after another."""
    with ledger.service() as (base, key, _), TokenLedger(base, key) as tenant, tenant.run(user="ada") as run:
        tool = run.tool(agent_type="data_agent")(_sleep)
        for _ in range(3):  # connections
            run.gather(*[tool] * _TOOLS)
        tasks, threads = interleave(
            ledger.plan.repetitions,
            lambda: _milliseconds(lambda: [tool() for _ in range(_TOOLS)]),
            lambda: asyncio.run(_tasks_ms(base, key)),
            lambda: _milliseconds(lambda: run.gather(*[tool] * _TOOLS)),
        )
    return [
        Row("sdk", name, "ms", "one after another, ms", runs, Target(Figure.VALUE, 130, at_most=True))
        for name, runs in (("tools_parallel", tasks), ("tools_parallel_threads", threads))
    ]


def _sleep() -> None:
    time.sleep(_TOOL_SECONDS)


async def _tasks_ms(base: str, key: str) -> float:
    async with AsyncTokenLedger(base, key) as tenant, tenant.run(user="ada") as run:
        tool = run.tool(agent_type="data_agent")(partial(asyncio.sleep, _TOOL_SECONDS))
        await run.gather(*(tool() for _ in range(_TOOLS)))  # connections
        began = time.perf_counter()
        await run.gather(*(tool() for _ in range(_TOOLS)))
        return (time.perf_counter() - began) * 1_000


def tool_cache(ledger: LedgerBench) -> list[Row]:
    """Measure the script with cached tools beside the same without a cache; fails for an answer that is not current."""
    with ledger.service() as (base, key, _):
        (runs,) = interleave(
            ledger.plan.repetitions,
            lambda: _script_ms(base, key, cached=False),
            lambda: _script_ms(base, key, cached=True),
        )
    target = Target(Figure.RATIO, 0.5, at_most=True)
    return [Row("sdk", "tool_cache", "ms", "the same calls without a cache, ms", runs, target)]


class Desk:
    """What the script reads and writes: texts by their kind and name, each a number that a write raises."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], int] = {}
        self.calls = 0

    def read(self, kind: str, name: str) -> list[str]:
        """Return what stands there, as a tool does."""
        self.calls += 1
        time.sleep(_CALL_SECONDS)
        return self.now(kind, name)

    def now(self, kind: str, name: str) -> list[str]:
        """Return what stands there."""
        return [f"{kind} {name}, version {self.texts.get((kind, name), 1)}"]

    def write(self, kind: str, name: str) -> None:
        """Change what stands there, as a tool does."""
        self.calls += 1
        time.sleep(_CALL_SECONDS)
        self.texts[kind, name] = self.texts.get((kind, name), 1) + 1


def tools_of(desk: Desk, run: Run, *, cached: bool) -> dict[str, Callable[[str], Any]]:
    """Return the tools of the script by their names; answers know which document or order they are made from."""
    made: dict[str, Callable[[str], Any]] = {}
    for kind in ("document", "look_up", "query"):
        read = partial(desk.read, kind)
        tool: Any = {"tool": kind, "agent_type": "data_agent"}
        kept: Any = {"cache_seconds": 300, "reads": lambda name, kind=kind: f"{kind}:{name}"} if cached else {}
        made[kind] = run.tool(**tool, **kept)(read)
    for name, kind in (("write_document", "document"), ("write_order", "query")):
        tool = {"tool": name, "agent_type": "data_agent"}
        made[name] = run.tool(**tool, invalidates=lambda name, kind=kind: f"{kind}:{name}")(partial(desk.write, kind))
    return made


def play(desk: Desk, tools: dict[str, Callable[[str], Any]]) -> None:
    """Make the calls of the script; raises Failure for an answer that is not what stands there."""
    for tool, name in SCRIPT:
        answer = tools[tool](name)
        if not tool.startswith("write") and answer != desk.now(tool, name):
            raise Failure(f"{tool}({name!r}) answered {answer}, which was so before a write")


def _script_ms(base: str, key: str, *, cached: bool) -> float:
    desk = Desk()
    with TokenLedger(base, key) as tenant, tenant.run(user="ada") as run:
        tools = tools_of(desk, run, cached=cached)
        run.read()  # the connection
        milliseconds = _milliseconds(lambda: play(desk, tools))
    if desk.calls != (_CALLS_WITH_CACHE if cached else len(SCRIPT)):
        raise Failure(f"the script called its tools {desk.calls} times")
    return milliseconds


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1_000
