"""Routes of events: calls that had no hold. Each of a list has a result of its own."""

import json
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError

from token_ledger.api import problem_responses
from token_ledger.api.access import Caller
from token_ledger.api.service import in_pieces, service_of
from token_ledger.core.batch.commands import Quarantine, Record
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.batch.outcomes import Code, Quarantined, Recorded
from token_ledger.core.model.principal import Principal
from token_ledger.ledger.errors import Unstorable
from token_ledger.runtime import Service
from token_ledger.wire.answers import events as answers
from token_ledger.wire.bodies.events import EventBody, EventsBody
from token_ledger.wire.commands.events import record_command
from token_ledger.wire.fields import Words
from token_ledger.wire.kept_events import kept_body
from token_ledger.wire.problems import ProblemError, invalid_problem, problem_of

router = APIRouter(prefix="/v1", tags=["events"])
_event = TypeAdapter(EventBody)
_words = TypeAdapter[str](Words)


@router.post("/events")
async def record_events(request: Request, caller: Caller, body: EventsBody) -> answers.EventResults:
    """Book calls that had no hold.

    For calls that were made without asking: imports, or clients that could not reach the service. Each event is booked
    or refused for itself, and has a result of its own. What cannot be booked is kept in quarantine.
    """
    service, caller = service_of(request), replace(caller, request=object())
    results = await in_pieces(
        service,
        caller.tenant,
        (_result(service, caller, event, f"events.{position}") for position, event in enumerate(body.events)),
    )
    return {"results": results}


async def _result(service: Service, caller: Principal, event: Any, within: str) -> answers.EventAnswer:
    try:
        return await record_event(service, caller, event, within)
    except ProblemError as problem:
        return answers.unbooked_event_answer(problem)
    except Unstorable as error:
        return answers.unbooked_event_answer(problem_responses.problem_of(error))


async def record_event(service: Service, caller: Principal, event: Any, within: str) -> answers.EventAnswer:
    """Book an event, or keep it in quarantine; raise the problem of one that conflicts, or of which nothing is kept.

    `within` is where the event stands in the request.
    """
    command, field = _command(event, within)
    outcome = await service.submit(caller.tenant, command, caller.key_id, caller.request)
    if isinstance(outcome, Quarantined) and outcome.code == Code.IDEMPOTENCY_CONFLICT:
        raise problem_of(outcome)
    if isinstance(outcome, Recorded | Quarantined):
        return answers.event_answer(outcome, field)
    raise problem_of(outcome)


def _command(event: Any, within: str) -> tuple[Record | Quarantine, str | None]:
    """Return the command for an event, and the field at fault where it can only be kept."""
    try:
        return record_command(_event.validate_python(event), f"{within}."), None
    except ValidationError as error:
        problem = invalid_problem(error, within)
    except ProblemError as error:
        problem = error
    named = event if isinstance(event, dict) else {}
    source, key = named.get("source"), named.get("idempotency_key")
    if not (_is_text(source) and _is_text(key)):
        # Without both nothing could find it again, and a repetition would be kept a second time.
        raise problem
    kept = kept_body(event, EventBody.model_fields)
    print_ = fingerprint(json.dumps(kept).encode())
    return Quarantine(str(key), print_, str(source), problem.code, problem.detail, kept), problem.field


def _is_text(value: object) -> bool:
    try:
        _words.validate_python(value)
    except ValidationError:
        return False
    return True
