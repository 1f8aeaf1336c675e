"""Rate limits: counted per key, told with headers, and never for what reports spend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh, open_world
from token_ledger.api import rate_limits
from token_ledger.api.rate_limits import WINDOW_SECONDS, RateLimits
from token_ledger.core.model.principal import Principal, Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.wire.problems import ProblemError

USAGE = {"usage": {"input_tokens": 1, "output_tokens": 1}}
ADA = Principal(TenantId(1), Role.AGENT, "ada's key")
BOB = Principal(TenantId(1), Role.AGENT, "bob's key")


@pytest.fixture
async def limited(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A service that takes one request per second of a key, so ten at once."""
    async with open_world(database_url, tmp_path, requests_per_second=1) as opened:
        # The clock stands still, so nothing that was used comes back.
        opened.app.state.rate_limits._clock = lambda: 0.0
        yield opened


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _taken(limits: RateLimits, principal: Principal, at_most: int = 1_000) -> int:
    """Return how many requests are taken before one is refused."""
    for number in range(at_most):
        try:
            limits.take(principal)
        except ProblemError:
            return number
    return at_most


def test_a_key_may_use_a_window_at_once_and_then_its_rate() -> None:
    clock = Clock()
    limits = RateLimits(2, clock)
    assert _taken(limits, ADA) == 2 * WINDOW_SECONDS
    assert _taken(limits, BOB) == 2 * WINDOW_SECONDS
    clock.now += 3
    assert _taken(limits, ADA) == 6
    clock.now += 1_000
    assert _taken(limits, ADA) == 2 * WINDOW_SECONDS


def test_without_a_rate_there_is_no_limit() -> None:
    assert _taken(RateLimits(None), ADA) == 1_000


def test_as_many_keys_as_there_are_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MOST_REMEMBERED", 10)
    limits = RateLimits(1, Clock())
    for number in range(100):
        limits.take(Principal(TenantId(number), Role.AGENT, "key"))
    assert len(limits._paid_until) == 10


async def test_a_request_too_many_is_429_with_headers_and_other_keys_go_on(limited: World) -> None:
    statuses = [(await limited.get("/v1/budgets")).status_code for _ in range(WINDOW_SECONDS)]
    assert statuses == [200] * WINDOW_SECONDS
    answer = await limited.post("/v1/reservations", reservation())
    check_problem(answer, 429, "rate_limited")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit"] == '"key";r=0;t=1'
    assert answer.headers["ratelimit-policy"] == '"key";q=10;w=10'
    assert (await limited.get("/v1/budgets", tenant="globex")).status_code == 200


async def test_what_reports_spend_is_taken_from_a_key_that_has_used_its_rate(limited: World) -> None:
    held, released, listed = [await limited.made("/v1/reservations", reservation()) for _ in range(3)]
    while (await limited.get("/v1/budgets")).status_code == 200:
        pass
    await limited.made(f"/v1/reservations/{held['reservation_id']}/settle", {**USAGE, "idempotency_key": fresh()})
    await limited.made(f"/v1/reservations/{released['reservation_id']}/release")
    await limited.made("/v1/events", {"events": [event()]})
    operations = [
        {"op": "reserve", **reservation()},
        {"op": "settle", "reservation_id": listed["reservation_id"], "idempotency_key": fresh(), **USAGE},
        {"op": "event", **event()},
        {"op": "refund"},
        "words",
    ]
    results = (await limited.made("/v1/operations", {"operations": operations}))["results"]
    assert [result["status"] for result in results] == [429, 200, 200, 429, 429]
    assert results[0]["body"]["code"] == "rate_limited"
