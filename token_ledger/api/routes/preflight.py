"""The route of preflights, which ask whether planned calls would fit."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Caller
from token_ledger.api.service import decide
from token_ledger.core.batch.outcomes import PreflightAnswer
from token_ledger.wire.answers.preflight import PreflightReport, preflight_answer
from token_ledger.wire.bodies.preflight import PreflightBody
from token_ledger.wire.commands.preflight import preflight_command

router = APIRouter(prefix="/v1", tags=["reservations"])


@router.post("/preflight")
async def preflight(request: Request, caller: Caller, body: PreflightBody) -> PreflightReport:
    """Ask whether planned calls would fit.

    The calls are decided one after the other, as reserves would be now, and what stops the first that does not fit is
    shown. Nothing is held or recorded.
    """
    return preflight_answer(await decide(request, caller.tenant, PreflightAnswer, preflight_command(body)))
