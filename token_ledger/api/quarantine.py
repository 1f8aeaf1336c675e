"""Routes of quarantine: what could not be booked, and what becomes of it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from token_ledger.api.access import ADMINS, FINANCE, Needs, actor_of, service_of
from token_ledger.api.answers import KeptAnswer
from token_ledger.api.holds import id_in_path
from token_ledger.api.kept import shown_body
from token_ledger.api.problems import ProblemError
from token_ledger.api.wire import Id
from token_ledger.api.wire_admin import VerdictBody
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.quarantine import Verdict, decide_quarantined, find_quarantined

router = APIRouter(prefix="/v1")
Admin = Annotated[Principal, Depends(Needs(ADMINS))]
Finance = Annotated[Principal, Depends(Needs(FINANCE))]


@router.get("/quarantine", tags=["events"])
async def list_quarantine(
    request: Request,
    finance: Finance,
    state: Literal["open", "resolved", "dismissed"] = "open",
    after: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, list[KeptAnswer]]:
    """List what could not be booked, newest first; `after` an item come those that are older."""
    before = None if after is None else int(after)
    async with service_of(request).database.reading(finance.tenant) as connection:
        found = await find_quarantined(connection, finance.tenant, state=state, after=before, limit=limit)
    return {"quarantine": [KeptAnswer(**_kept_value(kept)) for kept in found]}


@router.post("/quarantine/{quarantine_id}/resolve", response_model=KeptAnswer, tags=["events"])
async def resolve_quarantined(request: Request, admin: Admin, quarantine_id: str, body: VerdictBody) -> Any:
    """Say that what an item was about is in the books now, because it was reported again, corrected."""
    return await _decide(request, admin, body, "resolved")


@router.post("/quarantine/{quarantine_id}/dismiss", response_model=KeptAnswer, tags=["events"])
async def dismiss_quarantined(request: Request, admin: Admin, quarantine_id: str, body: VerdictBody) -> Any:
    """Say that there is nothing to book for an item."""
    return await _decide(request, admin, body, "dismissed")


async def _decide(request: Request, admin: Principal, body: VerdictBody, verdict: Verdict) -> dict[str, Any]:
    number = id_in_path(request, "quarantine_id")
    async with service_of(request).database.reading(admin.tenant) as connection:
        kept = await decide_quarantined(connection, admin.tenant, number, verdict, body.note, actor=actor_of(admin))
    if kept is None:
        detail = f"there is nothing {number} in quarantine"
        raise ProblemError(404, "not_found", detail, field="quarantine_id")
    if (kept["state"], kept["note"]) != (verdict, body.note):
        detail = f"item {number} was {kept['state']} before: {kept['note']}"
        raise ProblemError(409, "quarantine_decided", detail, field="quarantine_id")
    return _kept_value(kept)


def _kept_value(kept: dict[str, Any]) -> dict[str, Any]:
    return {**kept, "body": shown_body(kept["body"])}
