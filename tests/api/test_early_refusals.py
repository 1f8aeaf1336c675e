"""Lists are refused early where there is no room: over a socket, between requests that are answered as always."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.api.test_connections import LATER, Client, Listener, listening, opened
from tests.api.waiting import until
from token_ledger.api import early_refusals
from token_ledger.api.early_refusals import MOST_BYTES, EarlyRefusals
from token_ledger.api.security_headers import HEADERS
from token_ledger.core.model.principal import Principal, Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.waiting_room import WAITING_OF_TENANT, Room
from token_ledger.observability.metrics import Metrics

ACME = TenantId(1)
KEY = Principal(ACME, Role.AGENT, "its-id")
RESERVE = {"op": "reserve", "user": "ada"}
SETTLE = {"op": "settle", "reservation_id": "7"}


class Keys:
    """Knows one key."""

    def remembered(self, credential: str) -> Principal | None:
        return KEY if credential == "known" else None


@pytest.fixture
def room() -> Room:
    """A room that is full."""
    made = Room()
    made.enter(ACME, KEY.key_id, WAITING_OF_TENANT // 2)
    return made


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def listener(room: Room, registry: CollectorRegistry) -> AsyncIterator[Listener]:
    keys: Any = Keys()
    async with listening(EarlyRefusals(keys, room, Metrics(registry, version="0"))) as made:
        yield made


def post(*operations: object, key: str = "known", path: str = "/v1/operations", more: str = "") -> bytes:
    body = json.dumps({"operations": operations})
    return (
        f"POST {path} HTTP/1.1\r\nHost: ledger\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"{more}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[Client]:
    async with opened(listener) as [client]:
        yield client


async def test_a_list_without_room_is_refused_and_the_connection_goes_on(
    listener: Listener, room: Room, registry: CollectorRegistry
) -> None:
    async with connected(listener) as client:
        for _ in range(2):
            await client.send(post(RESERVE, RESERVE))
            status, answer = await client.answer()
            assert (status, listener.bodies) == (503, [])
            assert '"code": "unavailable"' in answer
            assert "retry-after: 1\r\n" in answer
            assert "connection: close" not in answer
            assert all(f"{name}: {value}\r\n".lower() in answer for name, value in HEADERS.items())
        room.leave(ACME, KEY.key_id, WAITING_OF_TENANT // 2)
        await client.send(post(RESERVE))
        assert (await client.answer())[0] == 200
        assert listener.bodies == [json.dumps({"operations": [RESERVE]}).encode()]
    refused = {"route": "unknown", "method": "POST", "status": "503"}
    assert registry.get_sample_value("token_ledger_http_request_seconds_count", refused) == 2


@pytest.mark.parametrize(
    "sent",
    [
        post(RESERVE, SETTLE, RESERVE),
        post(RESERVE, key="unknown"),
        post(RESERVE, path="/v1/operations?dry=1"),
        post(RESERVE, path="/v1/reservations"),
        post(RESERVE, more="Connection: close\r\n"),
        post(*[RESERVE] * (MOST_BYTES // 32)),
    ],
    ids=["a settle", "a key to look up", "a parameter", "another path", "a last request", "a large one"],
)
async def test_what_may_be_something_else_is_left_to_the_door(sent: bytes, listener: Listener) -> None:
    async with connected(listener) as client:
        await client.send(sent)
        assert (await client.answer())[0] == 200
        assert listener.bodies == [sent.partition(b"\r\n\r\n")[2]]


@pytest.mark.parametrize("operations", [(RESERVE,), (RESERVE, SETTLE)], ids=["refused", "let in"])
async def test_a_list_may_come_in_pieces(operations: tuple[object, ...], listener: Listener) -> None:
    sent = post(*operations)
    async with connected(listener) as client:
        for start in range(0, len(sent), 40):
            await client.send(sent[start : start + 40])
            await asyncio.sleep(0)
        assert (await client.answer())[0] == (503 if len(operations) == 1 else 200)
        assert [body for body in listener.bodies if body] == [sent.partition(b"\r\n\r\n")[2]][: len(operations) - 1]


async def test_answers_have_the_order_of_their_requests(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("token_ledger.api.connections.NO_ROOM_SECONDS", 600)
    async with connected(listener) as client:
        await client.send(post(RESERVE) + post(SETTLE) + post(RESERVE) + post(SETTLE))
        statuses = [(await client.answer())[0] for _ in range(4)]
        # The third came while the second was answered, so it had to wait for its turn as any request does.
        assert statuses == [503, 200, 200, 200]


async def test_a_list_that_does_not_arrive_is_408_and_its_bytes_are_free_again(listener: Listener) -> None:
    lists = listener.connections.lists
    assert lists is not None
    async with connected(listener) as client:
        await client.send(post(RESERVE)[:-10])

        async def has_begun() -> bool:
            return lists._bytes > 0

        await until(has_begun)
        listener.connections.close_overdue(asyncio.get_running_loop().time() + LATER)
        assert (await client.answer())[0] == 408
        assert await client.is_closed()

    async def is_free() -> bool:
        return lists._bytes == 0

    await until(is_free)


async def test_lists_that_are_waited_for_have_a_bound_together(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_refusals, "MOST_BYTES_TOGETHER", 10)
    async with connected(listener) as client:
        await client.send(post(RESERVE))
        assert (await client.answer())[0] == 200  # of the door, which has bounds of its own


async def test_a_refusal_is_told_before_the_service_stops(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("token_ledger.api.connections.NO_ROOM_SECONDS", 600)
    async with connected(listener) as client:
        await client.send(post(RESERVE))

        async def is_refused() -> bool:
            return any(each._refusal is not None for each in listener.connections._open)

        await until(is_refused)
        for each in list(listener.connections._open):
            each.shutdown()
        assert (await client.answer())[0] == 503
        assert await client.is_closed()
