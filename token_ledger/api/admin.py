"""Routes of those who set up: triggers, API keys, tenants."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from token_ledger.api.access import ADMINS, FINANCE, OPERATORS, Needs, actor_of, service_of
from token_ledger.api.answers import TriggerAnswerBody
from token_ledger.api.problems import ProblemError, refused_problem
from token_ledger.api.translate_admin import set_trigger_command
from token_ledger.api.values import trigger_value
from token_ledger.api.wire_admin import ApiKeyBody, RotationBody, TenantBody, TriggerBody
from token_ledger.core.outcomes import Code, Refused, TriggerAnswer
from token_ledger.storage.api_keys import Principal, Role, add_key, list_keys, revoke_key, rotate_key
from token_ledger.storage.audit import note_change
from token_ledger.storage.periods import database_now
from token_ledger.storage.reads import find_triggers
from token_ledger.storage.tenants import add_tenant, check_zone, find_stops, list_tenants

router = APIRouter(prefix="/v1")
Admin = Annotated[Principal, Depends(Needs(ADMINS))]
Finance = Annotated[Principal, Depends(Needs(FINANCE))]
Operator = Annotated[Principal, Depends(Needs(OPERATORS))]


@router.post("/triggers", status_code=201, response_model=TriggerAnswerBody, tags=["saving"])
async def set_trigger(request: Request, admin: Admin, body: TriggerBody) -> Any:
    """Set the trigger of a kind, in place of the one before."""
    outcome = await service_of(request).submit(admin.tenant, set_trigger_command(body, actor_of(admin)))
    if not isinstance(outcome, TriggerAnswer):
        assert isinstance(outcome, Refused)
        raise refused_problem(outcome)
    return trigger_value(outcome.trigger, replayed=outcome.replayed)


@router.get("/triggers", tags=["saving"])
async def list_triggers(request: Request, finance: Finance) -> dict[str, list[TriggerAnswerBody]]:
    """List the triggers that are set."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        found = await find_triggers(connection, finance.tenant)
    return {"triggers": [TriggerAnswerBody(**trigger_value(trigger)) for trigger in found]}


@router.post("/api-keys", status_code=201, tags=["keys"])
async def create_key(request: Request, admin: Admin, body: ApiKeyBody) -> dict[str, str]:
    """Make an API key; it is shown this once."""
    service = service_of(request)
    async with service.database.reading(admin.tenant) as connection:
        if body.expires_at is not None and body.expires_at <= await database_now(connection):
            detail = f"expires_at {body.expires_at.isoformat()} is past: the key would never be good"
            raise ProblemError(422, Code.TIME_OUT_OF_RANGE.value, detail, field="expires_at")
        key, key_id = await add_key(
            connection, admin.tenant, Role(body.role), body.name,
            environment=service.settings.environment, pepper=service.pepper, actor=actor_of(admin),
            expires_at=body.expires_at,
        )  # fmt: skip
    return {"key_id": key_id, "key": key, "role": body.role, "name": body.name}


@router.post("/api-keys/{key_id}/rotate", status_code=201, tags=["keys"])
async def rotate_api_key(request: Request, admin: Admin, key_id: str, body: RotationBody) -> dict[str, str | None]:
    """Make a key in the place of another, which goes on for an overlap; it is shown this once.

    It ends when the other was to end, if it was; for a key that goes on for longer make a new one.
    """
    service = service_of(request)
    rotated = None
    if key_id.isascii() and key_id.isalnum():
        async with service.database.reading(admin.tenant) as connection:
            rotated = await rotate_key(
                connection, admin.tenant, key_id, timedelta(seconds=body.overlap_seconds),
                environment=service.settings.environment, pepper=service.pepper, actor=actor_of(admin),
            )  # fmt: skip
    if rotated is None:
        raise ProblemError(404, "not_found", f"there is no API key {key_id!r} in force")
    service.forget_keys()
    return {
        "key_id": rotated.key_id,
        "key": rotated.key,
        "role": rotated.role,
        "name": rotated.name,
        "expires_at": rotated.expires_at.isoformat() if rotated.expires_at else None,
        "old_key_expires_at": rotated.old_expires_at.isoformat(),
    }


@router.get("/api-keys", tags=["keys"])
async def get_keys(request: Request, admin: Admin) -> dict[str, list[dict[str, Any]]]:
    """List API keys, without their secrets."""
    async with service_of(request).database.reading(admin.tenant) as connection:
        return {"api_keys": await list_keys(connection, admin.tenant)}


@router.delete("/api-keys/{key_id}", tags=["keys"])
async def delete_key(request: Request, admin: Admin, key_id: str) -> dict[str, str]:
    """Revoke an API key; every process refuses it within five seconds."""
    service = service_of(request)
    revoked_at = None
    if key_id.isascii() and key_id.isalnum():  # nothing else is one, and the database takes not all of it as text
        async with service.database.reading(admin.tenant) as connection:
            revoked_at = await revoke_key(connection, admin.tenant, key_id, actor=actor_of(admin))
    if revoked_at is None:
        raise ProblemError(404, "not_found", f"there is no API key {key_id!r}")
    service.forget_keys()
    return {"key_id": key_id, "revoked_at": revoked_at.isoformat()}


@router.post("/tenants", status_code=201, tags=["tenants"])
async def create_tenant(request: Request, operator: Operator, body: TenantBody) -> dict[str, str]:
    """Make a tenant and its first admin key, shown this once."""
    try:
        check_zone(body.time_zone)
    except ValueError as error:
        raise ProblemError(422, "invalid_request", f"time_zone: {error}", field="time_zone") from None
    service = service_of(request)
    async with service.database.reading(operator.tenant) as connection:
        tenant = await add_tenant(connection, body.name, body.time_zone)
        if tenant is None:
            raise ProblemError(409, "tenant_exists", f"there is a tenant named {body.name!r}", field="name")
        key, _ = await add_key(
            connection, tenant, Role.ADMIN, "first admin",
            environment=service.settings.environment, pepper=service.pepper, actor=f"operator:{operator.key_id}",
        )  # fmt: skip
        after = {"name": body.name, "time_zone": body.time_zone}
        await note_change(connection, tenant, f"operator:{operator.key_id}", "tenant.create", str(tenant), after=after)
    service.name_tenant(tenant, body.name)
    return {"tenant_id": str(tenant), "name": body.name, "time_zone": body.time_zone, "admin_key": key}


@router.get("/tenants", tags=["tenants"])
async def get_tenants(request: Request, operator: Operator) -> dict[str, list[dict[str, Any]]]:
    """List tenants, each with the reason of its emergency stop while one is in force."""
    database = service_of(request).database
    async with database.reading(operator.tenant) as connection:
        found = await list_tenants(connection)
    numbers = [tenant["tenant_id"] for tenant in found]
    async with database.reading(*numbers) as connection:
        stops = await find_stops(connection, numbers)
    return {
        "tenants": [
            {**tenant, "tenant_id": str(number), "stopped": stops.get(number)}
            for number, tenant in zip(numbers, found, strict=True)
        ]
    }
