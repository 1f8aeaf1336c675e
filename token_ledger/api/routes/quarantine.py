"""Routes of quarantine: what could not be booked, and what becomes of it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.parameters import OlderThan, PageSize, QuarantineId
from token_ledger.api.service import changing, reading
from token_ledger.core.model.principal import Principal
from token_ledger.storage.quarantine import State, Verdict, decide_quarantined, find_quarantined
from token_ledger.wire.answers.quarantine import QuarantinedAnswer, QuarantineList, quarantined_answer
from token_ledger.wire.bodies.quarantine import VerdictBody
from token_ledger.wire.problems import ProblemError, RequestCode, not_found

router = APIRouter(prefix="/v1", tags=["quarantine"])


@router.get("/quarantine")
async def list_quarantine(
    request: Request,
    finance: Finance,
    state: Annotated[State, Query(description="Return items in this state.", examples=["open"])] = "open",
    after: OlderThan = None,
    limit: PageSize = 100,
) -> QuarantineList:
    """List what could not be booked.

    Newest first. Without parameters, what nobody has decided on yet.
    """
    before = None if after is None else int(after)
    async with reading(request, finance.tenant) as connection:
        found = await find_quarantined(connection, finance.tenant, state=state, after=before, limit=limit)
    return {"quarantine": [quarantined_answer(item) for item in found]}


@router.post("/quarantine/{quarantine_id}/resolve")
async def resolve_quarantined(
    request: Request, admin: Admin, quarantine_id: QuarantineId, body: VerdictBody
) -> QuarantinedAnswer:
    """Resolve an item: it is booked now.

    Book it first, for example by sending the corrected event. This only takes it off the list.
    """
    return await _decide(request, admin, quarantine_id, body, "resolved")


@router.post("/quarantine/{quarantine_id}/dismiss")
async def dismiss_quarantined(
    request: Request, admin: Admin, quarantine_id: QuarantineId, body: VerdictBody
) -> QuarantinedAnswer:
    """Dismiss an item: there is nothing to book.

    This only takes it off the list.
    """
    return await _decide(request, admin, quarantine_id, body, "dismissed")


async def _decide(
    request: Request, admin: Principal, quarantine_id: int, body: VerdictBody, verdict: Verdict
) -> QuarantinedAnswer:
    async with changing(request, admin.tenant) as connection:
        item = await decide_quarantined(
            connection, admin.tenant, quarantine_id, verdict, body.note, actor=actor_of(admin)
        )
    if item is None:
        raise not_found("quarantine_id", f"there is no item {quarantine_id} in quarantine")
    if (item.state, item.note) != (verdict, body.note):
        detail = f"item {quarantine_id} was {item.state} before: {item.note}"
        raise ProblemError(RequestCode.QUARANTINE_DECIDED, detail, field="quarantine_id")
    return quarantined_answer(item)
