"""What can go wrong, as one tree.

    LedgerError
    ├── ConfigurationError         no address or no key was given, or one that can't be used
    ├── ClientClosed               nothing was sent, as the client is closed: nothing is unknown, nothing worth a retry
    ├── UsageMissing               a provider's response carries no token counts
    ├── Unreachable                no answer after every retry; the outcome is unknown
    ├── InvalidAnswer              the service answered something that is not its wire format
    ├── NotBooked                  calls on leases that the service refused to book: failures
    └── ApiError                   the service answered with a problem (RFC 9457)
        ├── InvalidRequest         400, 413, 422
        │   └── UnknownModel       422: no price is known for the model
        ├── Unauthenticated        401
        ├── Denied                 402: do not call the provider; never retried
        │   ├── BudgetExceeded     a limit has no room: refusals, fits, directive
        │   ├── NotAllocated       a strict run has no allocation for this agent type
        │   ├── IterationsExceeded the run has made all of its iterations
        │   ├── LeaseTooSmall      no room for a lease; a single call may still fit
        │   └── TenantStopped      an operator has stopped the tenant
        ├── Forbidden              403
        ├── NotFound               404
        ├── Conflict               409
        │   ├── IdempotencyConflict   the same key was used with another body
        │   ├── RunNotOpen            the run was cancelled or closed
        │   └── ReservationNotOpen    the hold was settled or released before
        └── Unavailable            429, 502, 503, 504 after every retry
            └── OutcomeUnknown     503: connection lost at commit; the same key resolves it

`answers.py` decides which one an answer becomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .directives import Directive, Fits, Refusal


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request that the service did not accept."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of an error answer (RFC 9457); `extra` keeps every member as it came."""

    status: int
    code: str
    title: str = ""
    detail: str = ""
    field_errors: tuple[FieldError, ...] = ()
    retry_after_seconds: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        text = self.detail or self.title or "no detail given"
        fields = "; ".join(f"{error.field}: {error.message}" for error in self.field_errors)
        return f"{self.status} {self.code or 'without code'}: {text}" + (f" ({fields})" if fields else "")


class LedgerError(Exception):
    """Everything this package raises on purpose."""


class ConfigurationError(LedgerError):
    """The client was made without an address or without a key, or with one that can't be used."""


class ClientClosed(LedgerError):
    """The client was closed before this call, so nothing was sent: a mistake in the order of the caller's blocks.

    It is no Unreachable, which would mean that the service may have got the request, or may be there later.
    """


class UsageMissing(LedgerError):
    """A provider's response carries no token counts, so there is nothing to settle with."""


class Unreachable(LedgerError):
    """No answer came, after every retry; the cause is the transport's own error.

    The request may have been served: sent again with its `idempotency_key`, it is answered and not done twice.
    """

    idempotency_key: str | None = None


class InvalidAnswer(LedgerError):
    """The service answered something that is not its wire format."""


class NotBooked(LedgerError):
    """Calls on leases that the service refused to book; `failures` says why, an error for each."""

    def __init__(self, failures: tuple[ApiError, ...]) -> None:
        reasons = dict.fromkeys(map(str, failures))
        shown = "; ".join(list(reasons)[:3]) + ("; …" if len(reasons) > 3 else "")
        super().__init__(f"{len(failures)} calls were refused and are not in the books: {shown}")
        self.failures = failures

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.failures,)


class ApiError(LedgerError):
    """The service answered with a problem; `problem` holds it whole."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def field_errors(self) -> tuple[FieldError, ...]:
        return self.problem.field_errors

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process pools by pickle, which calls the class with `args` unless told otherwise.
        return type(self), (self.problem,)


class InvalidRequest(ApiError):
    """The request has a field the service does not accept, or is too large."""


class UnknownModel(InvalidRequest):
    """No price is known for the model, so its cost cannot be held."""


class Unauthenticated(ApiError):
    """The key is missing, wrong, or revoked."""


class Denied(ApiError):
    """The call may not be made; asking again without a change will not help."""


class NotAllocated(Denied):
    """The run is strict and has no allocation for this agent type."""


class LeaseTooSmall(Denied):
    """A hard limit has too little room for a lease of even one call; a single call may still fit."""


class IterationsExceeded(Denied):
    """The run, or one that it is a part of, has made all of its iterations."""


class TenantStopped(Denied):
    """The tenant was stopped by an operator: no call is admitted until it is resumed."""


class BudgetExceeded(Denied):
    """At least one hard limit has no room for this call.

    `refusals` name the accounts without room, `fits` what would have been granted instead
    (None: nothing), `directive.stop` tells the agent to stop asking.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        denial_id: str | None,
        refusals: tuple[Refusal, ...],
        fits: Fits | None,
        directive: Directive,
    ) -> None:
        super().__init__(problem)
        self.denial_id = denial_id
        self.refusals = refusals
        self.fits = fits
        self.directive = directive

    def __str__(self) -> str:
        return "; ".join(str(refusal) for refusal in self.refusals) or super().__str__()

    def __reduce__(self) -> tuple[object, ...]:
        from .answers import budget_exceeded

        return budget_exceeded, (self.problem,)


class Forbidden(ApiError):
    """The key is good, its role may not do this."""


class NotFound(ApiError):
    """There is no such run or reservation for this tenant."""


class Conflict(ApiError):
    """The request contradicts what the service already knows."""


class IdempotencyConflict(Conflict):
    """The same idempotency key was used before with another body."""


class RunNotOpen(Conflict):
    """The run was cancelled or closed; `run_state` says which."""

    @property
    def run_state(self) -> str | None:
        state = self.problem.extra.get("run_state")
        return state if isinstance(state, str) else None


class ReservationNotOpen(Conflict):
    """The hold has ended, by a settle, a release or its time: it is no permission any more."""


class Unavailable(ApiError):
    """The service could not serve the request now; every retry was used.

    A proxy may have said so of a request that was served: sent again with its `idempotency_key`, it is not done twice.
    """

    idempotency_key: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problem,), {"idempotency_key": self.idempotency_key}

    @property
    def retry_after_seconds(self) -> float | None:
        return self.problem.retry_after_seconds


class OutcomeUnknown(Unavailable):
    """The service lost its database at commit; the same idempotency key resolves what happened."""
