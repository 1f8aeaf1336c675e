"""Owns API keys: their form, their hashes and their rows.

A key reads `tl_<environment>_<tenant>k<random>_<secret><checksum>`. It names its tenant, so that its row can be found
behind row-level security. The row has an HMAC-SHA-256 of the whole key under the service's pepper: the secret has 190
random bits, so a slow password hash would add no safety and cost 100 ms per look-up.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.principal import Principal, Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.access_changes import note_less_access
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.schema.setup_tables import api_keys

_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_SECRET_LENGTH = 32
_CHECKSUM_LENGTH = 8
_IN_FORCE = (
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now()),
)


@dataclass(frozen=True, slots=True)
class RotatedKey:
    """A key that replaces another and expires when that one would have; the old one now expires after the overlap."""

    key: str = field(repr=False)
    key_id: str
    role: Role
    name: str
    expires_at: datetime | None
    old_expires_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key without its secret."""

    key_id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def new_key(tenant: TenantId, environment: str) -> tuple[str, str]:
    """Return a new key and its public id."""
    key_id = f"{tenant}k{_random(10)}"
    body = f"tl_{environment}_{key_id}_{_random(_SECRET_LENGTH)}"
    return body + _checksum(body), key_id


def parse_key(key: str) -> tuple[TenantId, str] | None:
    """Return the tenant and id that a key names, or None if it is malformed, so that a typing error costs no query."""
    if not (key.isascii() and key.isprintable()) or len(key) > 200 or key.count("_") != 3:
        return None
    body, checksum = key[:-_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    prefix, _, key_id, _ = key.split("_")
    tenant, separator, _ = key_id.partition("k")
    if prefix != "tl" or checksum != _checksum(body) or not separator or not tenant.isdigit() or len(tenant) > 18:
        return None
    return TenantId(int(tenant)), key_id


def hash_key(key: str, pepper: bytes) -> bytes:
    """Return the hash that is stored for a key."""
    return hmac.digest(pepper, key.encode(), "sha256")


async def add_key(
    connection: AsyncConnection, tenant: TenantId, role: Role, name: str,
    *, environment: str, pepper: bytes, actor: str = "system", expires_at: datetime | None = None,
) -> tuple[str, str]:  # fmt: skip
    """Store a new key and return it with its id; only its hash is kept."""
    key, key_id = new_key(tenant, environment)
    await connection.execute(
        insert(api_keys).values(
            tenant_id=tenant, key_id=key_id, name=name, role=role.value, secret_hash=hash_key(key, pepper),
            expires_at=expires_at,
        )
    )  # fmt: skip
    after = _key_state(name, role.value, expires_at)
    await note_change(connection, tenant, actor, "key.create", key_id, after=after)
    return key, key_id


async def rotate_key(
    connection: AsyncConnection, tenant: TenantId, key_id: str, overlap: timedelta,
    *, environment: str, pepper: bytes, actor: str,
) -> RotatedKey | None:  # fmt: skip
    """Make a key with the role, name and end of another, which now expires after `overlap`; None if it is not valid."""
    this = (api_keys.c.tenant_id == tenant) & (api_keys.c.key_id == key_id)
    found = await connection.execute(
        select(api_keys.c.role, api_keys.c.name, api_keys.c.expires_at, func.now().label("now"))
        .where(this, *_IN_FORCE)
        .with_for_update()
    )  # fmt: skip
    old = found.one_or_none()
    if old is None:
        return None
    ends: datetime = old.now + overlap
    if old.expires_at is not None:
        ends = min(ends, old.expires_at)
    await connection.execute(update(api_keys).where(this).values(expires_at=ends))
    role = Role(old.role)
    key, new_id = await add_key(
        connection, tenant, role, old.name,
        environment=environment, pepper=pepper, actor=actor, expires_at=old.expires_at,
    )  # fmt: skip
    before = _key_state(old.name, old.role, old.expires_at)
    after = {**_key_state(old.name, old.role, ends), "replaced_by": new_id}
    await note_change(connection, tenant, actor, "key.rotate", key_id, before=before, after=after)
    await note_less_access(connection)
    return RotatedKey(key, new_id, role, old.name, old.expires_at, ends)


async def find_principal(connection: AsyncConnection, key: str, pepper: bytes) -> Principal | None:
    """Return the principal of a key, or None if it is unknown, expired or revoked."""
    named = parse_key(key)
    if named is None:
        return None
    tenant, key_id = named
    row = (
        await connection.execute(
            select(api_keys.c.role, api_keys.c.secret_hash).where(
                api_keys.c.tenant_id == tenant,
                api_keys.c.key_id == key_id,
                *_IN_FORCE,
            )
        )
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_hash, hash_key(key, pepper)):
        return None
    return Principal(tenant, Role(row.role), key_id)


async def is_in_force(connection: AsyncConnection, tenant: TenantId, key_id: str) -> bool:
    """Return whether a tenant has a key that is neither expired nor revoked."""
    found = await connection.execute(
        select(api_keys.c.key_id).where(
            api_keys.c.tenant_id == tenant,
            api_keys.c.key_id == key_id,
            *_IN_FORCE,
        )
    )
    return found.one_or_none() is not None


async def list_keys(connection: AsyncConnection, tenant: TenantId) -> list[KeyRow]:
    """Return a tenant's keys without their secrets, newest first."""
    columns = (
        api_keys.c.key_id, api_keys.c.name, api_keys.c.role, api_keys.c.created_at,
        api_keys.c.expires_at, api_keys.c.revoked_at,
    )  # fmt: skip
    found = await connection.execute(
        select(*columns).where(api_keys.c.tenant_id == tenant).order_by(api_keys.c.created_at.desc())
    )
    return [
        KeyRow(row.key_id, row.name, Role(row.role), row.created_at, row.expires_at, row.revoked_at) for row in found
    ]


async def revoke_key(
    connection: AsyncConnection, tenant: TenantId, key_id: str, *, actor: str = "system"
) -> datetime | None:
    """Revoke a key and return when it was first revoked; None if the tenant has no such key."""
    known = (api_keys.c.tenant_id == tenant) & (api_keys.c.key_id == key_id)
    columns = api_keys.c.name, api_keys.c.role, api_keys.c.expires_at, api_keys.c.revoked_at, func.now().label("now")
    key = (await connection.execute(select(*columns).where(known).with_for_update())).one_or_none()
    if key is None:
        return None
    at: datetime | None = key.revoked_at
    if at is None:
        at = key.now
        await connection.execute(update(api_keys).where(known).values(revoked_at=at))
        before = {**_key_state(key.name, key.role, key.expires_at), "revoked_at": None}
        after = {**before, "revoked_at": at.isoformat()}
        await note_change(connection, tenant, actor, "key.revoke", key_id, before=before, after=after)
        await note_less_access(connection)
    return at


def _key_state(name: str, role: str, expires_at: datetime | None) -> dict[str, Any]:
    """Return a key as the audit log shows it."""
    return {"name": name, "role": role, "expires_at": expires_at.isoformat() if expires_at else None}


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    return f"{crc32(body.encode()):0{_CHECKSUM_LENGTH}x}"
