"""The route of reversals: what was booked wrongly is taken back."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, actor_of
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.outcomes import Reversed
from token_ledger.storage.reads.bookings import find_booked
from token_ledger.wire.answers.reversals import ReversalAnswer, reversal_answer
from token_ledger.wire.bodies.reversals import ReversalBody
from token_ledger.wire.commands.reversals import reversal_command
from token_ledger.wire.problems import invalid_field

router = APIRouter(prefix="/v1", tags=["events"])


@router.post("/reversals", status_code=201)
async def reverse(request: Request, admin: Admin, body: ReversalBody) -> ReversalAnswer:
    """Reverse what was booked under a key.

    For calls booked on the wrong user, or test traffic. Every event is taken back by a correction: an event of the
    opposite amounts, at the same instant and on the same accounts. They get room again, and reports of that time show
    what is left. An event is taken back once: the same request again returns the stored answer, and another reason for
    the same key is a conflict.
    """
    # Finding the calls of a large lease may take long, so it is done before the batch.
    async with reading(request, admin.tenant) as connection:
        try:
            booked = await find_booked(connection, admin.tenant, body.source, body.key)
        except ValueError as error:
            raise invalid_field("key", str(error)) from None
    command = reversal_command(
        body, booked.events, booked.reservation_id, is_complete=booked.is_complete, actor=actor_of(admin)
    )
    return reversal_answer(await decide(request, admin.tenant, Reversed, command))
