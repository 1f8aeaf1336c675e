"""Traces that others published: what is read of them is what they state, row for row and in sum."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Final

from tests.imports.reading import Event, accepted, calls_of, events, quarantined
from token_ledger.imports.csv_table import read
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.rows import Defaults
from token_ledger.imports.stated_costs import StatedCosts

DATA: Final = Path(__file__).parents[1] / "data"
AIDER: Final = DATA / "imports" / "aider_calls.csv.gz"
AGENTS: Final = DATA / "traces" / "agent_calls_sample.csv.gz"
OF_AIDER: Final = TableMapping.model_validate({
    "columns": {
        "occurred_at": "ts_utc", "user": "user", "model": "main_model", "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens", "cost": "cost_usd",
    },
    "constants": {"agent_type": "aider"},
    "provider_from_model": True,
})  # fmt: skip
OF_AGENTS: Final = TableMapping.model_validate({
    "columns": {
        "occurred_at": "ts_utc", "user": "session", "agent_type": "tool", "provider": "provider", "model": "model",
        "input_tokens": "prompt_total", "output_tokens": "output_tokens", "cache_read_tokens": "cache_read_tokens",
        "cache_write_tokens": "cache_write_tokens", "cache_write_1h_tokens": "cache_write_1h_tokens",
        "reasoning_tokens": "reasoning_tokens", "estimated": "output_final",
    },
    "values": {"estimated": {"0": "true", "1": "false"}},
})  # fmt: skip


def table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def total(found: Iterable[Event]) -> Counter[str]:
    tokens: Counter[str] = Counter()
    for event in found:
        tokens.update(event["usage"])
    return tokens


def test_what_aider_states() -> None:
    stated = StatedCosts()
    rows = [*read(AIDER, Defaults(), OF_AIDER, stated)]
    found, told = events(rows), table(AIDER)
    assert len(found) == len(told) == 5522
    assert len({event["idempotency_key"] for event in found}) == 5522
    tokens = total(found)
    assert tokens["input_tokens"] == sum(int(row["prompt_tokens"]) for row in told) == 72_967_539
    assert tokens.total() == sum(int(row["total_tokens"]) for row in told)
    assert stated.unread == 0
    assert round(stated.total - Decimal("9990.01"), 2) == Decimal("192.69")
    assert stated.total == sum(Decimal(row["cost_usd"]) for row in told)
    unknown = [event for event in found if event["model"] == "None"]
    assert len(unknown) == 22
    assert {quarantined(event) for event in unknown} == {"provider"}
    for event in found:
        if event["model"] != "None":
            accepted(event)


def test_what_agents_state() -> None:
    rows = [*read(AGENTS, Defaults(), OF_AGENTS)]
    found, told = events(rows), table(AGENTS)
    assert len(calls_of(rows)) == len(told) == 5649
    tokens = total(found)
    for kind, column in (
        ("input_tokens", "prompt_total"), ("output_tokens", "output_tokens"), ("reasoning_tokens", "reasoning_tokens"),
        ("cache_read_tokens", "cache_read_tokens"), ("cache_write_1h_tokens", "cache_write_1h_tokens"),
    ):  # fmt: skip
        assert tokens[kind] == sum(int(row[column] or 0) for row in told), kind
    written = tokens["cache_write_5m_tokens"] + tokens["cache_write_1h_tokens"]
    assert written == sum(int(row["cache_write_tokens"] or 0) for row in told)
    assert Counter(event["agent_type"] for event in found) == {"claude-code": 3433, "codex": 2031, "pi": 185}
    assert sum(event["estimated"] for event in found) == sum(row["output_final"] == "0" for row in told)
    commands = [accepted(event) for event in found]
    assert sum(command.usage.cache_read_tokens for command in commands) == tokens["cache_read_tokens"]


def test_rows_that_repeat_to_the_token_are_calls_of_their_own() -> None:
    keys = [event["idempotency_key"] for event in events(read(AGENTS, Defaults(), OF_AGENTS))]
    assert len({*keys}) == len(keys)
    assert keys == [event["idempotency_key"] for event in events(read(AGENTS, Defaults(), OF_AGENTS))]
    repeated = sum(times - 1 for times in Counter(map(tuple, map(dict.values, table(AGENTS)))).values())
    assert sum(":" in key for key in keys) == repeated
