"""The SDK's clients against a running service, over a network that tests may cut."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from token_ledger_sdk import AsyncTokenLedger
from token_ledger_sdk.calibration import learned

from sdk.tests.wrapped.provider import Provider, running_provider
from tests.api.world import World, open_world
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database


class Network(httpx2.AsyncBaseTransport):
    """What lies between client and service: it counts what passes, and loses what a test wants lost."""

    def __init__(self, world: World) -> None:
        self._inner = httpx2.ASGITransport(world.app, raise_app_exceptions=False)
        self.sent: list[str] = []
        self.is_cut = False
        self.answers_to_lose = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request.url.path)
        if self.is_cut:
            raise httpx2.ConnectError("the network is cut")
        response = await self._inner.handle_async_request(request)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise httpx2.ReadError("the answer was lost")
        return response


@dataclass
class Clock:
    """A monotonic clock that a test sets."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """A client of tenant acme with its network, and the world around it."""

    world: World
    network: Network
    ledger: AsyncTokenLedger
    call: dict[str, Any] = field(
        default_factory=lambda: {
            "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600,
            "max_output_tokens": 400,
        }
    )  # fmt: skip

    async def budget(self, **limits: Any) -> None:
        """Limit what the tenant may use in total."""
        body = {"idempotency_key": "b", "name": "cap", "selector": {}, "limits": limits, "window": "total"}
        await self.world.made("/v1/budgets", body)

    async def booked(self) -> list[Any]:
        """Return the events, oldest first."""
        return await self.world.rows("select * from usage_events order by event_id")

    async def holds(self) -> dict[str, int]:
        """Return how many reservations there are, by state."""
        rows = await self.world.rows("select state, count(*) as number from reservations group by 1")
        return {row["state"]: row["number"] for row in rows}

    async def is_sound(self) -> None:
        """Check the books."""
        report = await verify_database(self.world.url)
        assert report.clean, report.as_text()


def client_of(world: World, network: Network | None = None, **options: Any) -> Client:
    """Return a client with a network of its own."""
    network = Network(world) if network is None else network
    key = world.keys["acme", Role.AGENT]
    given = {"flush_seconds": 0.0, **options}
    return Client(world, network, AsyncTokenLedger("http://ledger.test", key, transport=network, **given))


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients keep of models on disk is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def nothing_learned() -> None:
    """What one test's answers were charged must not change how the next one's requests are counted."""
    learned.forget()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider of models on this machine, which answers as a test says."""
    with running_provider() as made:
        yield made


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service of the test's own; it never repeats a request by itself."""
    async with open_world(database_url, tmp_path) as world:
        made = client_of(world, max_retries=0)
        yield made
        await made.is_sound()
        await made.ledger.aclose()
