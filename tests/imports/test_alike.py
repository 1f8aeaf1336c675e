"""Calls that are alike get the commands that any event gets; what is not plain is left to the reading of events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imports.log_reading import events_of
from tests.imports.log_samples import CLAUDE_CODE, CODEX
from token_ledger.core.batch.commands import Record
from token_ledger.core.model.usage import KINDS
from token_ledger.core.model.window import FIRST_INSTANT
from token_ledger.imports import alike, claude_code, codex
from token_ledger.imports.alike import AlikeCalls
from token_ledger.wire.commands.events import event_commands
from token_ledger.wire.problems import ProblemError

EVENT: dict[str, Any] = {
    "source": "elsewhere", "idempotency_key": "call-1", "agent_type": "data", "provider": "openai", "model": "gpt-5.4",
    "user": "ada", "usage": {"input_tokens": 1_000, "output_tokens": 10}, "occurred_at": "2026-02-21T03:56:21.139Z",
}  # fmt: skip
LEFT_OUT = object()


def event(**fields: Any) -> dict[str, Any]:
    return {name: said for name, said in {**EVENT, **fields}.items() if said is not LEFT_OUT}


def commands_of(said: Any) -> Any:
    try:
        return event_commands(said, "event", FIRST_INSTANT)[0]
    except ProblemError:
        return None


def test_the_calls_of_recorded_logs_are_read_as_any_event_is() -> None:
    events = events_of(claude_code.read, *CLAUDE_CODE) + events_of(codex.read, *CODEX)
    calls = AlikeCalls(FIRST_INSTANT)
    for each in events:
        calls.record_of(each)

    records = [calls.record_of(each) for each in events]

    assert None not in records
    assert [[record] for record in records] == [[*commands_of(each)] for each in events]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"occurred_at": "2026-02-21T03:56:21Z"},
        {"occurred_at": "2026-02-21T03:56:21.000Z"},
        {"occurred_at": "2026-02-21T03:56:21.000100+00:00"},
        {"occurred_at": "2026-02-21T03:56:21+00:00"},
        {"response_id": "resp_1"},
        {"response_id": None},
        {"tags": {}},
        {"tags": {"b": "2", "a": "1"}},
        {"tags": {"a": " 1 \u00e9"}},
        {"measured": {"finish_reason": "stop"}},
        {"measured": {}},
        {"user": "  ada\u0301 "},
        {"user": 'a"b\\c'},
        {"cost_center": "research"},
        {"service_tier": "batch"},
        {"service_tier": "standard"},
        {"estimated": True},
        {"estimated": False},
        {"outcome": "error"},
        {"run_id": "12", "user": LEFT_OUT},
        {"usage": dict(zip(KINDS, range(6, 0, -1), strict=True))},
        {"usage": {"output_tokens": 0, "input_tokens": 10**12}},
    ],
)
def test_a_plain_call_is_read_by_its_pattern(fields: dict[str, Any]) -> None:
    calls = AlikeCalls(FIRST_INSTANT)
    assert calls.record_of(event(**fields)) is None
    for key in ("k1", "k2"):
        said = event(idempotency_key=key, **fields)
        assert [calls.record_of(said)] == [*commands_of(said)]


@pytest.mark.parametrize(
    "fields",
    [
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 201},
        {"idempotency_key": "tl_abc_1_" + "x" * 20},
        {"idempotency_key": "a\nb"},
        {"idempotency_key": 5},
        {"idempotency_key": LEFT_OUT},
        {"response_id": ""},
        {"response_id": 'a"b'},
        {"response_id": "a\\b"},
        {"response_id": "eyJ" + "x" * 20 + ".y"},
        {"usage": LEFT_OUT},
        {"usage": {"input_tokens": 1}},
        {"usage": {"input_tokens": 1, "output_tokens": -1}},
        {"usage": {"input_tokens": 1, "output_tokens": True}},
        {"usage": {"input_tokens": 1, "output_tokens": 1.0}},
        {"usage": {"input_tokens": 1, "output_tokens": 10**12 + 1}},
        {"usage": {"input_tokens": 1, "output_tokens": 1, "web_searches": 1}},
        {"usage": {"input_tokens": 1, "output_tokens": 1, "spoons": 1}},
        {"occurred_at": LEFT_OUT},
        {"occurred_at": "2026-02-30T03:56:21Z"},
        {"occurred_at": "2026-02-21T03:56:21"},
        {"occurred_at": "2026-02-21T03:56:21+01:00"},
        {"occurred_at": "2026-02-21T03:56:\u0662\u0661Z"},
        {"user": LEFT_OUT},
        {"user": ""},
        {"user": "a\u200bb"},
        {"user": 7},
        {"tags": {"a": 1}},
        {"tags": {"a": "1", "a ": "2"}},
        {"tags": None},
        {"tags": ["a"]},
        {"estimated": 1},
        {"service_tier": "slow"},
        {"measured": {"finish_reason": "x" * 65}},
        {"measured": {"latency_ms": 5}},
        {"spoons": "3"},
        {"source": ""},
        {"type": "cache_hit"},
        {"type": "tool_call", "tool": "search"},
        {"source": "7000000000001"},
        {"body": {"usage": {"input_tokens": 1, "output_tokens": 1}}, "usage": LEFT_OUT},
        {"user": alike.AN_INSTANT},
        {"tags": {"a": alike.A_RESPONSE}, "response_id": "r"},
    ],
)  # fmt: skip
def test_no_other_call_gets_another_command_than_any_event(fields: dict[str, Any]) -> None:
    calls = AlikeCalls(FIRST_INSTANT)
    # What others said before must not matter, even where Python takes their values for the same.
    for before in 2 * (event(), event(estimated=True), event(response_id="r"), event(tags={})):
        calls.record_of(before)
    for _ in range(3):
        made = calls.record_of(event(**fields))
        assert made is None or [made] == [*(commands_of(event(**fields)) or ())]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"response_id": "r"}),
        ({"response_id": "r"}, {}),
        ({"estimated": True}, {"estimated": 1}),
        ({"estimated": False}, {"estimated": 0.0}),
        ({"tags": {"a": "1"}}, {"tags": {"a": 1}}),
        ({}, {"cost_center": "research"}),
    ],
)
def test_a_call_gets_its_own_command_after_one_that_is_nearly_alike(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    calls = AlikeCalls(FIRST_INSTANT)
    for _ in range(3):
        last = calls.record_of(event(**before))
    assert last is not None
    for _ in range(3):
        made = calls.record_of(event(**after))
        assert made is None or [made] == [*commands_of(event(**after))]


def test_what_calls_share_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = AlikeCalls(FIRST_INSTANT)
    assert calls.record_of(event()) is None
    assert isinstance(calls.record_of(event()), Record)
    monkeypatch.setattr(alike, "event_commands", None)
    assert isinstance(
        calls.record_of(event(idempotency_key="call-2", usage={"input_tokens": 1, "output_tokens": 0})), Record
    )
    assert calls.record_of(event(user="bob")) is None
    with pytest.raises(TypeError):
        calls.record_of(event(user="bob"))


def test_only_so_many_patterns_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST_PATTERNS", 3)
    calls = AlikeCalls(FIRST_INSTANT)
    for number in range(10):
        calls.record_of(event(user=f"user-{number}"))
        assert calls.record_of(event(user=f"user-{number}")) is not None
        assert calls.remembered <= 3


texts = st.text(max_size=12) | st.sampled_from(
    ["", "a", 'x"y', "\\", "\u2028", "e\u0301", "tl_a", "2026-02-21T03:56:21Z"]
)
odd = texts | st.none() | st.booleans() | st.integers(-2, 10**13) | st.floats(allow_nan=False)
some = st.dictionaries(st.sampled_from(["a", "b", "finish_reason", "error_kind"]), odd, max_size=2)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("idempotency_key", "response_id", "user", "model", "tool", "source"), texts),
            "estimated": odd, "tags": some | odd, "measured": some | odd, "outcome": odd, "run_id": odd,
            "usage": st.dictionaries(st.sampled_from([*KINDS, "images"]), st.integers(-1, 10**12), max_size=7),
            "occurred_at": st.datetimes().map(lambda at: f"{at.isoformat()}Z") | texts,
        },
    )
)  # fmt: skip
def test_whatever_an_event_says_its_command_is_the_same(fields: dict[str, Any]) -> None:
    calls = AlikeCalls(FIRST_INSTANT)
    for _ in range(2):
        calls.record_of(event())
    for _ in range(3):
        made = calls.record_of(event(**fields))
        assert made is None or [made] == [*(commands_of(event(**fields)) or ())]
