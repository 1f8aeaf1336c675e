"""No test depends on how fast the machine is: rules on the sources of tests. Only `tests/bench` measures time.

A test waits for a condition, in a loop that ends as soon as it holds. Where time itself is what is tested, the test
sets the clock. A limit only ends a test that hangs.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.installation import REPOSITORY

LEAST_LIMIT_SECONDS = 60
SQL_SLEEP = "_".join(("pg", "sleep"))
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}
LIMITED = {"exit_status", "fail_after", "move_on_after", "timeout", "wait", "wait_for", "wait_until"}
"""Functions that are given how long to wait."""


def sources() -> Iterator[Path]:
    """Yield the sources of all tests, without what measures."""
    for folder in (REPOSITORY / "tests", REPOSITORY / "sdk" / "tests"):
        for path in sorted(folder.rglob("*.py")):
            if path.parent.name != "bench" or path.name.startswith("test_"):
                yield path


def faults(source: str) -> list[str]:
    """Return what in a source depends on how fast the machine is."""
    tree = ast.parse(source)
    allowed = {id(node) for polling in ast.walk(tree) if is_polling(polling) for node in ast.walk(polling)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_SLEEP in node.value:
            found.append(f"line {node.lineno}: wait for a condition, not in the database")
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node)
        if name == "sleep" and not is_zero(node) and id(node) not in allowed:
            found.append(f"line {node.lineno}: wait for a condition, not for a time")
        if name.removesuffix("_ns") in CLOCKS and id(node) not in allowed:
            found.append(f"line {node.lineno}: count something, or measure in tests/bench")
        if any(seconds < LEAST_LIMIT_SECONDS for seconds in limits(node)):
            found.append(f"line {node.lineno}: a limit of less than {LEAST_LIMIT_SECONDS} s")
    return found


def is_polling(node: ast.AST) -> bool:
    """Tell whether this is a function that asks again and again, with a sleep in between."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
        isinstance(part, ast.Call) and name_of(part) == "sleep"
        for loop in ast.walk(node)
        if isinstance(loop, ast.While)
        for part in ast.walk(loop)
    )


def name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_zero(call: ast.Call) -> bool:
    return [ast.unparse(argument) for argument in call.args] == ["0"]


def limits(call: ast.Call) -> Iterator[float]:
    """Yield the numbers among what a call is given that say how long to wait."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "timeout"]
    if name_of(call) in LIMITED:
        given += call.args
    for argument in given:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int | float):
            yield argument.value


def test_no_test_depends_on_how_fast_the_machine_is() -> None:
    found = {path.relative_to(REPOSITORY).as_posix(): faults(path.read_text()) for path in sources()}
    assert len(found) > 200
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("await asyncio.sleep(0.1)", "wait for a condition"),
        ("time.sleep(seconds)", "wait for a condition"),
        ("def test():\n    for _ in range(3):\n        sleep(1)", "wait for a condition"),
        (f"execute('select {SQL_SLEEP}(1)')", "not in the database"),
        ("began = time.perf_counter()", "count something"),
        ("assert monotonic() - began < 5", "count something"),
        ("assert time.process_time_ns() < 5", "count something"),
        ("await asyncio.wait_for(task, 5)", "a limit of less than"),
        ("async with asyncio.timeout(0.5):\n    await task", "a limit of less than"),
        ("httpx2.get(url, timeout=5)", "a limit of less than"),
        ("process.wait(10)", "a limit of less than"),
    ],
)
def test_what_depends_on_the_machine_would_be_noticed(source: str, said: str) -> None:
    [fault] = faults(f"async def given():\n    {source.replace(chr(10), chr(10) + '    ')}")
    assert said in fault


@pytest.mark.parametrize(
    "source",
    [
        "async def until(holds):\n    end = time.monotonic() + 60\n    while not holds():\n        await sleep(0.1)",
        "async def given():\n    await asyncio.sleep(0)",
        "async def given():\n    await asyncio.wait_for(task, 60)",
        "async def given():\n    deadline = asyncio.timeout(None)",
    ],
)
def test_what_waits_for_a_condition_is_allowed(source: str) -> None:
    assert faults(source) == []
