"""Routes of names of models."""

from fastapi import APIRouter, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.parameters import After, PageSize
from token_ledger.api.service import decide, reading, service_of
from token_ledger.core.batch.outcomes import Changed
from token_ledger.storage.reads.model_names import find_model_names
from token_ledger.wire.answers.audit import ChangeAnswer, change_answer
from token_ledger.wire.answers.model_names import ModelNameList, model_name_answer
from token_ledger.wire.bodies.model_names import RenamingBody
from token_ledger.wire.commands.model_names import rename_model_command

router = APIRouter(prefix="/v1", tags=["model names"])


@router.get("/model-names")
async def list_model_names(
    request: Request, finance: Finance, after: After = "0", limit: PageSize = 200
) -> ModelNameList:
    """List names of models, and what they are called in the books.

    In the order of the decisions. A name keeps its meaning when prices are refreshed; `differs` says where the price
    book would call a model otherwise by now.
    """
    async with reading(request, finance.tenant) as connection:
        prices = await service_of(request).prices_of(connection, finance.tenant)
        found = await find_model_names(connection, finance.tenant, prices, after=int(after), limit=limit)
    return {"model_names": [model_name_answer(each) for each in found]}


@router.post("/model-names")
async def rename_model(request: Request, admin: Admin, body: RenamingBody) -> ChangeAnswer:
    """Rename a model in the books.

    From now on its calls have the new name, and fall on the budgets of that. What was booked before keeps the old one.
    When no name leads to the old one any more, what is settled and held on its accounts per model (`"model": "*"`) goes
    to those of the new name, in windows that are under way.
    """
    command = rename_model_command(body, actor_of(admin))
    return change_answer(await decide(request, admin.tenant, Changed, command))
