"""Routes of duplicates: whether the reports of one response of a provider are one call."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.outcomes import Changed
from token_ledger.storage.tenants import finds_duplicates
from token_ledger.wire.answers.audit import ChangeAnswer, change_answer
from token_ledger.wire.answers.tenants import DuplicatesState
from token_ledger.wire.bodies.tenants import DuplicatesBody
from token_ledger.wire.commands.tenants import set_duplicates_command

router = APIRouter(prefix="/v1", tags=["duplicates"])


@router.get("/duplicates")
async def get_duplicates(request: Request, finance: Finance) -> DuplicatesState:
    """Show whether duplicates are detected.

    They are, unless an administrator has switched that off.
    """
    async with reading(request, finance.tenant) as connection:
        return {"found": await finds_duplicates(connection, finance.tenant)}


@router.post("/duplicates")
async def set_duplicates(request: Request, admin: Admin, body: DuplicatesBody) -> ChangeAnswer:
    """Switch the detection of duplicates on or off.

    What was booked before stays as it is.
    """
    command = set_duplicates_command(body, actor_of(admin))
    return change_answer(await decide(request, admin.tenant, Changed, command))
