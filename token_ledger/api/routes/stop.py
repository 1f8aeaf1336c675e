"""Routes of the emergency stop: of one's own tenant, and of any tenant for operators."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, Finance, Operator, actor_of
from token_ledger.api.routes.tenants import NamedTenant
from token_ledger.api.service import decide, reading
from token_ledger.core.batch import outcomes
from token_ledger.storage.tenants import find_stops
from token_ledger.wire.answers.audit import StopAnswer, stop_answer
from token_ledger.wire.answers.tenants import StopState
from token_ledger.wire.bodies.tenants import KeyBody, StopBody
from token_ledger.wire.commands.tenants import resume_command, stop_command

router = APIRouter(prefix="/v1", tags=["stop"])


@router.get("/stop")
async def get_stop(request: Request, finance: Finance) -> StopState:
    """Show whether every call is stopped.

    And why, if it is.
    """
    async with reading(request, finance.tenant) as connection:
        return {"stopped": (await find_stops(connection, [finance.tenant])).get(finance.tenant)}


@router.post("/stop")
async def stop(request: Request, admin: Admin, body: StopBody) -> StopAnswer:
    """Stop every call of the tenant.

    Reserves, leases and runs are refused with 402 `tenant_stopped` from now on. Calls that are under way still settle.
    """
    command = stop_command(body, actor_of(admin))
    return stop_answer(await decide(request, admin.tenant, outcomes.StopAnswer, command))


@router.post("/resume")
async def resume(request: Request, admin: Admin, body: KeyBody) -> StopAnswer:
    """End the stop of the tenant.

    Calls are admitted again.
    """
    command = resume_command(body, actor_of(admin))
    return stop_answer(await decide(request, admin.tenant, outcomes.StopAnswer, command))


@router.post("/tenants/{tenant_id}/stop")
async def stop_tenant(request: Request, operator: Operator, tenant: NamedTenant, body: StopBody) -> StopAnswer:
    """Stop every call of a tenant, as an operator.

    Reserves, leases and runs are refused with 402 `tenant_stopped` from now on. Calls that are under way still settle.
    """
    command = stop_command(body, actor_of(operator)).sent_by(operator.role)
    return stop_answer(await decide(request, tenant, outcomes.StopAnswer, command))


@router.post("/tenants/{tenant_id}/resume")
async def resume_tenant(request: Request, operator: Operator, tenant: NamedTenant, body: KeyBody) -> StopAnswer:
    """End the stop of a tenant, as an operator.

    Calls are admitted again.
    """
    command = resume_command(body, actor_of(operator)).sent_by(operator.role)
    return stop_answer(await decide(request, tenant, outcomes.StopAnswer, command))
