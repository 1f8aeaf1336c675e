"""The door: who asks is known before a body is read, and what a body may be before it is parsed."""

import asyncio
import gc
import json
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import Message

from tests.api.verbs import reservation
from tests.api.waiting import until
from tests.api.world import World, fresh
from token_ledger.api import body_limits
from token_ledger.api.body_limits import MOST_LEVELS, MOST_VALUES, SHARES, SMALL_BYTES, BodyRoom, check_shape
from token_ledger.api.service import PARTS_OF_A_TURN
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity import authentication
from token_ledger.storage import api_keys
from token_ledger.storage.api_keys import new_key
from token_ledger.wire.problems import ProblemError

LARGEST = 1_048_576
ACME, GLOBEX = TenantId(1), TenantId(2)


class Sent:
    """A request over ASGI: what was read of its body, and what was answered."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self.pieces = list(pieces)
        self.read = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def to(self, world: World, **headers: str) -> "Sent":
        given = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        scope = {
            "type": "http", "method": "POST", "path": "/v1/reservations", "raw_path": b"/v1/reservations",
            "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "", "client": None,
            "server": None, "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }  # fmt: skip
        await world.app(scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        if self.read == len(self.pieces):
            return {"type": "http.disconnect"}
        self.read += 1
        return {"type": "http.request", "body": self.pieces[self.read - 1], "more_body": self.read < len(self.pieces)}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer words", f"Bearer {new_key(ACME, 'live')[0]}", "Bearer " + "x" * 20_000],
    ids=["nothing", "words", "a made-up key", "a long one"],
)
async def test_the_body_of_a_stranger_is_not_read(authorization: str, world: World) -> None:
    sent = await Sent([b"{}"]).to(world, authorization=authorization, content_length="2")
    assert (sent.status, sent.read) == (401, 0)
    assert "connection" not in sent.headers  # the two bytes pass by unread, and the next request may come


@pytest.mark.parametrize(
    "headers",
    [
        {"transfer_encoding": "chunked"},
        {"content_length": str(LARGEST + 1)},
        {"content_length": "2", "expect": "100-continue"},
    ],
)
async def test_a_connection_whose_unread_body_has_no_near_end_is_closed(headers: dict[str, str], world: World) -> None:
    sent = await Sent([b"{}"]).to(world, authorization="Bearer words", **headers)
    assert (sent.status, sent.read, sent.headers["connection"]) == (401, 0, "close")


async def test_a_body_that_says_it_is_too_large_is_not_read(world: World) -> None:
    sent = await Sent([b"{}"]).to(world, authorization=_authorization(world), content_length=str(LARGEST + 1))
    assert (sent.status, sent.read) == (413, 0)


async def test_a_body_in_chunks_is_read_up_to_the_limit(world: World) -> None:
    pieces = [b" " * 65_536] * 100
    sent = await Sent(pieces).to(world, authorization=_authorization(world), transfer_encoding="chunked")
    assert (sent.status, sent.read) == (413, LARGEST // 65_536 + 1)


async def test_a_body_in_pieces_is_joined(world: World) -> None:
    content = json.dumps(reservation()).encode() + b" " * SMALL_BYTES
    pieces = [content[start : start + 7_000] for start in range(0, len(content), 7_000)]
    sent = await Sent(pieces).to(world, authorization=_authorization(world), transfer_encoding="chunked")
    assert (sent.status, sent.read) == (201, len(pieces)), sent.body


async def test_a_client_that_goes_away_is_not_answered(world: World) -> None:
    sent = Sent([])
    await sent.to(world, authorization=_authorization(world), content_length="2")
    assert sent.status == 0


async def test_a_body_of_too_many_values_is_413_and_gone_at_once(world: World) -> None:
    gone: list[bool] = []

    class Body(bytes):
        def __del__(self) -> None:
            gone.append(True)

    body = Body(b'{"events":[' + b"[]," * MOST_VALUES + b"[]]}")
    sent = Sent([body])
    del body
    gc.disable()  # the service collects cycles rarely, so a cycle that holds a body would hold thousands
    try:
        await sent.to(world, authorization=_authorization(world), content_length=str(3 * MOST_VALUES + 15))
        sent.pieces.clear()
        assert (sent.status, gone) == (413, [True])
    finally:
        gc.enable()


def _authorization(world: World) -> str:
    return world.headers()["Authorization"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" + b"0," * (MOST_VALUES - 2) + b"0]", None),
        (b"[" + b"0," * MOST_VALUES + b"0]", "body_too_large"),
        (b'"' * (4 * MOST_VALUES), "body_too_large"),
        (b'["' + b",[{" * MOST_VALUES + b'"]', None),
        (b'["' + b'\\"' * (4 * MOST_VALUES) + b'"]', None),
        (b'["' + b",," * MOST_VALUES + b'"' + b",0" * MOST_VALUES + b"]", "body_too_large"),
        (b"[" * MOST_LEVELS + b"]" * MOST_LEVELS, None),
        (b"[" * (MOST_LEVELS + 1) + b"]" * (MOST_LEVELS + 1), "malformed_json"),
        (b'{"a":' * (MOST_LEVELS + 1) + b"0" + b"}" * (MOST_LEVELS + 1), "malformed_json"),
        (b"[" * 1_000_000, "malformed_json"),
        (b"[" + b"[[]]," * 3_000 + b"{}]", None),
        (b"[" + b"[[[[[[[[[[]]]]]]]]]]," * 3_000 + b"{}]", None),
        (b"[" + b"[]" * 400_000 + b"]", None),  # no JSON, which the parser says
        (b"][" * 400_000, None),
        (b'{"a": "' + b"[" * 2_000 + b'"}', None),
        (b'{"a": "\\"' + b"[" * 2_000 + b'\\\\"}', None),
        (b'{"a": "\\\\"' + b', "b": ' + b"[" * 2_000 + b"}", "malformed_json"),
    ],
)
def test_values_and_levels_are_counted_outside_strings(body: bytes, code: str | None) -> None:
    if code is None:
        check_shape(body)
        return
    with pytest.raises(ProblemError) as raised:
        check_shape(body)
    assert raised.value.code == code


async def test_a_tenant_that_has_taken_its_share_waits_and_the_others_do_not() -> None:
    room = BodyRoom(LARGEST)
    share = body_limits.LEAST_ROOM_BYTES // SHARES
    await room.take(ACME, share)
    taken: list[TenantId] = []

    async def take(tenant: TenantId, size: int) -> None:
        await room.take(tenant, size)
        taken.append(tenant)

    waiting = asyncio.create_task(take(ACME, 1))
    await asyncio.create_task(take(GLOBEX, share))  # a task that begins after the other
    room.give_back(GLOBEX, share)
    await asyncio.create_task(take(GLOBEX, share))
    assert taken == [GLOBEX, GLOBEX]
    room.give_back(ACME, 1)
    await waiting


async def test_a_body_that_finds_no_room_in_time_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limits, "WAIT_SECONDS", 0)
    room = BodyRoom(LARGEST)
    for tenant in range(SHARES):
        await room.take(TenantId(tenant), body_limits.LEAST_ROOM_BYTES // SHARES)
    with pytest.raises(ProblemError) as raised:
        await room.take(TenantId(SHARES), 1)
    assert (raised.value.status, raised.value.headers["Retry-After"]) == (503, "1")


def test_the_largest_body_always_finds_room() -> None:
    asyncio.run(BodyRoom(100_000_000).take(ACME, 100_000_000))


async def test_room_is_given_back(world: World) -> None:
    body = json.dumps({"operations": ["x" * 4_000] * 255}).encode()
    headers = {**world.headers(), "Content-Type": "application/json"}
    for _ in range(2 * body_limits.LEAST_ROOM_BYTES // SHARES // len(body)):
        answer = await world.client.post("/v1/operations", headers=headers, content=body)
        assert answer.status_code == 200


async def test_many_look_ups_of_one_key_are_one_query(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    look_ups = _counted(monkeypatch)
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    look_ups.clear()
    authenticate = world.service.authenticator.authenticate
    found = await asyncio.gather(*(authenticate(made["key"]) for _ in range(100)))
    assert {principal.key_id if principal else None for principal in found} == {made["key_id"]}
    assert look_ups == [made["key"]]


async def test_only_hashes_of_made_up_keys_are_kept_and_no_more_than_so_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MOST_REMEMBERED", 10)
    look_ups = _counted(monkeypatch)
    keys = [new_key(ACME, "live")[0] for _ in range(50)]
    authenticator = world.service.authenticator
    assert await asyncio.gather(*map(authenticator.authenticate, keys)) == [None] * 50
    assert {len(digest) for digest in authenticator._refused} == {32}
    assert len(authenticator._refused) == 10
    assert await authenticator.authenticate(look_ups[-1]) is None
    assert len(look_ups) == 50


async def test_strangers_do_not_delay_a_key_that_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = world.headers()["Authorization"].removeprefix("Bearer ")
    authenticator = world.service.authenticator
    assert await authenticator.authenticate(known) is not None
    authenticator.forget()
    look_ups = _counted(monkeypatch, held=known)
    strangers = [asyncio.create_task(authenticator.authenticate(new_key(ACME, "live")[0])) for _ in range(100)]
    try:

        async def lane_is_full() -> bool:
            return len(look_ups) == authentication.STRANGERS_AT_ONCE

        await until(lane_is_full)
        async with asyncio.timeout(60):
            assert await authenticator.authenticate(known) is not None
        assert len(look_ups) == authentication.STRANGERS_AT_ONCE + 1
    finally:
        for stranger in strangers:
            stranger.cancel()
        for look_up in list(authenticator._looking_up.values()):
            look_up.cancel()


def _counted(monkeypatch: pytest.MonkeyPatch, *, held: str | None = None) -> list[str]:
    """Count the keys that are looked up; with `held`, only the look-up of that one ends."""
    found: list[str] = []
    real = api_keys.find_principal

    async def counting(connection: Any, key: str, pepper: bytes) -> Any:
        found.append(key)
        if held not in (None, key):
            await asyncio.Event().wait()
        return await real(connection, key, pepper)

    monkeypatch.setattr(authentication, "find_principal", counting)
    return found


async def test_a_request_begins_at_the_turn_of_its_tenant_and_a_strangers_takes_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[TenantId] = []

    async def take(tenant: TenantId, pieces: int = 1) -> None:
        taken.append(tenant)

    monkeypatch.setattr(world.service.turns, "take", take)
    operations = [{"op": "reserve", **reservation()} for _ in range(PARTS_OF_A_TURN)]
    await world.made("/v1/operations", {"operations": operations})
    assert taken == [world.tenants["acme"]] * 2
    refused = await world.client.get("/v1/accounts", headers={"Authorization": "Bearer made up"})
    assert refused.status_code == 401
    assert len(taken) == 2
