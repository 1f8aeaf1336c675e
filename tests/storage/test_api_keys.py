"""API keys: their form, what is refused before any database is asked, and how they are stored and found."""

import hmac
import re
from collections.abc import AsyncIterator
from zlib import crc32

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from token_ledger.core.model.principal import KEY_ROLES, OPERATOR_TENANT, Principal, Role
from token_ledger.core.model.secrets import has_secret
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import api_keys
from token_ledger.storage.database import Database
from token_ledger.storage.tenants import add_tenant

PEPPER = b"pepper"
GOOD = "tl_live_42kabcdefghij_ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
FORM = re.compile(r"tl_(?P<environment>[a-z0-9]+)_(?P<tenant>\d+)k[A-Za-z0-9]{10}_[A-Za-z0-9]{32}[0-9a-f]{8}")


def _signed(body: str) -> str:
    return body + f"{crc32(body.encode()):08x}"


@pytest.mark.parametrize("tenant", [0, 1, 42, 10**17])
@pytest.mark.parametrize("environment", ["live", "test", "eu1"])
def test_a_new_key_has_the_form_and_can_be_parsed(tenant: int, environment: str) -> None:
    key, key_id = api_keys.new_key(TenantId(tenant), environment)
    found = FORM.fullmatch(key)
    assert found is not None
    assert (found["environment"], int(found["tenant"])) == (environment, tenant)
    assert api_keys.parse_key(key) == (tenant, key_id)
    assert key.split("_")[2] == key_id
    assert has_secret(key)
    assert not has_secret(key_id)


def test_no_two_keys_are_alike() -> None:
    keys = [api_keys.new_key(TenantId(1), "live") for _ in range(500)]
    assert len({key for key, _ in keys}) == len({key_id for _, key_id in keys}) == 500
    assert len({key.split("_")[3] for key, _ in keys}) == 500


def test_the_table_below_breaks_a_good_key() -> None:
    assert api_keys.parse_key(_signed(GOOD)) == (42, "42kabcdefghij")


REFUSED = {
    "empty": "",
    "words": "let me in",
    "no checksum": GOOD,
    "another checksum": GOOD + "00000000",
    "a checksum in capitals": GOOD + f"{crc32(GOOD.encode()):08X}",
    "cut off": _signed(GOOD)[:-1],
    "one more": _signed(GOOD) + "0",
    "one letter changed": _signed(GOOD).replace("Z", "Y"),
    "two letters swapped": _signed(GOOD).replace("AB", "BA"),
    "another tenant": _signed(GOOD).replace("42k", "43k"),
    "a blank in front": " " + _signed(GOOD),
    "a blank behind": _signed(GOOD) + " ",
    "a new line behind": _signed(GOOD) + "\n",
    "another prefix": _signed(GOOD.replace("tl_", "sk_")),
    "no prefix": _signed(GOOD.removeprefix("tl_")),
    "a part missing": _signed(GOOD.replace("_live", "")),
    "a part too many": _signed(GOOD.replace("live", "li_ve")),
    "no tenant": _signed(GOOD.replace("42k", "k")),
    "a tenant that is a word": _signed(GOOD.replace("42k", "acmek")),
    "a negative tenant": _signed(GOOD.replace("42k", "-42k")),
    "a fraction of a tenant": _signed(GOOD.replace("42k", "4.2k")),
    "a tenant beyond bigint": _signed(GOOD.replace("42k", "9" * 19 + "k")),
    "a tenant in other digits": _signed(GOOD.replace("42k", "\u0664\u0662k")),
    "a tenant with a sign above": _signed(GOOD.replace("42k", "4\u00b2k")),
    "no separator": _signed(GOOD.replace("42k", "42")),
    "not ASCII": _signed(GOOD.replace("ABC", "\u00c4BC")),
    "a NUL": _signed(GOOD.replace("ABC", "A\0C")) + "\0",
    "far too long": _signed(GOOD + "A" * 200),
    "half a pair": GOOD + "\ud800",
}


@pytest.mark.parametrize("label", REFUSED)
def test_what_is_no_key_is_refused(label: str) -> None:
    assert api_keys.parse_key(REFUSED[label]) is None


@settings(max_examples=200, deadline=None)
@given(st.text() | st.from_regex(r"tl_[a-z]{0,5}_[0-9]{0,20}k?[a-zA-Z0-9]{0,12}_[a-zA-Z0-9]{0,40}", fullmatch=True))
def test_no_text_upsets_the_parser(text: str) -> None:
    parsed = api_keys.parse_key(text)
    assert parsed is None or _signed(text[:-8]) == text
    signed = _signed(text) if text.isascii() else text
    parsed = api_keys.parse_key(signed)
    assert parsed is None or 0 <= parsed[0] < 2**63


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0), st.sampled_from("abcXYZ019_"))
def test_a_key_with_one_letter_mistyped_is_refused(position: int, letter: str) -> None:
    key = _signed(GOOD)
    place = position % len(key)
    mistyped = key[:place] + letter + key[place + 1 :]
    assert (api_keys.parse_key(mistyped) is not None) == (mistyped == key)


def test_a_hash_is_hmac_sha_256_under_the_pepper() -> None:
    key = _signed(GOOD)
    assert api_keys.hash_key(key, PEPPER) == hmac.new(PEPPER, key.encode(), "sha256").digest()
    others = {
        api_keys.hash_key(key, b"salt"),
        api_keys.hash_key(key, PEPPER + b"\n"),
        api_keys.hash_key(key + "x", PEPPER),
        api_keys.hash_key(key, PEPPER),
    }
    assert len(others) == 4


@pytest.fixture(scope="module")
async def database(shared_url: str) -> AsyncIterator[Database]:
    opened = Database(shared_url, writers=1, readers=2)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def tenants(database: Database) -> tuple[TenantId, TenantId]:
    made = []
    for name in ("acme", "globex"):
        async with database.reading() as connection:
            tenant = await add_tenant(connection, name, "UTC")
        assert tenant is not None
        made.append(tenant)
    return made[0], made[1]


async def _add(database: Database, tenant: TenantId, role: Role) -> tuple[str, str]:
    async with database.reading(tenant) as connection:
        return await api_keys.add_key(connection, tenant, role, f"{role} key", environment="live", pepper=PEPPER)


async def _find(database: Database, tenant: TenantId, key: str, pepper: bytes = PEPPER) -> Principal | None:
    async with database.reading(tenant) as connection:
        return await api_keys.find_principal(connection, key, pepper)


@pytest.mark.parametrize("role", KEY_ROLES)
async def test_a_key_stands_for_its_tenant_and_role(
    role: Role, database: Database, tenants: tuple[TenantId, TenantId]
) -> None:
    tenant = OPERATOR_TENANT if role is Role.OPERATOR else tenants[0]
    key, key_id = await _add(database, tenant, role)
    assert await _find(database, tenant, key) == Principal(tenant, role, key_id)
    assert await _find(database, tenant, key, b"another pepper") is None


async def test_a_key_is_not_found_from_within_another_tenant(
    database: Database, tenants: tuple[TenantId, TenantId]
) -> None:
    key, key_id = await _add(database, tenants[0], Role.ADMIN)
    assert await _find(database, tenants[1], key) is None
    async with database.reading(tenants[1]) as connection:
        assert await api_keys.revoke_key(connection, tenants[0], key_id) is None
        assert await api_keys.list_keys(connection, tenants[0]) == []
    assert await _find(database, tenants[0], key) is not None


async def test_a_revoked_key_stands_for_nobody_and_stays_listed(
    database: Database, tenants: tuple[TenantId, TenantId]
) -> None:
    key, key_id = await _add(database, tenants[0], Role.AGENT)
    async with database.reading(tenants[0]) as connection:
        revoked_at = await api_keys.revoke_key(connection, tenants[0], key_id)
    assert revoked_at is not None
    assert await _find(database, tenants[0], key) is None
    async with database.reading(tenants[0]) as connection:
        assert await api_keys.revoke_key(connection, tenants[0], key_id) == revoked_at
        assert await api_keys.revoke_key(connection, tenants[0], "42kneverexisted") is None
        listed = {row.key_id: row for row in await api_keys.list_keys(connection, tenants[0])}
    assert listed[key_id].revoked_at == revoked_at
    assert not hasattr(listed[key_id], "secret_hash")


@pytest.mark.parametrize(
    ("expiry", "good"), [("now()", False), ("now() - interval '1 us'", False), ("now() + interval '1 h'", True)]
)
async def test_a_key_ends_at_its_expiry(
    expiry: str, good: bool, database: Database, tenants: tuple[TenantId, TenantId], shared_url: str
) -> None:
    key, key_id = await _add(database, tenants[0], Role.AGENT)
    owner = await asyncpg.connect(shared_url)
    await owner.execute(f"update api_keys set expires_at = {expiry} where key_id = $1", key_id)
    await owner.close()
    assert (await _find(database, tenants[0], key) is not None) is good


async def test_two_keys_are_good_at_once_for_rotation(database: Database, tenants: tuple[TenantId, TenantId]) -> None:
    keys = [await _add(database, tenants[0], Role.AGENT) for _ in range(2)]
    assert [found.key_id for key, _ in keys if (found := await _find(database, tenants[0], key))] == [
        key_id for _, key_id in keys
    ]


async def test_the_secret_never_stands_in_the_database(
    database: Database, tenants: tuple[TenantId, TenantId], shared_url: str
) -> None:
    key, key_id = await _add(database, tenants[0], Role.AGENT)
    secret = key.split("_")[3]
    owner = await asyncpg.connect(shared_url)
    try:
        row = await owner.fetchrow("select * from api_keys where key_id = $1", key_id)
        assert row is not None
        assert row["secret_hash"] == api_keys.hash_key(key, PEPPER)
        for part in (key, secret, secret[:32], secret[:8]):
            assert part not in str(dict(row))
            assert part.encode() not in row["secret_hash"]
    finally:
        await owner.close()


async def test_the_database_knows_no_other_role(database: Database, tenants: tuple[TenantId, TenantId]) -> None:
    class Made:
        value = "root"

    with pytest.raises(IntegrityError, match="api_keys_role_check"):
        async with database.reading(tenants[0]) as connection:
            await api_keys.add_key(connection, tenants[0], Made(), "x", environment="live", pepper=PEPPER)  # type: ignore[arg-type]
