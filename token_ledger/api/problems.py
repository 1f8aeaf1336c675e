"""Owns errors on the wire: RFC 9457 problem+json with a stable code and the field at fault."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from token_ledger.core.outcomes import Code, Denied, Quarantined, Refused
from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable, Unstorable

RETRY_AFTER_SECONDS = "1"

STATUS_OF = {
    Code.TENANT_STOPPED: HTTPStatus.PAYMENT_REQUIRED,
    Code.BUDGET_EXCEEDED: HTTPStatus.PAYMENT_REQUIRED,
    Code.NOT_ALLOCATED: HTTPStatus.PAYMENT_REQUIRED,
    Code.LEASE_TOO_SMALL: HTTPStatus.PAYMENT_REQUIRED,
    Code.ITERATIONS_EXCEEDED: HTTPStatus.PAYMENT_REQUIRED,
    Code.UNKNOWN_MODEL: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.RUN_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.RUN_NOT_OPEN: HTTPStatus.CONFLICT,
    Code.RUN_TOO_DEEP: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.RUN_OF_ANOTHER: HTTPStatus.CONFLICT,
    Code.RESERVATION_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.RESERVATION_NOT_OPEN: HTTPStatus.CONFLICT,
    Code.IDEMPOTENCY_CONFLICT: HTTPStatus.CONFLICT,
    Code.INFEASIBLE_ALLOCATION: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.BUDGET_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.BUDGET_EXISTS: HTTPStatus.CONFLICT,
    Code.ACCOUNT_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ACCOUNT_CLOSED: HTTPStatus.CONFLICT,
    Code.NO_LIMIT: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.INCREASE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.INCREASE_DECIDED: HTTPStatus.CONFLICT,
    Code.TIME_OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.INVALID_REQUEST: HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""A denial is 402: provider SDKs retry 408, 409, 429 and 5xx, so a denied agent would hammer (design D3)."""


class ProblemError(Exception):
    """A request that ends in a problem."""

    def __init__(
        self, status: int, code: str, detail: str, *, field: str | None = None, headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra
        if field is not None:
            self.extra["errors"] = [{"field": field, "message": detail}]

    def value(self) -> dict[str, Any]:
        """Return the body of the problem."""
        return problem_value(self.status, self.code, self.detail, **self.extra)


def problem_value(status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """Return a problem as RFC 9457 writes it."""
    return {
        "type": f"urn:token-ledger:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": int(status),
        "detail": detail,
        "code": str(code),
        **extra,
    }


def problem_response(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
) -> Response:
    """Return a problem+json response."""
    value = problem_value(status, code, detail, **extra)
    return Response(json.dumps(value), int(status), headers, "application/problem+json")


def refused_problem(outcome: Refused | Quarantined) -> ProblemError:
    """Return the problem that a refusal is; one that kept what came says where."""
    if isinstance(outcome, Quarantined):
        status = STATUS_OF.get(Code(outcome.code), HTTPStatus.CONFLICT)
        return ProblemError(
            status, outcome.code, outcome.detail, quarantine_id=str(outcome.quarantine_id), replayed=outcome.replayed
        )
    return ProblemError(
        STATUS_OF[outcome.code], outcome.code.value, outcome.detail, field=outcome.field, **outcome.extra
    )


def denied_problem(outcome: Denied) -> ProblemError:
    """Return the 402 that a denial is: which accounts said no, with their figures, and what would still fit."""
    from token_ledger.api.values import refusals_value

    denial = outcome.denial
    refusals = refusals_value(denial.refusals)
    return ProblemError(
        STATUS_OF[denial.code],
        denial.code.value,
        _denial_detail(denial.code, denial.facts.agent_type, refusals),
        denial_id=str(denial.denial_id),
        refusals=refusals,
        fits=None if denial.fits_output_tokens is None else {"max_output_tokens": denial.fits_output_tokens},
        # Where a lease is too small there is still room for single calls.
        directive={"stop": denial.code is not Code.LEASE_TOO_SMALL},
        replayed=outcome.replayed,
    )


def _denial_detail(code: Code, agent_type: str, refusals: Sequence[dict[str, Any]]) -> str:
    if code is Code.NOT_ALLOCATED:
        return f"the run is strict and allocates nothing to agent type {agent_type!r}"
    first = refusals[0]
    if code is Code.LEASE_TOO_SMALL:
        return (
            f"budget {first['budget']!r} has {first['available']} of {first['limit']} {first['unit']} left, too little"
            f" to lend; make single calls"
        )
    return (
        f"budget {first['budget']!r} has {first['available']} of {first['limit']} {first['unit']} left,"
        f" the call needs {first['requested']}"
    )


def invalid_problem(error: ValidationError, within: str = "") -> ProblemError:
    """Return the problem for a body that does not fit, naming every field at fault."""
    errors = [
        {"field": _path(within, found["loc"]), "message": found["msg"]}
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    if errors[0]["message"].startswith("Invalid JSON"):
        return ProblemError(HTTPStatus.BAD_REQUEST, "malformed_json", errors[0]["message"])
    first = errors[0]
    detail = f"{first['field'] or 'the body'}: {first['message']}"
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, Code.INVALID_REQUEST.value, detail, errors=errors)


def _path(within: str, location: Sequence[str | int]) -> str:
    # A field that the caller made up may have a name that neither JSON nor the database can write.
    path = ".".join(str(part) for part in (*([within] if within else []), *location) if part != "body")
    return path if path.isprintable() else ascii(path)[1:-1]


def media_type_problem(request: Request) -> ProblemError:
    """Return the problem for a body that does not say it is JSON."""
    found = request.headers.get("content-type", "no type")
    return ProblemError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", f"send application/json, not {found}"
    )


def ledger_problem(error: LedgerError) -> ProblemError:
    """Return the problem for a command that has no outcome."""
    retry = {"Retry-After": RETRY_AFTER_SECONDS}
    if isinstance(error, OutcomeUnknown):
        detail = "the connection to the database was lost at commit; send the same idempotency key again"
        return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "outcome_unknown", detail, headers=retry)
    if isinstance(error, Unstorable):
        return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, Code.INVALID_REQUEST.value, str(error))
    assert isinstance(error, Unavailable)
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error), headers=retry)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer a ProblemError, wherever it was raised."""
    assert isinstance(error, ProblemError)
    return problem_response(error.status, error.code, error.detail, headers=error.headers, **error.extra)
