"""Routes of triggers."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.service import decide, reading
from token_ledger.core.batch import outcomes
from token_ledger.storage.reads.triggers import find_triggers
from token_ledger.wire.answers.triggers import TriggerAnswer, TriggerList, trigger_answer
from token_ledger.wire.bodies.triggers import TriggerBody
from token_ledger.wire.commands.triggers import set_trigger_command

router = APIRouter(prefix="/v1", tags=["triggers"])


@router.post("/triggers", status_code=201)
async def set_trigger(request: Request, admin: Admin, body: TriggerBody) -> TriggerAnswer:
    """Set the trigger of a kind.

    It replaces the one before. Triggers are evaluated on every reserve; calls are changed only with the mode `apply`
    or where the call itself allows it.
    """
    command = set_trigger_command(body, actor_of(admin))
    outcome = await decide(request, admin.tenant, outcomes.TriggerAnswer, command)
    return trigger_answer(outcome.trigger, replayed=outcome.replayed)


@router.get("/triggers")
async def list_triggers(request: Request, finance: Finance) -> TriggerList:
    """List triggers.

    One per kind that is set.
    """
    async with reading(request, finance.tenant) as connection:
        found = await find_triggers(connection, finance.tenant)
    return {"triggers": [trigger_answer(trigger) for trigger in found]}
