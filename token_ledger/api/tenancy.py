"""Routes of the tenant itself: its users, calendar, emergency stop, and the audit log of every change."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from token_ledger.api.access import ADMINS, FINANCE, OPERATORS, Needs, actor_of, service_of
from token_ledger.api.answers import ChangeAnswer, StopAnswerBody, StopState
from token_ledger.api.holds import id_in_path
from token_ledger.api.people import checked_url
from token_ledger.api.problems import ProblemError, refused_problem
from token_ledger.api.service import Service
from token_ledger.api.translate_admin import (
    erase_user_command,
    set_calendar_command,
    set_users_command,
    stop_command,
)  # fmt: skip
from token_ledger.api.values import change_value
from token_ledger.api.wire import Id, Name
from token_ledger.api.wire_admin import CalendarBody, IdentityProviderBody, KeyBody, StopBody, UsersBody
from token_ledger.core.audit import user_state
from token_ledger.core.commands import Command
from token_ledger.core.outcomes import Changed, Refused, StopAnswer
from token_ledger.core.tenant import TenantId
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.identity_providers import (
    IdentityProvider,
    add_provider,
    list_providers,
    remove_provider,
)
from token_ledger.storage.limit_reads import find_audit, find_calendar, find_users
from token_ledger.storage.tenants import find_stops, tenant_exists

router = APIRouter(prefix="/v1")
Admin = Annotated[Principal, Depends(Needs(ADMINS))]
Finance = Annotated[Principal, Depends(Needs(FINANCE))]
Operator = Annotated[Principal, Depends(Needs(OPERATORS))]
Auditor = Annotated[Principal, Depends(Needs(FINANCE | OPERATORS))]


@router.put("/users", response_model=ChangeAnswer, tags=["users"])
async def set_users(request: Request, admin: Admin, body: UsersBody) -> Any:
    """Make users known, or replace what is known of them; users that are not named stay as they are."""
    return await _changed(service_of(request), admin.tenant, set_users_command(body, actor_of(admin)))


@router.get("/users", tags=["users"])
async def list_users(
    request: Request, finance: Finance, after: Name | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> dict[str, list[dict[str, Any]]]:
    """List users with their cost centers, by name; `after` pages on."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        found = await find_users(connection, finance.tenant, after=after or "", limit=limit)
    return {"users": [{"user": user.user, "cost_centers": user_state(user)} for user in found]}


@router.post("/users/{user}/erase", response_model=ChangeAnswer, tags=["users"])
async def erase_user(request: Request, admin: Admin, user: Name, body: KeyBody) -> Any:
    """Put a pseudonym in the place of a user's name wherever it stands; every sum stays."""
    return await _changed(service_of(request), admin.tenant, erase_user_command(body, user, actor_of(admin)))


@router.get("/calendar", tags=["tenants"])
async def get_calendar(request: Request, finance: Finance) -> dict[str, list[dict[str, Any]]]:
    """Show the tenant's calendar: the rule it began with, then every change, also planned ones."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        return {"calendar": await find_calendar(connection, finance.tenant)}


@router.post("/calendar", response_model=ChangeAnswer, tags=["tenants"])
async def set_calendar(request: Request, admin: Admin, body: CalendarBody) -> Any:
    """Change time zone, week start or fiscal year from an instant on; windows under way end as they would have.

    What is planned for that instant or later falls; to withdraw a plan, change to the rule that it would end.
    """
    return await _changed(service_of(request), admin.tenant, set_calendar_command(body, actor_of(admin)))


@router.get("/stop", tags=["tenants"])
async def get_stop(request: Request, finance: Finance) -> StopState:
    """Show whether every call of the tenant is stopped, and why."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        return StopState(stopped=(await find_stops(connection, [finance.tenant])).get(finance.tenant))


@router.post("/stop", response_model=StopAnswerBody, tags=["tenants"])
async def stop(request: Request, admin: Admin, body: StopBody) -> Any:
    """Stop every call of the tenant; what is under way still settles."""
    return await _changed(service_of(request), admin.tenant, stop_command(body, actor_of(admin)))


@router.post("/resume", response_model=StopAnswerBody, tags=["tenants"])
async def resume(request: Request, admin: Admin, body: KeyBody) -> Any:
    """Let the tenant's calls go on."""
    return await _changed(service_of(request), admin.tenant, stop_command(body, actor_of(admin)))


@router.post("/tenants/{tenant_id}/stop", response_model=StopAnswerBody, tags=["tenants"])
async def stop_tenant(request: Request, operator: Operator, tenant_id: str, body: StopBody) -> Any:
    """Stop every call of a tenant."""
    tenant = await _named_tenant(request)
    return await _changed(service_of(request), tenant, stop_command(body, f"operator:{operator.key_id}"))


@router.post("/tenants/{tenant_id}/resume", response_model=StopAnswerBody, tags=["tenants"])
async def resume_tenant(request: Request, operator: Operator, tenant_id: str, body: KeyBody) -> Any:
    """Let a tenant's calls go on."""
    tenant = await _named_tenant(request)
    return await _changed(service_of(request), tenant, stop_command(body, f"operator:{operator.key_id}"))


@router.post("/tenants/{tenant_id}/identity-providers", status_code=201, tags=["tenants"])
async def add_identity_provider(
    request: Request, operator: Operator, tenant_id: str, body: IdentityProviderBody
) -> dict[str, Any]:
    """Take an issuer's word for who people of a tenant are.

    For operators only: the service will ask the addresses given here for keys, and an audience can mean one tenant.
    """
    tenant = await _named_tenant(request)
    for field, url in (("issuer", body.issuer), ("jwks_url", body.jwks_url)):
        try:
            checked_url(url or body.issuer)
        except ValueError as error:
            raise ProblemError(422, "invalid_request", f"{field}: {error}", field=field) from None
    if not body.roles and body.default_role is None:
        detail = "roles: nobody would get a role; map values of role_claim to roles, or give default_role"
        raise ProblemError(422, "invalid_request", detail, field="roles")
    if body.roles and body.role_claim is None:
        detail = "role_claim: say which claim has what roles maps"
        raise ProblemError(422, "invalid_request", detail, field="role_claim")
    provider = IdentityProvider(**body.model_dump())
    async with service_of(request).database.reading(tenant) as connection:
        number = await add_provider(connection, tenant, provider, actor=f"operator:{operator.key_id}")
    if number is None:
        detail = f"tokens of {body.issuer} for {body.audience} are known already, and mean one tenant"
        raise ProblemError(409, "identity_provider_exists", detail, field="audience")
    return {"provider_id": str(number), **body.model_dump()}


@router.get("/tenants/{tenant_id}/identity-providers", tags=["tenants"])
async def get_identity_providers(
    request: Request, operator: Operator, tenant_id: str
) -> dict[str, list[dict[str, Any]]]:
    """List whose word is taken for who people of a tenant are."""
    tenant = await _named_tenant(request)
    async with service_of(request).database.reading() as connection:
        return {"identity_providers": await list_providers(connection, tenant)}


@router.delete("/tenants/{tenant_id}/identity-providers/{provider_id}", tags=["tenants"])
async def delete_identity_provider(
    request: Request, operator: Operator, tenant_id: str, provider_id: str
) -> dict[str, str]:
    """Take an issuer's word no more; every process refuses its tokens within five seconds."""
    tenant, number = await _named_tenant(request), id_in_path(request, "provider_id")
    async with service_of(request).database.reading(tenant) as connection:
        removed = await remove_provider(connection, tenant, number, actor=f"operator:{operator.key_id}")
    if not removed:
        raise ProblemError(404, "not_found", f"tenant {tenant} has no identity provider {number}", field="provider_id")
    service_of(request).forget_keys()
    return {"provider_id": str(number)}


@router.get("/audit", tags=["tenants"])
async def list_audit(
    request: Request, auditor: Auditor, after: Id = "0", limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> dict[str, list[dict[str, Any]]]:
    """List who changed what, in order; `after` pages on. Operators see what was done to their own keys."""
    async with service_of(request).database.reading(auditor.tenant) as connection:
        return {"audit": await find_audit(connection, auditor.tenant, after=int(after), limit=limit)}


async def _named_tenant(request: Request) -> TenantId:
    number = id_in_path(request, "tenant_id")
    async with service_of(request).database.reading() as connection:
        tenant = await tenant_exists(connection, number)
    if tenant is None:
        raise ProblemError(404, "not_found", f"there is no tenant {number}", field="tenant_id")
    return tenant


async def _changed(service: Service, tenant: TenantId, command: Command) -> dict[str, Any]:
    outcome = await service.submit(tenant, command)
    if isinstance(outcome, StopAnswer):
        return {**change_value(outcome.entry, replayed=outcome.replayed), "stopped": outcome.stopped}
    if not isinstance(outcome, Changed):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    return change_value(outcome.entry, replayed=outcome.replayed)
