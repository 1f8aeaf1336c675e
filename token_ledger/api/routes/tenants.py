"""Routes of tenants, for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from token_ledger.api.access import Operator, actor_of
from token_ledger.api.parameters import TenantNumber
from token_ledger.api.service import changing, reading, service_of
from token_ledger.core.model.principal import Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import add_key
from token_ledger.storage.audit_log import note_change
from token_ledger.storage.tenants import add_tenant, find_stops, list_tenants, tenant_exists
from token_ledger.wire.answers import tenants as answers
from token_ledger.wire.bodies.tenants import TenantBody
from token_ledger.wire.commands.tenants import zone_of
from token_ledger.wire.problems import ProblemError, RequestCode, not_found

router = APIRouter(prefix="/v1", tags=["tenants"])


@router.post("/tenants", status_code=201)
async def create_tenant(request: Request, operator: Operator, body: TenantBody) -> answers.NewTenantAnswer:
    """Make a tenant.

    The answer has its first admin key, which is shown only now.
    """
    zone_of(body.time_zone)
    service = service_of(request)
    async with changing(request, operator.tenant) as connection:
        tenant = await add_tenant(connection, body.name, body.time_zone)
        if tenant is None:
            detail = f"there is a tenant named {body.name!r}; choose another name"
            raise ProblemError(RequestCode.TENANT_EXISTS, detail, field="name")
        key, _ = await add_key(
            connection, tenant, Role.ADMIN, "first admin",
            environment=service.settings.environment, pepper=service.pepper, actor=actor_of(operator),
        )  # fmt: skip
        after = {"name": body.name, "time_zone": body.time_zone}
        await note_change(connection, tenant, actor_of(operator), "tenant.create", str(tenant), after=after)
    return answers.new_tenant_answer(tenant, body.name, body.time_zone, key)


@router.get("/tenants")
async def get_tenants(request: Request, operator: Operator) -> answers.TenantList:
    """List tenants.

    Each with the reason of its emergency stop, if it is stopped.
    """
    async with reading(request, operator.tenant) as connection:
        found = await list_tenants(connection)
    numbers = [tenant.tenant_id for tenant in found]
    async with reading(request, *numbers) as connection:
        stops = await find_stops(connection, numbers)
    return {"tenants": [answers.tenant_answer(tenant, stops.get(tenant.tenant_id)) for tenant in found]}


async def _named_tenant(request: Request, operator: Operator, tenant_id: TenantNumber) -> TenantId:
    async with reading(request) as connection:
        tenant = await tenant_exists(connection, tenant_id)
    if tenant is None:
        raise not_found("tenant_id", f"there is no tenant {tenant_id}")
    return tenant


NamedTenant = Annotated[TenantId, Depends(_named_tenant)]
"""The tenant that an operator names in the path."""
