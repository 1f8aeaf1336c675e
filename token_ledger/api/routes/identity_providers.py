"""Routes of identity providers, for operators only: the service asks the addresses given here for keys."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Operator, actor_of
from token_ledger.api.parameters import ProviderId
from token_ledger.api.routes.tenants import NamedTenant
from token_ledger.api.service import changing, reading, service_of
from token_ledger.identity.provider_documents import Network, check_provider_url
from token_ledger.storage.identity_providers import IdentityProvider, add_provider, list_providers, remove_provider
from token_ledger.wire.answers import tenants as answers
from token_ledger.wire.bodies.tenants import IdentityProviderBody
from token_ledger.wire.problems import ProblemError, RequestCode, invalid_field, not_found

router = APIRouter(prefix="/v1", tags=["identity providers"])


@router.post("/tenants/{tenant_id}/identity-providers", status_code=201)
async def add_identity_provider(
    request: Request, operator: Operator, tenant: NamedTenant, body: IdentityProviderBody
) -> answers.IdentityProviderAnswer:
    """Accept the tokens of an identity provider.

    People of the tenant can then use its tokens (OpenID Connect) in place of an API key, with the roles that their
    claims give them. An issuer and audience can stand for one tenant only.
    """
    _check(body, service_of(request).settings.identity_provider_networks)
    provider = IdentityProvider(**body.model_dump())
    async with changing(request, tenant) as connection:
        number = await add_provider(connection, tenant, provider, actor=actor_of(operator))
    if number is None:
        detail = f"a tenant accepts tokens of {body.issuer} for {body.audience} already; remove that provider first"
        raise ProblemError(RequestCode.IDENTITY_PROVIDER_EXISTS, detail, field="audience")
    return answers.identity_provider_answer(number, provider)


def _check(body: IdentityProviderBody, networks: tuple[Network, ...]) -> None:
    """Raise for addresses that keys cannot be fetched from, and for roles that nobody would get."""
    for field, url in (("issuer", body.issuer), ("jwks_url", body.jwks_url)):
        try:
            check_provider_url(url or body.issuer, networks)
        except ValueError as error:
            raise invalid_field(field, str(error)) from None
    if not body.roles and body.default_role is None:
        raise invalid_field("roles", "nobody would get a role; map values of role_claim to roles, or give default_role")
    if body.roles and body.role_claim is None:
        raise invalid_field("role_claim", "name the claim whose values roles maps")


@router.get("/tenants/{tenant_id}/identity-providers")
async def get_identity_providers(
    request: Request, operator: Operator, tenant: NamedTenant
) -> answers.IdentityProviderList:
    """List the identity providers of a tenant.

    Oldest first.
    """
    async with reading(request) as connection:
        found = await list_providers(connection, tenant)
    return {"identity_providers": [answers.identity_provider_answer(*each) for each in found]}


@router.delete("/tenants/{tenant_id}/identity-providers/{provider_id}")
async def delete_identity_provider(
    request: Request, operator: Operator, tenant: NamedTenant, provider_id: ProviderId
) -> answers.RemovedIdentityProvider:
    """Remove an identity provider.

    Every process refuses its tokens within a second.
    """
    async with changing(request, tenant) as connection:
        removed = await remove_provider(connection, tenant, provider_id, actor=actor_of(operator))
    if not removed:
        raise not_found("provider_id", f"tenant {tenant} has no identity provider {provider_id}")
    service_of(request).authenticator.forget()
    return {"provider_id": str(provider_id)}
