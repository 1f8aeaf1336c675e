"""Random events that tests of reports send, and what they cost, in plain Python."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from tests.api.verbs import event
from tests.api.world import World

NOW = datetime.now(UTC).replace(microsecond=0)
WHOLE_SPAN: dict[str, Any] = {
    "from": (NOW - timedelta(days=3)).isoformat(),
    "to": (NOW + timedelta(hours=2)).isoformat(),
}
RATES = {"gpt-5.4": (2_500, 250, 15_000), "gpt-5.4-mini": (750, 75, 4_500)}
"""What a token costs in nano-dollars: of input that is not from the cache, of input that is, of output."""


@dataclass
class Sent:
    """An event that was sent; `cost_nanos` is what it costs, `is_gone` whether it was taken back."""

    body: dict[str, Any]
    at: datetime
    cost_nanos: int
    is_gone: bool = False

    @property
    def kind(self) -> str:
        """What kind of event it is."""
        return str(self.body.get("type", "llm_call"))

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.body.get("outcome") == "error"

    def measured(self, name: str) -> int | None:
        """Return what was measured of it."""
        found: int | None = (self.body.get("measured") or {}).get(name)
        return found


def cost_nanos(body: dict[str, Any]) -> int:
    """Return what the tokens of an event cost; a cache hit costs nothing."""
    if body.get("type") == "cache_hit" or "usage" not in body:
        return 0
    plain, cached, output = RATES[body["model"]]
    usage = body["usage"]
    read = usage.get("cache_read_tokens", 0)
    return int((usage["input_tokens"] - read) * plain + read * cached + usage["output_tokens"] * output)


def measurement(chance: random.Random) -> dict[str, int] | None:
    """Return what was measured of a call, if anything."""
    latency, first, retries = chance.randrange(50, 5_000), chance.randrange(10, 5_200), chance.randrange(4)
    return chance.choice(
        (None, {"latency_ms": latency}, {"first_token_ms": first}, {"latency_ms": latency, "first_token_ms": first},
         {"latency_ms": latency, "retries": retries})
    )  # fmt: skip


def usage(chance: random.Random) -> dict[str, int]:
    """Return what a call used."""
    tokens = chance.randrange(1, 3_000)
    return {
        "input_tokens": tokens, "output_tokens": chance.randrange(1_000),
        "cache_read_tokens": chance.choice((0, chance.randrange(tokens))),
    }  # fmt: skip


def sent(chance: random.Random, **fields: Any) -> Sent:
    """Return a random event within the last two days."""
    at = NOW - timedelta(seconds=chance.randrange(2 * 86_400))
    body = {**event(source="tests"), "occurred_at": at.isoformat(), **fields}
    body["user"] = chance.choice(("ada", "bob", "eve"))
    if (found := measurement(chance)) is not None:
        body["measured"] = found
    body = {name: value for name, value in body.items() if value is not None}
    return Sent(body, at, cost_nanos(body))


async def book(world: World, events: Sequence[Sent]) -> None:
    """Book events, and check that each costs what is said here."""
    for first in range(0, len(events), 100):
        part = events[first : first + 100]
        results = (await world.made("/v1/events", {"events": [each.body for each in part]}))["results"]
        for each, result in zip(part, results, strict=True):
            assert result["status"] == "booked", (each, result)
            assert result["cost"] == dollars(each.cost_nanos), (each, result)


async def take_back(world: World, events: Iterable[Sent]) -> None:
    """Take events back."""
    for each in events:
        body = {"source": "tests", "key": each.body["idempotency_key"], "reason": "a test"}
        await world.made("/v1/reversals", body)
        each.is_gone = True


def dollars(nanos: int) -> str:
    """Return nano-dollars as answers write them."""
    return f"{nanos // 10**9}.{nanos % 10**9:09d}"


def ratio(part: int, whole: int, digits: int = 4) -> float | None:
    """Return a part divided by the whole, to so many digits after the point; None of nothing."""
    return float(round(Fraction(part, whole), digits)) if whole else None


def times(milliseconds: Iterable[int | None]) -> dict[str, int | None]:
    """Return how many times there are, and which half and 95% of them do not exceed."""
    known = sorted(each for each in milliseconds if each is not None)
    if not known:
        return {"measured": 0, "p50_ms": None, "p95_ms": None}
    p50, p95 = (known[math.ceil(len(known) * percent / 100) - 1] for percent in (50, 95))
    return {"measured": len(known), "p50_ms": p50, "p95_ms": p95}
