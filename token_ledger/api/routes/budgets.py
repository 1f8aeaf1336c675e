"""Routes of budgets."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.parameters import BudgetId
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import BudgetAnswer
from token_ledger.core.model.principal import Principal
from token_ledger.storage.reads.budgets import find_budgets
from token_ledger.wire.answers import budgets as answers
from token_ledger.wire.bodies.budgets import BudgetBody, BudgetChangeBody
from token_ledger.wire.commands import budgets as commands

router = APIRouter(prefix="/v1", tags=["budgets"])


@router.post("/budgets", status_code=201)
async def create_budget(request: Request, admin: Admin, body: BudgetBody) -> answers.BudgetAnswer:
    """Create a budget.

    From now on, calls that its selector chooses count on it: each on the account of its subject and of the window that
    is open.
    """
    return await _decided(request, admin, commands.create_budget_command(body, actor_of(admin)))


@router.get("/budgets")
async def list_budgets(request: Request, finance: Finance) -> answers.BudgetList:
    """List budgets.

    All of them, archived ones too.
    """
    async with reading(request, finance.tenant) as connection:
        found = await find_budgets(connection, finance.tenant)
    return {"budgets": [answers.budget_answer(budget, archived=archived) for budget, archived in found]}


@router.patch("/budgets/{budget_id}")
async def change_budget(
    request: Request, admin: Admin, budget_id: BudgetId, body: BudgetChangeBody
) -> answers.BudgetAnswer:
    """Change a budget.

    What is left out stays, null removes. Open accounts take the change over with the next call that falls on them, and
    keep what is spent. A limit may be set below that.
    """
    return await _decided(request, admin, commands.change_budget_command(body, budget_id, actor_of(admin)))


@router.delete("/budgets/{budget_id}")
async def archive_budget(request: Request, admin: Admin, budget_id: BudgetId) -> answers.BudgetAnswer:
    """Archive a budget.

    It selects no more calls. Its accounts and their history stay.
    """
    return await _decided(request, admin, commands.archive_budget_command(budget_id, actor_of(admin)))


async def _decided(request: Request, admin: Principal, command: Command) -> answers.BudgetAnswer:
    outcome = await decide(request, admin.tenant, BudgetAnswer, command)
    return answers.budget_answer(outcome.budget, archived=outcome.archived, replayed=outcome.replayed)
