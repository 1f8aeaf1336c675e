"""The route of short-lived tokens, for browsers."""

import time

from fastapi import APIRouter, Request

from token_ledger.api.access import Caller
from token_ledger.api.ownership import no_run
from token_ledger.api.service import reading, service_of
from token_ledger.identity.short_lived_tokens import new_token
from token_ledger.storage.reads.runs import find_run
from token_ledger.wire.answers.api_keys import TokenAnswer, token_answer
from token_ledger.wire.bodies.api_keys import TokenBody
from token_ledger.wire.problems import ProblemError, RequestCode, invalid_field

router = APIRouter(prefix="/v1", tags=["keys"])


@router.post("/tokens", status_code=201)
async def issue_token(request: Request, caller: Caller, body: TokenBody) -> TokenAnswer:
    """Make a short-lived token for one user or one run.

    For a browser, which must not have an API key. The token ends with the key that issues it.
    """
    if (body.user is None) == (body.run_id is None):
        raise invalid_field("user", "give user or run_id, one of them")
    if caller.person is not None:
        detail = "send an API key: a token ends when the key that issued it is revoked"
        raise ProblemError(RequestCode.FORBIDDEN, detail)
    run_id = None if body.run_id is None else int(body.run_id)
    if run_id is not None:
        async with reading(request, caller.tenant) as connection:
            if await find_run(connection, caller.tenant, run_id) is None:
                raise no_run(run_id)
    token = new_token(
        service_of(request).authenticator.token_key, caller.tenant, caller.key_id,
        user=body.user, run_id=run_id, now=int(time.time()), ttl_seconds=body.ttl_seconds,
    )  # fmt: skip
    return token_answer(token, body)
