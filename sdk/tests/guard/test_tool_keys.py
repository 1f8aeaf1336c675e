"""Keys of cached answers: what is equal, what differs, and what can't be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from token_ledger_sdk.connection import Connection
from token_ledger_sdk.guard.tool_keys import cache_key, plain_arguments
from token_ledger_sdk.guard.tool_terms import ToolTerms, tool_terms


class Color(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Place:
    city: str
    zones: tuple[int, ...] = ()


def find(query: str, most: int = 3, *, exact: bool = False, **others: Any) -> None: ...


def terms_for(function: Callable[..., Any], **said: Any) -> ToolTerms:
    terms, _ = tool_terms({"cache_seconds": 60, **said})
    return terms.of(function)


def test_arguments_are_the_same_whichever_way_they_are_given() -> None:
    terms = terms_for(find)
    plain = terms.arguments(("x",), {})
    assert terms.arguments((), {"exact": False, "most": 3, "query": "x"}) == plain
    assert terms.arguments(("x", 3), {}) == plain
    assert terms.arguments(("x",), {"b": 1, "a": {"d": 1, "c": 2}}) != plain


DIFFERENT: list[object] = [
    None, True, 1, 1.0, "1", b"1", Decimal(1), "", (), [], {}, {1}, [1], (1,), ["1"], {"a": 1}, {"a": "1"}, {"b": 1},
    [[1], 2], [1, [2]], ["1, 2"], ["1", "2"], date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC),
    timedelta(1), UUID(int=1), Color.RED, Level.LOW, Place("Ulm"), Place("Ulm", (1,)), Path("/a"), "/a", "\ud800",
]  # fmt: skip


def test_what_is_not_the_same_has_another_key() -> None:
    texts = [plain_arguments("t", {"value": value}) for value in DIFFERENT]
    assert len({*texts}) == len(DIFFERENT)
    assert len({cache_key(("a",), text) for text in texts}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1, 2, 3}, {3, 2, 1}), ({"a"}, frozenset({"a"})), (Place("x"), Place("x"))],
)
def test_what_is_equal_has_the_same_key(one: object, other: object) -> None:
    assert plain_arguments("t", {"value": one}) == plain_arguments("t", {"value": other})


class Client:
    pass


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("value", [object(), Client(), [Client()], {"a": Client()}, {Client(): 1}, len, CYCLE])
def test_an_argument_that_is_no_plain_value_is_refused_with_what_to_do(value: object) -> None:
    with pytest.raises(TypeError, match=r"tool 'find' can't be cached by its argument 'query'.*give cache_key="):
        terms_for(find).arguments((value,), {})


def test_a_function_of_the_arguments_may_stand_for_them() -> None:
    terms = terms_for(find, cache_key=lambda client, most=3: most)
    assert terms.arguments((Client(),), {}) == terms.arguments((Client(), 3), {})
    with pytest.raises(TypeError, match="'cache_key'"):
        terms_for(find, cache_key=lambda client: client).arguments((Client(),), {})


def test_owners_tools_and_functions_have_keys_of_their_own() -> None:
    def other() -> None: ...

    keys = [
        terms.key(tenant, user, "x")
        for terms in (terms_for(find), terms_for(find, tool="other"), terms_for(other, tool="find"))
        for tenant in ("t1", "t2")
        for user in ("ada", "bob")
    ]
    assert len({*keys}) == len(keys)


def test_a_shared_answer_is_that_of_all_users_but_not_of_all_tenants() -> None:
    terms = terms_for(find, shared=True)
    assert terms.key("t1", "ada", "x") == terms.key("t1", "bob", "x") != terms.key("t2", "ada", "x")


def test_a_tenant_is_a_service_and_a_key_that_cannot_be_found_out() -> None:
    tenants = {Connection(url, key).tenant for url in ("http://a", "http://b") for key in ("tl_1", "tl_2")}
    assert len(tenants) == 4
    assert not any("tl_" in tenant or "http" in tenant for tenant in tenants)


@pytest.mark.parametrize("said", ["doc:1", ["doc:1"], lambda number: f"doc:{number}", lambda number: [f"doc:{number}"]])
def test_names_of_what_is_read_and_written_are_those_of_a_tenant(said: Any) -> None:
    def read(number: int) -> None: ...

    reading, writing = terms_for(read, reads=said), tool_terms({"invalidates": said})[0].of(read)
    assert reading.read_marks("t1", (1,), {}) == {("t1", "read"), ("t1", "doc:1")}
    assert writing.written_marks("t1", (1,), {}) == {("t1", "doc:1")}


NONSENSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout_seconds": 0}, ValueError, "timeout_seconds is 0: give a number of seconds above 0"),
    ({"timeout_seconds": float("nan")}, ValueError, "timeout_seconds is nan"),
    ({"timeout_seconds": float("inf")}, ValueError, "timeout_seconds is inf"),
    ({"timeout_seconds": True}, ValueError, "timeout_seconds is True"),
    ({"timeout_seconds": "5"}, ValueError, "timeout_seconds is '5'"),
    ({"open_seconds": -1}, ValueError, "open_seconds is -1"),
    ({"cache_seconds": 0}, ValueError, "cache_seconds is 0"),
    ({"retries": -1}, ValueError, "retries is -1: give a whole number from 0 to 100"),
    ({"retries": 101}, ValueError, "retries is 101"),
    ({"retries": True}, ValueError, "retries is True"),
    ({"failures": 0}, ValueError, "failures is 0"),
    ({"retry_on": [ValueError]}, TypeError, "retry_on is .*: give a class of exceptions, or a tuple of some"),
    ({"retry_on": (ValueError, KeyboardInterrupt)}, TypeError, "retry_on"),
    ({"retry_on": ValueError("an instance")}, TypeError, "retry_on"),
    ({"shared": True}, TypeError, "give cache_seconds"),
    ({"cache_key": len}, TypeError, "give cache_seconds"),
    ({"reads": "docs"}, TypeError, "give cache_seconds"),
    ({"cache_seconds": 1, "invalidates": "docs"}, TypeError, "not both"),
    ({"fallback": 1, "failures": None}, TypeError, "give timeout_seconds"),
    ({"says_when_sent": True}, TypeError, "ledger.guard"),
    ({"provider": "openai"}, TypeError, "both"),
    ({"colour": "red"}, TypeError, "unknown argument 'colour'"),
]


@pytest.mark.parametrize(("said", "kind", "text"), NONSENSE)
def test_what_makes_no_sense_is_refused_at_once(said: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        tool_terms(said)


def test_names_that_are_none_are_refused_before_the_call() -> None:
    with pytest.raises(TypeError, match="reads and invalidates are names: 5 is none"):
        tool_terms({"invalidates": [5]})[0].of(find).written_marks("t", ("x",), {})  # type: ignore[list-item]
