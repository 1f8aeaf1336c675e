"""Every error of this package, as one tree.

    LedgerError
    ├── ConfigurationError         the address or the key is missing or malformed
    ├── ClientClosed               the client was closed before this call, so nothing was sent
    ├── UsageMissing               a provider's response carries no token counts
    ├── Unreachable                no answer after every retry; the outcome is unknown
    ├── InvalidAnswer              the answer is not in the service's wire format
    ├── NotBooked                  calls on leases that the service refused to book: failures
    ├── NotEnded                   the client was closed before the service said that these holds have ended
    ├── ToolTimedOut               a tool gave no answer in time; also a TimeoutError
    ├── BreakerOpen                a tool failed too often lately, so it was not called
    └── ApiError                   the service answered with a problem (RFC 9457)
        ├── InvalidRequest         400, 413, 422
        │   └── UnknownModel       422: no price is known for the model
        ├── Unauthenticated        401
        ├── Denied                 402: do not call the provider; never retried
        │   ├── BudgetExceeded     a limit has no room: refusals, fits, directive
        │   ├── NotAllocated       a strict run has no allocation for this agent type
        │   ├── IterationsExceeded the run has used all of its iterations
        │   ├── LeaseTooSmall      no room for a lease; a single call may still fit
        │   └── TenantStopped      an operator has stopped the tenant
        ├── Forbidden              403
        ├── NotFound               404
        ├── Conflict               409
        │   ├── IdempotencyConflict   the same key was used with another body
        │   ├── RunNotOpen            the run was closed
        │   │   └── RunCancelled      the run was cancelled, or one that it is part of
        │   └── ReservationNotOpen    the hold was settled or released, or has expired
        └── Unavailable            429 or 5xx after every retry
            └── OutcomeUnknown     503: the service lost its database at commit; send the same key again

`wire/problems.py` decides which error an answer becomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from .directives import Directive, Fits, Refusal


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request that the service did not accept, and why."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of an error answer (RFC 9457); `extra` is the whole JSON object."""

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
    """The base of every error that this package raises itself."""


class ConfigurationError(LedgerError):
    """The client was made without an address or a key, or with a malformed one."""


class ClientClosed(LedgerError):
    """The client was closed before this call, so nothing was sent.

    Unlike with Unreachable, nothing is unknown and a retry can't help: use the client inside its block.
    """


class UsageMissing(LedgerError):
    """A provider's response carries no token counts, so there is nothing to settle with."""


class Unreachable(LedgerError):
    """No answer came, after every retry; the cause is the transport's own error.

    The service may have executed the request. Sent again with its `idempotency_key`, it is not executed twice.
    """

    idempotency_key: str | None = None


class InvalidAnswer(LedgerError):
    """The service, or a proxy in front of it, answered something that is not the service's wire format."""


class NotBooked(LedgerError):
    """Calls on leases that the service refused to book; `failures` has the error of each."""

    def __init__(self, failures: tuple[ApiError, ...]) -> None:
        reasons = dict.fromkeys(map(str, failures))
        shown = "; ".join(list(reasons)[:3]) + ("; …" if len(reasons) > 3 else "")
        super().__init__(f"{len(failures)} calls were refused and are not booked: {shown}")
        self.failures = failures

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.failures,)


class NotEnded(LedgerError):
    """The client was closed before the service said that these holds have ended, or it refused to end them.

    `unanswered` are the ids of holds that got no answer; what they used may be booked or not, and they expire by
    themselves. `refused` has the error of each hold whose settle or release the service refused.
    """

    def __init__(self, unanswered: tuple[str, ...], refused: Mapping[str, LedgerError]) -> None:
        parts = []
        if unanswered:
            parts.append(f"{len(unanswered)} holds got no answer ({', '.join(unanswered[:10])})")
        parts += [f"hold {reservation_id} was refused: {error}" for reservation_id, error in [*refused.items()][:10]]
        super().__init__("the client is closed, and not all holds have ended: " + "; ".join(parts))
        self.unanswered = unanswered
        self.refused = refused

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.unanswered, self.refused)


class ToolTimedOut(LedgerError, TimeoutError):
    """A tool gave no answer within its `timeout_seconds`, after every retry."""


class BreakerOpen(LedgerError):
    """A tool failed too often lately, so it was not called."""


class ApiError(LedgerError):
    """The service answered with a problem, which is kept in `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def status_code(self) -> int:
        """The same, under the name by which other libraries look for it before they try a call again."""
        return self.problem.status

    @property
    def code(self) -> str:
        """The service's stable code for this problem; empty if a proxy answered."""
        return self.problem.code

    @property
    def field_errors(self) -> tuple[FieldError, ...]:
        """The fields that the service did not accept."""
        return self.problem.field_errors

    def __reduce__(self) -> tuple[object, ...]:
        # Process pools pickle exceptions, and unpickling calls the class with `args` unless told otherwise.
        return type(self), (self.problem,)


class InvalidRequest(ApiError):
    """The request has a field that the service does not accept, or is too large."""


class UnknownModel(InvalidRequest):
    """No price is known for the model, so its cost can't be held."""


class Unauthenticated(ApiError):
    """The key is missing, wrong, or revoked."""


class Denied(ApiError):
    """The call may not be made; asking again without a change does not help."""


class NotAllocated(Denied):
    """The run is strict and has no allocation for this agent type."""


class LeaseTooSmall(Denied):
    """A hard limit has no room for a lease; a single call may still fit."""


class IterationsExceeded(Denied):
    """The run, or one of the runs it is a part of, has used all of its iterations."""


class TenantStopped(Denied):
    """An operator has stopped the tenant: no call is admitted until it is resumed."""


class BudgetExceeded(Denied):
    """At least one hard limit has no room for this call.

    `refusals` lists the accounts without room, `fits` what would have been granted instead (None: nothing), and
    `directive.stop` tells the agent to stop asking.
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
        names = ("denial_id", "refusals", "fits", "directive")
        return partial(type(self), **{name: getattr(self, name) for name in names}), (self.problem,)


class Forbidden(ApiError):
    """The key is valid, but its role does not permit this."""


class NotFound(ApiError):
    """The tenant has no such run or reservation."""


class Conflict(ApiError):
    """The request contradicts the state of the run, the hold or an earlier request."""


class IdempotencyConflict(Conflict):
    """The same idempotency key was used before with another body."""


class RunNotOpen(Conflict):
    """The run was cancelled or closed; `run_state` says which."""

    @property
    def run_state(self) -> str | None:
        """The state of the run, if the service named it."""
        state = self.problem.extra.get("run_state")
        return state if isinstance(state, str) else None


class RunCancelled(RunNotOpen):
    """The run was cancelled, or one that it is part of: stop working for it.

    It is raised where the service refuses something, and, once this process has heard of it, at once: by the run's
    block, whose task is cancelled, by the next call, step or tool, and by streams of wrapped clients.
    """


class ReservationNotOpen(Conflict):
    """The hold was settled or released, or has expired: it no longer permits a call."""


class Unavailable(ApiError):
    """The service could not answer the request, after every retry.

    If a proxy said so, the service may have executed it. Sent again with its `idempotency_key`, it is not executed
    twice.
    """

    idempotency_key: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problem,), {"idempotency_key": self.idempotency_key}

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the service asks to wait, if it says so."""
        return self.problem.retry_after_seconds


class OutcomeUnknown(Unavailable):
    """The service lost its database at commit; sending the same idempotency key again shows what happened."""
