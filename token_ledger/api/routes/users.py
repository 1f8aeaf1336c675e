"""Routes of users."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, Finance, actor_of
from token_ledger.api.parameters import PageSize, UserName
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.outcomes import Changed
from token_ledger.storage.reads.users import find_users
from token_ledger.storage.upkeep.erasures import is_known
from token_ledger.wire.answers import audit as changes
from token_ledger.wire.answers import users as answers
from token_ledger.wire.bodies.tenants import KeyBody
from token_ledger.wire.bodies.users import UsersBody
from token_ledger.wire.commands.users import erase_user_command, set_users_command
from token_ledger.wire.fields import Name

router = APIRouter(prefix="/v1", tags=["users"])


@router.put("/users")
async def set_users(request: Request, admin: Admin, body: UsersBody) -> changes.ChangeAnswer:
    """Add users or give them other cost centers.

    Cost centers replace what is stored from the first instant on that they are given for. Users that are not named stay
    as they are. Calls for users that were never added work too; they have no cost center.
    """
    command = set_users_command(body, actor_of(admin))
    return changes.change_answer(await decide(request, admin.tenant, Changed, command))


@router.get("/users")
async def list_users(
    request: Request,
    finance: Finance,
    after: Annotated[Name | None, Query(description="Return users after this name.", examples=["ada"])] = None,
    limit: PageSize = 200,
) -> answers.UserList:
    """List users with their cost centers.

    By name.
    """
    async with reading(request, finance.tenant) as connection:
        found = await find_users(connection, finance.tenant, after=after or "", limit=limit)
    return {"users": [answers.user_answer(user) for user in found]}


@router.post("/users/{user:path}/erase")
async def erase_user(request: Request, admin: Admin, user: UserName, body: KeyBody) -> changes.ErasureAnswer:
    """Erase a user's name.

    A pseudonym replaces it everywhere, and every sum stays. Older rows are renamed in the background: send the same
    request again to see whether that is still `under_way`.
    """
    async with reading(request, admin.tenant) as connection:
        known = await is_known(connection, admin.tenant, user)
    command = erase_user_command(body, user, known, actor_of(admin))
    return changes.erasure_answer(await decide(request, admin.tenant, Changed, command))
