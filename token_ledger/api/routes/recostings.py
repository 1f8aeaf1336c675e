"""Routes of re-costing: what calls cost whose price was not known when they were booked, or was corrected since."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, actor_of
from token_ledger.api.service import decide, reading, service_of
from token_ledger.core.batch.outcomes import Recosted
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.reads.recostings import Look, Wanted, look
from token_ledger.wire.answers.recostings import RecostingAnswer, RecostingPreview, preview_answer, recosting_answer
from token_ledger.wire.bodies import recostings as bodies
from token_ledger.wire.commands.recostings import recost_command, wanted_calls
from token_ledger.wire.fields import Instant, Name, Place
from token_ledger.wire.problems import invalid_field

router = APIRouter(prefix="/v1", tags=["prices"])

Provider = Annotated[Name | None, Query(description=bodies.PROVIDER, examples=["house"])]
Model = Annotated[Name | None, Query(description=bodies.MODEL, examples=["summarizer"])]
Since = Annotated[Instant | None, Query(description=bodies.SINCE, examples=["2026-11-01T00:00:00Z"])]
Until = Annotated[Instant | None, Query(description=bodies.UNTIL, examples=["2026-12-01T00:00:00Z"])]
AlsoPriced = Annotated[bool, Query(description=bodies.ALSO_PRICED, examples=[True])]
After = Annotated[Place | None, Query(description=bodies.AFTER, examples=["68419584/summarizer"])]


@router.get("/recostings")
async def preview_recosting(
    request: Request, admin: Admin, provider: Provider = None, model: Model = None, since: Since = None,
    until: Until = None, also_priced: AlsoPriced = False, after: After = None,
) -> RecostingPreview:  # fmt: skip
    """Show what re-costing would change.

    Calls of which a part had no price when they were booked, and has one now that is valid at their time; with
    `also_priced` also those that cost something else by now, because the price of their time was corrected. An answer
    is about at most 500 of them; `next` says where to continue. Nothing is changed.
    """
    wanted = wanted_calls(provider, model, since, until, also_priced=also_priced)
    return preview_answer(await _look(request, admin.tenant, wanted, after))


@router.post("/recostings", status_code=201)
async def recost(request: Request, admin: Admin, body: bodies.RecostingBody) -> RecostingAnswer:
    """Re-cost calls whose price was not known, or was corrected since.

    For each of them an event is booked with what it costs more or less, without calls and tokens, at the same instant
    and on the same accounts. Only what had no price changes; with `also_priced`, all. A request re-costs at most
    500; send another with `next` as its `after` until that is null. What is re-costed is not found again.
    """
    wanted = wanted_calls(body.provider, body.model, body.since, body.until, also_priced=body.also_priced)
    # Finding them may take long, so it is done before the batch.
    found = await _look(request, admin.tenant, wanted, body.after)
    return recosting_answer(await decide(request, admin.tenant, Recosted, recost_command(body, found, actor_of(admin))))


async def _look(request: Request, tenant: TenantId, wanted: Wanted, after: str | None) -> Look:
    async with reading(request, tenant) as connection:
        book = await service_of(request).prices_of(connection, tenant)
        try:
            return await look(connection, tenant, book, wanted, after)
        except ValueError as error:
            raise invalid_field("after", str(error)) from None
