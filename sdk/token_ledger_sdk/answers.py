"""From an HTTP answer to a value or to one error of the tree in `errors.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import errors
from .directives import Directive, Fits, Refusal
from .errors import ApiError, BudgetExceeded, FieldError, InvalidAnswer, Problem, Unreachable
from .fields import Fields

_BY_CODE: Mapping[str, type[ApiError]] = {
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

# A proxy in between answers without our codes, so the status decides where the code is unknown.
_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthenticated,
    402: errors.Denied,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.InvalidRequest,
    422: errors.InvalidRequest,
    429: errors.Unavailable,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, body, and how long to wait if the service said so."""

    status: int
    content: bytes
    retry_after_seconds: float | None = None

    def read(self) -> Fields:
        """Return the body's fields, or raise the `ApiError` it describes."""
        if not 200 <= self.status < 300:
            raise error_from(self)
        try:
            return Fields(json.loads(self.content))
        except ValueError:
            raise InvalidAnswer(f"the answer with status {self.status} is not JSON") from None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back; `may_retry` is false for requests that cannot be sent at all."""

    cause: Exception
    may_retry: bool = field(default=True)

    def read(self) -> Fields:
        """Raise `Unreachable`, from the transport's own error."""
        name = type(self.cause).__name__
        raise Unreachable(f"Token Ledger gave no answer: {name}: {self.cause}") from self.cause


def error_from(answer: Answer) -> ApiError:
    """Build the error an answer describes, by its code, else by its status."""
    return error_of(_problem(answer))


def error_of(problem: Problem) -> ApiError:
    """Build the error a problem describes."""
    if problem.code == "budget_exceeded":
        return budget_exceeded(problem)
    kind = _BY_CODE.get(problem.code) or _BY_STATUS.get(problem.status, ApiError)
    return kind(problem)


def budget_exceeded(problem: Problem) -> BudgetExceeded:
    """Build the denial with its refusals from a problem of code `budget_exceeded`."""
    fields = Fields(problem.extra, "problem")
    return BudgetExceeded(
        problem,
        denial_id=fields.optional_text("denial_id"),
        refusals=tuple(Refusal.parse(item) for item in fields.children("refusals")),
        fits=Fits.parse(fields.optional_child("fits")),
        directive=Directive.parse(fields.optional_child("directive")),
    )


def _problem(answer: Answer) -> Problem:
    fields = _problem_fields(answer.content)
    return Problem(
        status=answer.status,
        code=_text(fields, "code"),
        title=_text(fields, "title"),
        detail=_text(fields, "detail"),
        field_errors=_field_errors(fields.get("errors")),
        retry_after_seconds=answer.retry_after_seconds,
        extra=fields,
    )


def _problem_fields(content: bytes) -> Mapping[str, object]:
    # An error page of a proxy must still become an error of its status, not a parsing failure.
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _field_errors(value: object) -> tuple[FieldError, ...]:
    if not isinstance(value, list):
        return ()
    items = [item for item in value if isinstance(item, dict)]
    return tuple(FieldError(_text(item, "field"), _text(item, "message")) for item in items)
