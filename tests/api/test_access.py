"""A key that is missing, mistyped, forged, revoked or expired is 401 on every route and changes nothing."""

import json
from collections.abc import Callable
from zlib import crc32

import pytest

from tests.api.routes import ALLOWED
from tests.api.verbs import VERBS, named_ids
from tests.api.waiting import until
from tests.api.world import PEPPER, World, check_problem, fresh
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity import authentication
from token_ledger.storage.api_keys import hash_key, new_key

BODIES = {(verb.method, verb.path): verb for verb in VERBS}


@pytest.fixture(scope="module")
async def ids(world: World) -> dict[str, str]:
    return await named_ids(world)


def _with_checksum(body: str) -> str:
    return body + f"{crc32(body.encode()):08x}"


def _other_secret(key: str) -> str:
    prefix, environment, key_id, secret = key.split("_")
    return _with_checksum(f"{prefix}_{environment}_{key_id}_{'a' * (len(secret) - 8)}")


def _other_tenant(key: str) -> str:
    prefix, environment, key_id, secret = key.split("_")
    tenant, rest = key_id.split("k", 1)
    return _with_checksum(f"{prefix}_{environment}_{int(tenant) + 1}k{rest}_{secret[:-8]}")


def _swapped(key: str) -> str:
    return key[:-10] + ("a" if key[-10] != "a" else "b") + key[-9:]


BAD_HEADERS: dict[str, Callable[[str], str | None]] = {
    "none": lambda key: None,
    "empty": lambda key: "",
    "no scheme": lambda key: key,
    "another scheme": lambda key: f"Basic {key}",
    "a scheme alone": lambda key: "Bearer",
    "an empty key": lambda key: "Bearer ",
    "words": lambda key: "Bearer let me in",
    "one letter mistyped": lambda key: f"Bearer {_swapped(key)}",
    "cut off": lambda key: f"Bearer {key[:-1]}",
    "one letter more": lambda key: f"Bearer {key}x",
    "another case": lambda key: f"Bearer {key.swapcase()}",
    "a good checksum of another secret": lambda key: f"Bearer {_other_secret(key)}",
    "a good checksum of another tenant": lambda key: f"Bearer {_other_tenant(key)}",
    "a key that was never made": lambda key: f"Bearer {new_key(TenantId(1), 'test')[0]}",
    "a tenant that is none": lambda key: f"Bearer {new_key(TenantId(10**17), 'test')[0]}",
    "two keys": lambda key: f"Bearer {key} {key}",
    "very long": lambda key: f"Bearer {'tl_test_1k' * 2_000}",
}


async def _refused_everywhere(world: World, ids: dict[str, str], authorization: str | None) -> None:
    before = await world.state()
    for method, path in ALLOWED:
        verb = BODIES.get((method, path))
        content = json.dumps(verb.fresh_body()).encode() if verb is not None and verb.model else None
        headers = {"Content-Type": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        answer = await world.client.request(method, path.format(**ids), headers=headers, content=content)
        check_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert await world.state() == before


@pytest.mark.parametrize("label", BAD_HEADERS)
async def test_a_bad_key_is_401_on_every_route_and_changes_nothing(
    label: str, world: World, ids: dict[str, str]
) -> None:
    key = world.headers()["Authorization"].removeprefix("Bearer ")
    await _refused_everywhere(world, ids, BAD_HEADERS[label](key))


async def test_a_revoked_key_is_401_on_every_route(world: World, ids: dict[str, str]) -> None:
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert (await world.client.get("/v1/budgets", headers=headers)).status_code == 200
    assert (await world.delete(f"/v1/api-keys/{made['key_id']}")).status_code == 200
    await _refused_everywhere(world, ids, headers["Authorization"])


async def test_a_key_revoked_by_another_process_is_refused_once_its_trust_has_run_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "KEY_TRUST_SECONDS", 0.2)
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert (await world.client.get("/v1/budgets", headers=headers)).status_code == 200
    # Another process revokes the key, so this one has to look it up again by itself.
    await world.rows("update api_keys set revoked_at = now() where key_id = $1", made["key_id"])

    async def refused() -> bool:
        return (await world.client.get("/v1/budgets", headers=headers)).status_code == 401

    await until(refused)


async def test_an_expired_key_is_401_on_every_route(world: World, ids: dict[str, str]) -> None:
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    await world.rows("update api_keys set expires_at = now() where key_id = $1", made["key_id"])
    await _refused_everywhere(world, ids, f"Bearer {made['key']}")


async def test_a_key_that_has_not_expired_is_accepted(world: World) -> None:
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    await world.rows("update api_keys set expires_at = now() + interval '1 hour' where key_id = $1", made["key_id"])
    headers = {"Authorization": f"bearer {made['key']}"}
    assert (await world.client.get("/v1/budgets", headers=headers)).status_code == 200


async def test_a_key_hashed_with_another_pepper_is_401(world: World, ids: dict[str, str]) -> None:
    made = await world.made("/v1/api-keys", {"role": "admin", "name": fresh()})
    stored = hash_key(made["key"], PEPPER.encode() + b"!")
    await world.rows("update api_keys set secret_hash = $2 where key_id = $1", made["key_id"], stored)
    await _refused_everywhere(world, ids, f"Bearer {made['key']}")


async def test_a_secret_is_shown_once_and_stored_nowhere(world: World) -> None:
    made = await world.made("/v1/api-keys", {"role": "agent", "name": fresh()})
    secret = made["key"].split("_")[3]
    listed = await world.get("/v1/api-keys")
    assert made["key_id"] in listed.text
    for part in (made["key"], secret, secret[:-8], "secret_hash"):
        assert part not in listed.text
    for (table,) in await world.rows("select tablename from pg_tables where schemaname = 'public'"):
        for text in (made["key"], secret[:-8]):
            found = await world.rows(f"select count(*) from {table} as t where position($1 in t::text) > 0", text)
            assert found[0][0] == 0, table
    stored = await world.rows("select secret_hash from api_keys where key_id = $1", made["key_id"])
    assert stored[0][0] == hash_key(made["key"], PEPPER.encode())


async def test_revoking_a_key_again_keeps_the_first_time(world: World) -> None:
    made = await world.made("/v1/api-keys", {"role": "agent", "name": fresh()})
    first = await world.delete(f"/v1/api-keys/{made['key_id']}")
    assert (await world.delete(f"/v1/api-keys/{made['key_id']}")).json() == first.json()
