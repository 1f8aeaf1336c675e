"""Owns the identity providers: whose word a tenant takes for who people are, and which roles it gives them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.tenant import TenantId
from token_ledger.storage.api_keys import Role
from token_ledger.storage.audit import note_change
from token_ledger.storage.setup_tables import identity_providers as table


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An issuer of tokens for an audience, which means one tenant.

    `jwks_url` is where its keys are; without one they are where its discovery document says. `user_claim` names a
    person, `role_claim` has what `roles` maps to a role; who has none of these gets `default_role`, or is refused.
    """

    issuer: str
    audience: str
    jwks_url: str | None
    user_claim: str
    role_claim: str | None
    roles: Mapping[str, str]
    default_role: str | None

    def role_of(self, claimed: frozenset[str]) -> Role | None:
        """Return the role that may do the most of those that somebody's claims give, or None."""
        given = {self.roles[each] for each in claimed if each in self.roles}
        return next(
            (role for role in _MOST_FIRST if role in given), Role(self.default_role) if self.default_role else None
        )


_MOST_FIRST = (Role.ADMIN, Role.FINANCE, Role.AGENT, Role.USER)
PEOPLES_ROLES = tuple(role.value for role in _MOST_FIRST)


async def add_provider(
    connection: AsyncConnection, tenant: TenantId, provider: IdentityProvider, *, actor: str
) -> int | None:
    """Store a provider and return its id; None if its issuer and audience mean a tenant already."""
    values = {**asdict(provider), "roles": dict(provider.roles)}
    added = await connection.execute(
        insert(table).values(tenant_id=tenant, **values).on_conflict_do_nothing().returning(table.c.provider_id)
    )
    number: int | None = added.scalar_one_or_none()
    if number is not None:
        await note_change(connection, tenant, actor, "identity_provider.add", str(number), after=values)
    return number


async def find_providers(connection: AsyncConnection, issuer: str) -> list[tuple[TenantId, IdentityProvider]]:
    """Return what an issuer's tokens may be for."""
    found = await connection.execute(select(table).where(table.c.issuer == issuer, table.c.removed_at.is_(None)))
    return [(TenantId(row.tenant_id), _provider(row)) for row in found]


async def list_providers(connection: AsyncConnection, tenant: TenantId) -> list[dict[str, Any]]:
    """Return a tenant's providers as they travel, oldest first."""
    known = table.c.tenant_id == tenant, table.c.removed_at.is_(None)
    found = await connection.execute(select(table).where(*known).order_by(table.c.provider_id))
    return [{"provider_id": str(row.provider_id), **asdict(_provider(row))} for row in found]


async def remove_provider(connection: AsyncConnection, tenant: TenantId, number: int, *, actor: str) -> bool:
    """Believe a provider no more; False if the tenant has none of this id."""
    known = table.c.tenant_id == tenant, table.c.provider_id == number, table.c.removed_at.is_(None)
    removed = await connection.execute(update(table).where(*known).values(removed_at=func.now()).returning(table))
    row = removed.one_or_none()
    if row is None:
        return False
    before = {**asdict(_provider(row)), "roles": dict(row.roles)}
    await note_change(connection, tenant, actor, "identity_provider.remove", str(number), before=before)
    return True


def _provider(row: Any) -> IdentityProvider:
    return IdentityProvider(
        row.issuer, row.audience, row.jwks_url, row.user_claim, row.role_claim, row.roles, row.default_role
    )
