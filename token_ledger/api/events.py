"""Routes of events without a hold: each of a list has a result of its own; what can't be booked is quarantined."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter, ValidationError

from token_ledger.api.access import CALLERS, Needs, service_of
from token_ledger.api.answers import EventResults
from token_ledger.api.kept import kept_body
from token_ledger.api.problems import ProblemError, invalid_problem
from token_ledger.api.service import Service
from token_ledger.api.translate import record_command
from token_ledger.api.wire import EventBody, EventsBody
from token_ledger.core.commands import Quarantine, Record, fingerprint
from token_ledger.core.money import format_money
from token_ledger.core.outcomes import Code, Outcome, Quarantined, Recorded, Refused
from token_ledger.core.tenant import TenantId
from token_ledger.ledger.errors import Unstorable
from token_ledger.storage.api_keys import Principal

router = APIRouter(prefix="/v1")
Caller = Annotated[Principal, Depends(Needs(CALLERS))]


@router.post("/events", response_model=EventResults, response_model_exclude_none=True, tags=["events"])
async def record_events(
    request: Request,
    caller: Caller,
    body: EventsBody,
) -> Any:
    """Book calls that had no hold; each event has a result of its own, and what can't be booked is quarantined."""
    service = service_of(request)
    results = await asyncio.gather(
        *(
            record_event(service, caller.tenant, event, f"events.{position}")
            for position, event in enumerate(body.events)
        )
    )
    return {"results": results}


_event = TypeAdapter(EventBody)


async def record_event(service: Service, tenant: TenantId, value: Any, within: str) -> dict[str, Any]:
    """Book one event of a list, at the place that `within` names, and return its result."""
    try:
        body = _event.validate_python(value)
        command: Record | Quarantine = record_command(body, f"{within}.")
    except ValidationError as error:
        problem = invalid_problem(error, within)
    except ProblemError as error:
        problem = error
    else:
        return await _submit_event(service, tenant, command)
    named = value if isinstance(value, dict) else {}
    source, key = named.get("source"), named.get("idempotency_key")
    if not (_is_name(source) and _is_name(key)):
        # Without a name nothing could find it again, and a repetition would be kept a second time.
        return {"status": "refused", "code": problem.code, "detail": problem.detail, "field": _field(problem)}
    kept = kept_body(value)
    command = Quarantine(f"event:{source}", str(key), fingerprint(kept.encode()), problem.code, problem.detail, kept)
    return {**await _submit_event(service, tenant, command), "field": _field(problem)}


async def _submit_event(service: Service, tenant: TenantId, command: Record | Quarantine) -> dict[str, Any]:
    try:
        return _event_result(await service.submit(tenant, command))
    except Unstorable as error:  # the other events of the list are booked and have to be answered
        return {"status": "refused", "code": Code.INVALID_REQUEST.value, "detail": str(error)}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _field(problem: ProblemError) -> str | None:
    errors = problem.extra.get("errors")
    return errors[0]["field"] if errors else None


def _event_result(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Recorded):
        event = outcome.event
        return {
            "status": "booked",
            "event_id": str(event.event_id),
            "cost": format_money(event.cost_nanos),
            "tokens": event.usage.total_tokens,
            "replayed": outcome.replayed,
        }
    if isinstance(outcome, Quarantined):
        return {
            "status": "quarantined",
            "quarantine_id": str(outcome.quarantine_id),
            "code": outcome.code,
            "detail": outcome.detail,
            "replayed": outcome.replayed,
        }
    assert isinstance(outcome, Refused)
    return {"status": "conflict", "code": outcome.code.value, "detail": outcome.detail, "field": outcome.field}
