"""Routes of the tenant's calendar."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.outcomes import Changed
from token_ledger.storage.reads.calendar import find_calendar
from token_ledger.wire.answers.audit import ChangeAnswer, change_answer
from token_ledger.wire.answers.tenants import CalendarAnswer, calendar_rule_answer
from token_ledger.wire.bodies.tenants import CalendarBody
from token_ledger.wire.commands.tenants import set_calendar_command

router = APIRouter(prefix="/v1", tags=["calendar"])


@router.get("/calendar")
async def get_calendar(request: Request, finance: Finance) -> CalendarAnswer:
    """Show the calendar.

    The rule that the tenant began with, then every change, planned ones too.
    """
    async with reading(request, finance.tenant) as connection:
        found = await find_calendar(connection, finance.tenant)
    return {"calendar": [calendar_rule_answer(change) for change in found]}


@router.post("/calendar")
async def set_calendar(request: Request, admin: Admin, body: CalendarBody) -> ChangeAnswer:
    """Change time zone, first day of a week or fiscal year.

    Windows that are open keep their ends. The change replaces all that are planned for its instant or later; to
    withdraw a plan, change to the rule that it would have ended.
    """
    command = set_calendar_command(body, actor_of(admin))
    return change_answer(await decide(request, admin.tenant, Changed, command))
