"""Errors on the wire (RFC 9457): a stable code, what is wrong, and the field at fault."""

from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import ValidationError

from token_ledger.core.batch.outcomes import Code, Denied, Outcome, Quarantined, Refused
from token_ledger.core.model.secrets import without_secrets
from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable, Unstorable
from token_ledger.wire.answers.denial_problem import DENIED, denial_detail, denial_members
from token_ledger.wire.validation_errors import message_of

RETRY_AFTER_SECONDS = "1"


class RequestCode(StrEnum):
    """Stable codes of what is wrong with a request itself, or with the service. Those of refusals are `Code`."""

    MALFORMED_JSON = "malformed_json"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TENANT_EXISTS = "tenant_exists"
    TOO_MANY_STREAMS = "too_many_streams"
    IDENTITY_PROVIDER_EXISTS = "identity_provider_exists"
    QUARANTINE_DECIDED = "quarantine_decided"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    HTTP_ERROR = "http_error"
    UNAVAILABLE = "unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"


STATUS_OF: dict[Code | RequestCode, HTTPStatus] = {
    Code.TENANT_STOPPED: DENIED,
    Code.BUDGET_EXCEEDED: DENIED,
    Code.NOT_ALLOCATED: DENIED,
    Code.LEASE_TOO_SMALL: DENIED,
    Code.ITERATIONS_EXCEEDED: DENIED,
    Code.UNKNOWN_MODEL: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.RUN_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.RUN_NOT_OPEN: HTTPStatus.CONFLICT,
    Code.RUN_TOO_DEEP: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.RUN_OF_ANOTHER: HTTPStatus.CONFLICT,
    Code.RESERVATION_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.RESERVATION_NOT_OPEN: HTTPStatus.CONFLICT,
    Code.RESERVATION_OPEN: HTTPStatus.CONFLICT,
    Code.BOOKING_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.BOOKING_REVERSED: HTTPStatus.CONFLICT,
    Code.IDEMPOTENCY_CONFLICT: HTTPStatus.CONFLICT,
    Code.INFEASIBLE_ALLOCATION: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.BUDGET_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.BUDGET_EXISTS: HTTPStatus.CONFLICT,
    Code.ACCOUNT_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ACCOUNT_CLOSED: HTTPStatus.CONFLICT,
    Code.NO_LIMIT: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.INCREASE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.INCREASE_DECIDED: HTTPStatus.CONFLICT,
    Code.USER_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ERASURE_UNDER_WAY: HTTPStatus.CONFLICT,
    Code.NOT_BOOKABLE: HTTPStatus.CONFLICT,
    Code.TIME_OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Code.INVALID_REQUEST: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestCode.MALFORMED_JSON: HTTPStatus.BAD_REQUEST,
    RequestCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    RequestCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    RequestCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    RequestCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    RequestCode.TENANT_EXISTS: HTTPStatus.CONFLICT,
    RequestCode.TOO_MANY_STREAMS: HTTPStatus.TOO_MANY_REQUESTS,
    RequestCode.IDENTITY_PROVIDER_EXISTS: HTTPStatus.CONFLICT,
    RequestCode.QUARANTINE_DECIDED: HTTPStatus.CONFLICT,
    RequestCode.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RequestCode.UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    RequestCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    RequestCode.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
    RequestCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    RequestCode.OUTCOME_UNKNOWN: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The HTTP status of every code."""

Expected = TypeVar("Expected", bound=Outcome)


class ProblemError(Exception):
    """A request that ends in an error: its stable code, what is wrong in words, and the field at fault if one is.

    `status` is the HTTP status, by default the one of the code; `extra` are further members of the problem. What is
    wrong may quote the request, but no key or token in it: answers end up in the logs of clients.
    """

    def __init__(
        self, code: Code | RequestCode, detail: str, *, field: str | None = None, status: int | None = None,
        headers: dict[str, str] | None = None, **extra: Any,
    ) -> None:  # fmt: skip
        detail = without_secrets(detail)
        super().__init__(detail)
        self.status = int(STATUS_OF[code] if status is None else status)
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra
        if field is not None:
            self.extra["errors"] = [{"field": without_secrets(field), "message": detail}]

    @property
    def field(self) -> str | None:
        """The first field at fault, or None where none is."""
        errors = self.extra.get("errors")
        return errors[0]["field"] if errors else None

    def body(self) -> dict[str, Any]:
        """Return the problem as RFC 9457 writes it."""
        return {
            "type": f"urn:token-ledger:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "code": str(self.code),
            **self.extra,
        }


def expect(kind: type[Expected], outcome: Outcome) -> Expected:
    """Return an outcome of the kind that a verb has when it succeeds; raise the problem that another one is."""
    if isinstance(outcome, kind):
        return outcome
    raise problem_of(outcome)


def problem_of(outcome: Outcome) -> ProblemError:
    """Return the problem that a refusal, a denial or a quarantined request is."""
    if isinstance(outcome, Denied):
        return _denied(outcome)
    if isinstance(outcome, Quarantined):
        return _quarantined(outcome)
    assert isinstance(outcome, Refused), outcome
    return _refused(outcome)


def _refused(outcome: Refused) -> ProblemError:
    field, detail = _field_at_fault(outcome)
    return ProblemError(outcome.code, detail, field=field, **outcome.extra)


def _field_at_fault(outcome: Refused | Quarantined) -> tuple[str | None, str]:
    """Return the field of the body that is at fault, if one is, and what is wrong."""
    field = None if outcome.field is None else _BODY_FIELDS.get(outcome.field, outcome.field)
    if outcome.code == Code.IDEMPOTENCY_CONFLICT and field != "idempotency_key":
        return field, f"{outcome.detail} ({field} differs)"
    return field, outcome.detail


_BODY_FIELDS = {
    "key": "idempotency_key",
    "booked_key": "key",
    "failed": "outcome",
    "event_kind": "type",
    "details": "measured",
    "cost_nanos": "cost",
    "shares": "allocation",
    "limits.nanos": "limits.cost",
    "amounts.tokens": "tokens",
    "amounts.nanos": "cost",
    "amounts.calls": "calls",
    "per_call_nanos": "per_call_cost",
}
"""The fields of commands that have another name in a request body."""


def _quarantined(outcome: Quarantined) -> ProblemError:
    field, detail = _field_at_fault(outcome)
    kept_as = str(outcome.quarantine_id)
    return ProblemError(
        Code(outcome.code), detail, field=field, quarantine_id=kept_as, replayed=outcome.replayed
    )  # fmt: skip


def _denied(outcome: Denied) -> ProblemError:
    denial = outcome.denial
    return ProblemError(denial.code, denial_detail(denial), **denial_members(denial, replayed=outcome.replayed))


def invalid_field(field: str, message: str, code: Code = Code.INVALID_REQUEST) -> ProblemError:
    """Return the problem of a field that is wrong in itself or beside the others of its body."""
    return ProblemError(code, f"{field}: {message}", field=field)


def not_found(field: str, detail: str, code: Code | RequestCode = RequestCode.NOT_FOUND) -> ProblemError:
    """Return the problem of a request that names something that does not exist."""
    return ProblemError(code, detail, field=field)


def invalid_problem(error: ValidationError, within: str = "") -> ProblemError:
    """Return the problem of a body that does not fit; `within` is where it stands in the request."""
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return ProblemError(RequestCode.MALFORMED_JSON, found[0]["msg"])
    outer = (within,) if within else ()
    return fields_problem([((*outer, *each["loc"]), message_of(each)) for each in found])


def fields_problem(found: Sequence[tuple[Sequence[str | int], str]]) -> ProblemError:
    """Return the problem of fields that do not fit, each with its location and what is wrong with it."""
    errors = [{"field": _path(location), "message": without_secrets(message)} for location, message in found]
    detail = f"{errors[0]['field'] or 'the body'}: {errors[0]['message']}"
    return ProblemError(Code.INVALID_REQUEST, detail, errors=errors)


def _path(location: Sequence[str | int]) -> str:
    # A field that the caller made up may have a name that neither JSON nor the database can write.
    path = without_secrets(".".join(str(part) for part in location))
    return path if path.isprintable() else ascii(path)[1:-1]


def ledger_problem(error: LedgerError) -> ProblemError:
    """Return the problem for a command that has no outcome.

    An error may quote the database after a colon. That is for the log: it may show statements and what others sent.
    """
    retry = {"Retry-After": RETRY_AFTER_SECONDS}
    if isinstance(error, OutcomeUnknown):
        detail = (
            "the connection to the database was lost at commit, so this is done or not: send the same idempotency key"
            " again, or look first where there is none"
        )
        return ProblemError(RequestCode.OUTCOME_UNKNOWN, detail, headers=retry)
    if isinstance(error, Unstorable):
        detail = "the database can't store a value of this request, and never will; send another value"
        return ProblemError(Code.INVALID_REQUEST, detail)
    assert isinstance(error, Unavailable)
    return ProblemError(RequestCode.UNAVAILABLE, str(error).partition(": ")[0], headers=retry)
