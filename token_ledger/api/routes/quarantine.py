"""Routes of quarantine: what could not be booked, and what becomes of it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.parameters import OlderThan, PageSize, QuarantineId
from token_ledger.api.service import changing, reading
from token_ledger.core.batch.commands import sources_of_events
from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.principal import Principal
from token_ledger.storage.quarantine import (
    Chosen,
    State,
    Verdict,
    decide_chosen,
    decide_quarantined,
    find_quarantined,
)  # fmt: skip
from token_ledger.wire.answers.quarantine import QuarantinedAnswer, QuarantineList, VerdictsAnswer, quarantined_answer
from token_ledger.wire.bodies.quarantine import VerdictBody, VerdictsBody
from token_ledger.wire.commands.fields import fingerprint_of
from token_ledger.wire.problems import ProblemError, RequestCode, invalid_field, not_found

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


@router.post("/quarantine/resolve")
async def resolve_many(request: Request, admin: Admin, body: VerdictsBody) -> VerdictsAnswer:
    """Resolve items by what they have in common: they are booked now.

    The oldest first, at most 1,000 in a request; `left` says how many are left.
    """
    return await _decide_many(request, admin, body, "resolved")


@router.post("/quarantine/dismiss")
async def dismiss_many(request: Request, admin: Admin, body: VerdictsBody) -> VerdictsAnswer:
    """Dismiss items by what they have in common: there is nothing to book.

    The oldest first, at most 1,000 in a request; `left` says how many are left.
    """
    return await _decide_many(request, admin, body, "dismissed")


async def _decide_many(request: Request, admin: Principal, body: VerdictsBody, verdict: Verdict) -> VerdictsAnswer:
    ids = None if body.quarantine_ids is None else tuple(map(int, body.quarantine_ids))
    sources = None if body.source is None else (body.source, *sources_of_events(body.source))
    chosen = Chosen(body.code, sources, body.before, ids)
    if chosen == Chosen():
        raise invalid_field("code", "say which items: give a code, a source, before or quarantine_ids")
    async with changing(request, admin.tenant) as connection:
        done = await decide_chosen(
            connection, admin.tenant, chosen, verdict, body.note,
            key=body.idempotency_key, fingerprint=fingerprint_of(body), actor=actor_of(admin),
        )  # fmt: skip
    if done is None:
        detail = "this key was used before for other items or another note; use a new key for a new request"
        raise ProblemError(Code.IDEMPOTENCY_CONFLICT, detail, field="idempotency_key")
    return {"decided": done.decided, "left": done.left, "replayed": done.replayed}


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
