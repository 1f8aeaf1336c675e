"""Who the calls are said to be of, and what would have been asked for: the rules of the demo's help."""

import hashlib
from collections import Counter
from types import ModuleType
from typing import Any

import pytest


def test_a_session_belongs_to_the_user_that_its_hash_names(traffic: ModuleType) -> None:
    for session in ("4f70b420810a", "0f50909801a4", "ff3b233ae77b"):
        number = int(hashlib.sha256(session.encode()).hexdigest(), 16) % 12
        assert traffic.user_of(session) == traffic.USERS[number]


def test_each_cost_center_has_the_same_number_of_users(traffic: ModuleType) -> None:
    assert Counter(map(traffic.cost_center_of, traffic.USERS)) == dict.fromkeys(traffic.COST_CENTERS, 3)


def test_the_sample_has_every_user_cost_center_and_agent_type(traffic: ModuleType) -> None:
    sessions = traffic.read_sessions(traffic.SAMPLE)
    assert {session.user for session in sessions} == set(traffic.USERS)
    assert {session.cost_center for session in sessions} == set(traffic.COST_CENTERS)
    assert {call.agent_type for session in sessions for call in session.calls} == set(traffic.AGENT_TYPES)


@pytest.mark.parametrize(
    ("position", "calls", "is_subagent", "agent_type"),
    [
        pytest.param(0, 9, False, "triage_agent", id="first"),
        pytest.param(0, 1, False, "triage_agent", id="first and last"),
        pytest.param(0, 9, True, "triage_agent", id="first, of a sub-agent"),
        pytest.param(4, 9, True, "data_agent", id="of a sub-agent"),
        pytest.param(8, 9, True, "data_agent", id="last, of a sub-agent"),
        pytest.param(8, 9, False, "reporting_agent", id="last"),
    ],
)
def test_the_place_of_a_call_decides_its_agent_type(
    traffic: ModuleType, position: int, calls: int, is_subagent: bool, agent_type: str
) -> None:
    for tool in ("claude-code", "codex", "pi"):
        assert traffic.agent_type_of("s", position, calls, tool, is_subagent=is_subagent) == agent_type


@pytest.mark.parametrize(
    ("tool", "shares"),
    [
        ("claude-code", {"data_agent": 45, "action_agent": 40, "optimization_agent": 15}),
        ("codex", {"action_agent": 50, "data_agent": 30, "optimization_agent": 20}),
        ("pi", {"action_agent": 50, "data_agent": 30, "optimization_agent": 20}),
    ],
)
def test_the_middle_of_a_session_is_shared_out(traffic: ModuleType, tool: str, shares: dict[str, int]) -> None:
    drawn = Counter(traffic.agent_type_of("s", place, 10_002, tool, is_subagent=False) for place in range(1, 10_001))
    assert set(drawn) == set(shares)
    for agent_type, percent in shares.items():
        assert drawn[agent_type] / 100 == pytest.approx(percent, abs=2)


def test_every_session_begins_with_triage_and_ends_with_a_report(traffic: ModuleType) -> None:
    sessions = traffic.read_sessions(traffic.SAMPLE)
    assert {session.calls[0].agent_type for session in sessions} == {"triage_agent"}
    assert {session.calls[-1].agent_type for session in sessions} == {"reporting_agent"}


def test_cutting_the_traffic_changes_nothing_before_the_cut(traffic: ModuleType) -> None:
    whole, cut = traffic.read_sessions(traffic.SAMPLE), traffic.read_sessions(traffic.SAMPLE, 300)
    calls = [call for session in cut for call in session.calls]
    assert len(calls) == 300
    assert calls == [call for session in whole for call in session.calls][:300]


def test_cutting_between_two_sessions_leaves_no_empty_one(traffic: ModuleType) -> None:
    first = traffic.read_sessions(traffic.SAMPLE, 1_000)[0]
    assert traffic.read_sessions(traffic.SAMPLE, len(first.calls)) == [first]


@pytest.mark.parametrize(
    ("output_tokens", "asked"),
    [(0, 256), (1, 256), (255, 256), (256, 512), (1_023, 1_024), (1_024, 2_048), (22_690, 32_768)],
)
def test_the_output_limit_is_the_next_power_of_two_above(traffic: ModuleType, output_tokens: int, asked: int) -> None:
    call = traffic.RealCall("s", 0, "pi", "data_agent", "openai", "m", traffic.Usage(10, output_tokens), 0)
    assert call.max_output_tokens == asked


@pytest.mark.parametrize(("input_tokens", "requires"), [(200_000, ("tools",)), (200_001, ("tools", "long_context"))])
def test_long_prompts_need_a_long_context(traffic: ModuleType, input_tokens: int, requires: tuple[str, ...]) -> None:
    call = traffic.RealCall("s", 0, "pi", "data_agent", "openai", "m", traffic.Usage(input_tokens, 1), 0)
    assert call.requires == requires


def test_what_the_call_before_read_is_expected_from_the_cache(traffic: ModuleType) -> None:
    for session in traffic.read_sessions(traffic.SAMPLE, 1_000):
        read = [0, *(call.usage.cache_read_tokens for call in session.calls)]
        for call, before in zip(session.calls, read, strict=False):
            assert call.expected_cached_tokens == min(before, call.usage.input_tokens)


def a_row(tool: str, **counts: str) -> dict[str, str]:
    blank = dict.fromkeys(("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens"), "")
    return {"tool": tool, "input_tokens": "100", "output_tokens": "7"} | blank | counts


@pytest.mark.parametrize(
    ("row", "usage"),
    [
        pytest.param(a_row("codex", cache_read_tokens="90", reasoning_tokens="3"), (100, 7, 90, 0, 0, 3), id="codex"),
        pytest.param(a_row("codex"), (100, 7, 0, 0, 0, 0), id="nothing reported"),
        pytest.param(
            a_row("claude-code", cache_read_tokens="50", cache_write_tokens="30", cache_write_1h_tokens="20"),
            (180, 7, 50, 10, 20, 0),
            id="claude-code",
        ),
        pytest.param(a_row("pi", cache_read_tokens="50", cache_write_tokens="5"), (155, 7, 50, 5, 0, 0), id="pi"),
    ],
)
def test_counts_get_the_ledgers_meaning(traffic: ModuleType, row: dict[str, str], usage: tuple[Any, ...]) -> None:
    assert traffic.usage_of(row) == traffic.Usage(*usage)
