"""From the body of an error answer (RFC 9457) to one error of the tree in `errors.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from .. import errors
from ..directives import NO_DIRECTIVE, Directive, Fits, Refusal
from .fields import Fields

_BY_CODE: Mapping[str, type[errors.ApiError]] = {
    "not_allocated": errors.NotAllocated,
    "lease_too_small": errors.LeaseTooSmall,
    "iterations_exceeded": errors.IterationsExceeded,
    "tenant_stopped": errors.TenantStopped,
    "unknown_model": errors.UnknownModel,
    "idempotency_conflict": errors.IdempotencyConflict,
    "run_not_open": errors.RunNotOpen,
    "reservation_not_open": errors.ReservationNotOpen,
    "outcome_unknown": errors.OutcomeUnknown,
}

# A proxy does not know our codes, so the status decides where the code is unknown.
_BY_STATUS: Mapping[int, type[errors.ApiError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthenticated,
    402: errors.Denied,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.InvalidRequest,
    422: errors.InvalidRequest,
    429: errors.Unavailable,
}


@dataclass(frozen=True, slots=True)
class _Denial:
    denial_id: str | None
    refusals: tuple[Refusal, ...]
    fits: Fits | None
    directive: Directive = NO_DIRECTIVE


def error_from(problem: errors.Problem) -> errors.ApiError:
    """Build the error that a problem describes, by its code, else by its status."""
    if problem.code == "budget_exceeded":
        return _budget_exceeded(problem)
    if problem.code == "run_not_open" and problem.extra.get("run_state") == "cancelled":
        return errors.RunCancelled(problem)
    otherwise = errors.Unavailable if problem.status >= 500 else errors.ApiError
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(problem.status, otherwise)
    return kind(problem)


def problem_from(status: int, content: bytes, retry_after_seconds: float | None = None) -> errors.Problem:
    """Read the body of an error answer; one that is not JSON, such as a proxy's page, leaves only the status."""
    try:
        body = json.loads(content)
    except ValueError:
        body = {}
    return problem_of(status, body if isinstance(body, dict) else {}, retry_after_seconds)


def problem_of(status: int, body: Mapping[str, object], retry_after_seconds: float | None = None) -> errors.Problem:
    """Read a problem's JSON object; members of another type than expected count as absent."""
    return errors.Problem(
        status=status,
        code=_text(body, "code"),
        title=_text(body, "title"),
        detail=_text(body, "detail"),
        field_errors=_field_errors(body.get("errors")),
        retry_after_seconds=retry_after_seconds,
        extra=body,
    )


def _budget_exceeded(problem: errors.Problem) -> errors.BudgetExceeded:
    denial = Fields(problem.extra, "problem").read(_Denial)
    return errors.BudgetExceeded(
        problem,
        denial_id=denial.denial_id,
        refusals=denial.refusals,
        fits=denial.fits,
        directive=denial.directive,
    )


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _field_errors(value: object) -> tuple[errors.FieldError, ...]:
    if not isinstance(value, list):
        return ()
    items = [item for item in value if isinstance(item, dict)]
    return tuple(errors.FieldError(_text(item, "field"), _text(item, "message")) for item in items)
