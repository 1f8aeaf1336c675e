"""Reads the committed sample of real agent calls, and assigns users and agent types to them.

The sample has sessions, tools and token counts; users and agent types are not published. `RULES` says how they are
assigned: from hashes only, so that every run of the demo assigns the same.
"""

import csv
import gzip
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal

from token_ledger_sdk import Usage

SAMPLE = Path(__file__).resolve().parents[2] / "tests/data/traces/agent_calls_sample.csv.gz"

USERS = ("ada", "bo", "chen", "dora", "emil", "fatima", "goran", "hana", "ivan", "jaya", "kofi", "lena")
AGENT_TYPES = ("triage_agent", "data_agent", "optimization_agent", "action_agent", "reporting_agent")
COST_CENTERS = ("platform", "research", "support", "growth")

# How many of a hundred calls in the middle of a session belong to which agent type.
MIDDLE_SHARES = {
    "claude-code": {"data_agent": 45, "action_agent": 40, "optimization_agent": 15},
    "codex": {"action_agent": 50, "data_agent": 30, "optimization_agent": 20},
    "pi": {"action_agent": 50, "data_agent": 30, "optimization_agent": 20},
}
SMALLEST_OUTPUT_LIMIT = 256
LONG_CONTEXT_TOKENS = 200_000

RULES = f"""\
how the calls are assigned:
  user         SHA-256 of the session id, modulo {len(USERS)}: {", ".join(USERS)}
  cost center  the user's number modulo {len(COST_CENTERS)}: {", ".join(COST_CENTERS)}
  agent type   a session's first call is triage_agent, its last reporting_agent, calls of sub-agents data_agent; the
               others by SHA-256 of "session:position" modulo 100: claude-code 45 data_agent, 40 action_agent,
               15 optimization_agent; codex and pi 50 action_agent, 30 data_agent, 20 optimization_agent
how the calls are asked for:
  input        the whole prompt as recorded; expected from the cache: what the session's previous call read from it
  output       max_output_tokens is the next power of two above the recorded output, at least {SMALLEST_OUTPUT_LIMIT}
  requires     tools, and long_context above {LONG_CONTEXT_TOKENS:,} input tokens
"""


@dataclass(frozen=True, slots=True)
class RealCall:
    """One recorded call, with what an agent would have asked for before it."""

    session: str
    position: int
    tool: str
    agent_type: str
    provider: str
    model: str
    usage: Usage
    expected_cached_tokens: int

    @property
    def max_output_tokens(self) -> int:
        """The output limit to ask for: the next power of two above the recorded output."""
        return max(SMALLEST_OUTPUT_LIMIT, 1 << self.usage.output_tokens.bit_length())

    @property
    def cache_write(self) -> Literal["5m", "1h"] | None:
        """How long the provider is asked to cache the prompt; 1h if any of it is, as that costs more."""
        if self.usage.cache_write_1h_tokens:
            return "1h"
        return "5m" if self.usage.cache_write_5m_tokens else None

    @property
    def requires(self) -> tuple[str, ...]:
        """What a cheaper model must be able to do."""
        return ("tools", "long_context") if self.usage.input_tokens > LONG_CONTEXT_TOKENS else ("tools",)

    @property
    def uncached_tokens(self) -> int:
        """Input and output without what came from the provider's cache."""
        return self.usage.input_tokens - self.usage.cache_read_tokens + self.usage.output_tokens


@dataclass(frozen=True, slots=True)
class Session:
    """The calls of one recorded session, in order, and the user for whom they were made."""

    name: str
    user: str
    cost_center: str
    calls: tuple[RealCall, ...]


def read_sessions(sample: Path, most_calls: int | None = None) -> list[Session]:
    """Read the sample's sessions until they have `most_calls` calls; the last may be cut short."""
    sessions = []
    left = most_calls
    for name, group in groupby(_rows(sample), key=itemgetter("session")):
        calls = tuple(_calls(name, list(group)))[:left]
        if not calls:
            break
        user = user_of(name)
        sessions.append(Session(name, user, cost_center_of(user), calls))
        left = None if left is None else left - len(calls)
    return sessions


def user_of(session: str) -> str:
    """Assign a session to a user."""
    return USERS[_hashed(session, len(USERS))]


def cost_center_of(user: str) -> str:
    """Assign a user to a cost center."""
    return COST_CENTERS[USERS.index(user) % len(COST_CENTERS)]


def agent_type_of(session: str, position: int, calls: int, tool: str, *, is_subagent: bool) -> str:
    """Assign the call at `position` of a session of `calls` calls to an agent type."""
    if position == 0:
        return "triage_agent"
    if is_subagent:
        return "data_agent"
    if position == calls - 1:
        return "reporting_agent"
    drawn = _hashed(f"{session}:{position}", 100)
    for agent_type, share in MIDDLE_SHARES[tool].items():
        if drawn < share:
            return agent_type
        drawn -= share
    raise AssertionError("the shares of a tool add up to 100")


def usage_of(row: dict[str, str]) -> Usage:
    """Return a row's counts as `Usage`, whose `input_tokens` is the whole prompt.

    Codex logs the whole prompt; claude-code and pi log it without what was read from or written to the cache. A cache
    write of unknown lifetime is a five minute write, the providers' default.
    """
    read, written = _count(row["cache_read_tokens"]), _count(row["cache_write_tokens"])
    written_1h = _count(row["cache_write_1h_tokens"])
    beside = 0 if row["tool"] == "codex" else read + written
    return Usage(
        input_tokens=_count(row["input_tokens"]) + beside,
        output_tokens=_count(row["output_tokens"]),
        cache_read_tokens=read,
        cache_write_5m_tokens=written - written_1h,
        cache_write_1h_tokens=written_1h,
        reasoning_tokens=_count(row["reasoning_tokens"]),
    )


def _rows(sample: Path) -> Iterator[dict[str, str]]:
    with gzip.open(sample, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _calls(session: str, rows: list[dict[str, str]]) -> Iterable[RealCall]:
    read_before = 0
    for position, row in enumerate(rows):
        usage = usage_of(row)
        yield RealCall(
            session=session,
            position=position,
            tool=row["tool"],
            agent_type=agent_type_of(session, position, len(rows), row["tool"], is_subagent=row["is_subagent"] == "1"),
            provider=row["provider"],
            model=row["model"],
            usage=usage,
            expected_cached_tokens=min(read_before, usage.input_tokens),
        )
        read_before = usage.cache_read_tokens


def _count(text: str) -> int:
    return int(text) if text else 0


def _hashed(text: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()) % below
