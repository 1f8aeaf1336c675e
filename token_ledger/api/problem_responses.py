"""Owns the HTTP responses of problems (RFC 9457, application/problem+json), whatever raised them."""

import json
import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable
from token_ledger.storage.database import CommitLost, DatabaseAway
from token_ledger.wire.problems import ProblemError, RequestCode, fields_problem, ledger_problem
from token_ledger.wire.validation_errors import message_of

log = logging.getLogger(__name__)

_CODES = {
    400: RequestCode.MALFORMED_JSON,  # of a body that FastAPI cannot decode
    404: RequestCode.NOT_FOUND,
    405: RequestCode.METHOD_NOT_ALLOWED,
    413: RequestCode.BODY_TOO_LARGE,
}


def problem_response(problem: ProblemError) -> Response:
    """Return the response of a problem."""
    return Response(json.dumps(problem.body()), problem.status, problem.headers, "application/problem+json")


ANSWERED = (ProblemError, LedgerError, DatabaseAway)
"""Errors that say what the caller can do."""


def problem_of(error: Exception) -> ProblemError:
    """Return the problem for one of the errors that are `ANSWERED`; what it leaves out is logged."""
    if isinstance(error, ProblemError):
        return error
    if not isinstance(error, LedgerError):
        error = (OutcomeUnknown if isinstance(error, CommitLost) else Unavailable)(str(error))
    problem = ledger_problem(error)
    if problem.detail not in str(error) or ": " in str(error):
        log.warning("a request was not decided", extra={"answer": problem.code, "reason": str(error)})
    return problem


def media_type_problem(request: Request) -> ProblemError:
    """Return the problem of a body that does not say it is JSON."""
    found = request.headers.get("content-type", "no type")
    detail = f"send the body as application/json, not as {found}"
    return ProblemError(RequestCode.UNSUPPORTED_MEDIA_TYPE, detail)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error with a problem."""

    async def answered(request: Request, error: Exception) -> Response:
        return problem_response(problem_of(error))

    for kind in ANSWERED:
        app.add_exception_handler(kind, answered)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return problem_response(_validation_problem(request, error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, RequestCode.HTTP_ERROR)
        headers = dict(error.headers or {})
        return problem_response(ProblemError(code, str(error.detail), status=error.status_code, headers=headers))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # The server's log has the trace. The caller learns that the fault is not theirs and that nothing was booked.
        detail = "an unexpected error in the service; the operation was not booked, so send it again or report it"
        return problem_response(ProblemError(RequestCode.INTERNAL_ERROR, detail))


def _validation_problem(request: Request, error: RequestValidationError) -> ProblemError:
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return ProblemError(RequestCode.MALFORMED_JSON, "the body is not JSON; send a JSON object")
    if isinstance(error.body, bytes):  # FastAPI leaves a body of another type as it came
        return media_type_problem(request)
    # The first part of a location says where the field is: body, query, path.
    return fields_problem([(each["loc"][1:], message_of(each)) for each in found])
