"""Owns the rows of identity providers: whom a tenant trusts to say who people are, and which roles that gives."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.principal import Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.access_changes import note_less_access
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.schema.setup_tables import identity_providers as table


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An issuer of tokens; issuer and audience together stand for one tenant.

    Its keys are at `jwks_url`, or where its discovery document says. The claim `user_claim` names the person. `roles`
    maps values of the claim `role_claim` to roles; without a match a person gets `default_role`, or is refused.
    """

    issuer: str
    audience: str
    jwks_url: str | None
    user_claim: str
    role_claim: str | None
    roles: Mapping[str, str]
    default_role: str | None

    def role_of(self, claimed: frozenset[str]) -> Role | None:
        """Return the most powerful role that claims give, or the default role, or None."""
        given = {self.roles[each] for each in claimed if each in self.roles}
        default = Role(self.default_role) if self.default_role else None
        return next((role for role in _MOST_POWERFUL_FIRST if role in given), default)


_MOST_POWERFUL_FIRST = (Role.ADMIN, Role.FINANCE, Role.AGENT, Role.USER)


async def add_provider(
    connection: AsyncConnection, tenant: TenantId, provider: IdentityProvider, *, actor: str
) -> int | None:
    """Add a provider and return its id; None if its issuer and audience already stand for a tenant."""
    values = {**asdict(provider), "roles": dict(provider.roles)}
    added = await connection.execute(
        insert(table).values(tenant_id=tenant, **values).on_conflict_do_nothing().returning(table.c.provider_id)
    )
    number: int | None = added.scalar_one_or_none()
    if number is not None:
        await note_change(connection, tenant, actor, "identity_provider.add", str(number), after=values)
    return number


async def find_providers(connection: AsyncConnection, issuer: str) -> list[tuple[TenantId, IdentityProvider]]:
    """Return the providers with an issuer, each with its tenant."""
    found = await connection.execute(select(table).where(table.c.issuer == issuer, table.c.removed_at.is_(None)))
    return [(TenantId(row.tenant_id), _provider(row)) for row in found]


async def list_providers(connection: AsyncConnection, tenant: TenantId) -> list[tuple[int, IdentityProvider]]:
    """Return a tenant's providers with their ids, oldest first."""
    known = table.c.tenant_id == tenant, table.c.removed_at.is_(None)
    found = await connection.execute(select(table).where(*known).order_by(table.c.provider_id))
    return [(row.provider_id, _provider(row)) for row in found]


async def remove_provider(connection: AsyncConnection, tenant: TenantId, number: int, *, actor: str) -> bool:
    """Remove an identity provider; False if the tenant has none with this id."""
    known = table.c.tenant_id == tenant, table.c.provider_id == number, table.c.removed_at.is_(None)
    now = (await connection.execute(select(func.now()))).scalar_one()
    removed = await connection.execute(update(table).where(*known).values(removed_at=now).returning(table))
    row = removed.one_or_none()
    if row is None:
        return False
    before = {**asdict(_provider(row)), "roles": dict(row.roles)}
    await note_change(connection, tenant, actor, "identity_provider.remove", str(number), before=before)
    await note_less_access(connection)
    return True


def _provider(row: Any) -> IdentityProvider:
    return IdentityProvider(
        row.issuer, row.audience, row.jwks_url, row.user_claim, row.role_claim, row.roles, row.default_role
    )
