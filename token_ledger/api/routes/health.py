"""Routes of the process itself: is it up, and can it serve. They need no key."""

from fastapi import APIRouter, Request

import token_ledger
from token_ledger.api.service import service_of
from token_ledger.wire.answers.health import Health, Readiness
from token_ledger.wire.problems import RETRY_AFTER_SECONDS, ProblemError, RequestCode

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """Tell whether the process is up.

    It does not look at the database.
    """
    return {"status": "ok", "version": token_ledger.__version__}


@router.get("/readyz")
async def readyz(request: Request) -> Readiness:
    """Tell whether the process can serve.

    It can when the database answers, has the schema of this version, and takes a write. 503 says what is missing. The
    database is asked once a second at most, however often this is.
    """
    reason = await service_of(request).why_not_ready()
    if reason is not None:
        raise ProblemError(RequestCode.UNAVAILABLE, reason, headers={"Retry-After": RETRY_AFTER_SECONDS})
    return {"status": "ready"}
