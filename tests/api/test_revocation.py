"""A key that another process revokes: it stops working at once, or without a second's delay where that is not heard."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest

from tests.api.waiting import until
from tests.api.world import World, fresh
from token_ledger import runtime
from token_ledger.identity import authentication
from token_ledger.runtime import Service
from token_ledger.storage.api_keys import find_principal

DEAF_TRUST_SECONDS = authentication.DEAF_TRUST_SECONDS
LISTENERS = (
    "select pid from pg_stat_activity where application_name = 'token-ledger listener' and datname = current_database()"
)


@pytest.fixture
async def other(own_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """Another process of the same database, which trusts for an hour what it has heard of no change."""
    monkeypatch.setattr(authentication, "KEY_TRUST_SECONDS", 3_600.0)
    monkeypatch.setattr(authentication, "DEAF_TRUST_SECONDS", 3_600.0)
    monkeypatch.setattr(runtime, "START_RETRY_SECONDS", 0.01)
    service = Service(own_world.service.settings, own_world.url)
    async with service.running():
        await service.reached.wait()
        yield service


async def _key(world: World) -> tuple[str, str]:
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    return made["key"], made["key_id"]


async def _listens(world: World) -> None:
    async def two() -> bool:
        # A listener that has been answered has said before what it listens to.
        rows = await world.rows(f"{LISTENERS} and query = 'select 1'")
        return len(rows) == 2

    await until(two)


async def _token(world: World, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await world.client.post("/v1/tokens", json={"user": "ada"}, headers=headers)
    token: str = answer.json()["token"]
    return token


async def test_another_process_hears_at_once_of_a_revoked_key(own_world: World, other: Service) -> None:
    await _listens(own_world)
    key, key_id = await _key(own_world)
    credentials = (key, await _token(own_world, key))
    for each in credentials:
        assert await other.authenticator.authenticate(each) is not None
    await own_world.delete(f"/v1/api-keys/{key_id}")
    for each in credentials:

        async def is_refused(each: str = each) -> bool:
            return await other.authenticator.authenticate(each) is None

        await until(is_refused)


async def test_what_a_listener_missed_is_looked_up_when_it_listens_again(own_world: World, other: Service) -> None:
    await _listens(own_world)
    key, key_id = await _key(own_world)
    assert await other.authenticator.authenticate(key) is not None
    before = {row["pid"] for row in await own_world.rows(LISTENERS)}
    async with own_world.owner.transaction():
        # Neither hears of this revocation: no notification, as if the connection had been lost meanwhile.
        await own_world.owner.execute("update api_keys set revoked_at = now() where key_id = $1", key_id)
    assert await other.authenticator.authenticate(key) is not None
    await own_world.owner.execute(f"select pg_terminate_backend(pid) from ({LISTENERS}) as l")

    async def is_refused() -> bool:
        return await other.authenticator.authenticate(key) is None

    await until(is_refused)
    assert before.isdisjoint({row["pid"] for row in await own_world.rows(LISTENERS)})


async def test_without_a_listener_nothing_is_trusted_for_long(
    own_world: World, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no connection")

    assert 0 < DEAF_TRUST_SECONDS < 1
    key, key_id = await _key(own_world)
    monkeypatch.setattr(runtime, "listen_for_less_access", deaf)
    await own_world.owner.execute(f"select pg_terminate_backend(pid) from ({LISTENERS}) as l")
    monkeypatch.setattr(authentication, "DEAF_TRUST_SECONDS", 0.0)
    assert await other.authenticator.authenticate(key) is not None
    await own_world.delete(f"/v1/api-keys/{key_id}")
    assert await other.authenticator.authenticate(key) is None


async def test_what_was_found_while_a_key_was_revoked_is_not_remembered(
    own_world: World, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = await _key(own_world)
    found, go_on = asyncio.Event(), asyncio.Event()
    look_up = find_principal

    async def slow(*arguments: Any) -> Any:
        principal = await look_up(*arguments)
        found.set()
        await go_on.wait()
        return principal

    monkeypatch.setattr(authentication, "find_principal", slow)
    asking = asyncio.create_task(other.authenticator.authenticate(key))
    await found.wait()
    other.authenticator.forget()
    go_on.set()
    assert await asking is not None
    found.clear()
    await other.authenticator.authenticate(key)
    assert found.is_set()
