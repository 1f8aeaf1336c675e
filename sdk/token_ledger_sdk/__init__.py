"""Client of Token Ledger: reserve before an LLM call, settle after it."""

from ._async.client import AsyncTokenLedger
from ._async.hold import AsyncHold
from ._async.lease import AsyncLeasedCall, AsyncLeases
from ._async.run import AsyncRun
from ._sync.client import TokenLedger
from ._sync.hold import Hold
from ._sync.lease import LeasedCall, Leases
from ._sync.run import Run
from .amounts import Amounts, Balance, Limits, Share
from .directives import Advice, Directive, Evidence, Fits, Refusal
from .errors import (
    ApiError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    Conflict,
    Denied,
    FieldError,
    Forbidden,
    IdempotencyConflict,
    InvalidAnswer,
    InvalidRequest,
    IterationsExceeded,
    LeaseTooSmall,
    LedgerError,
    NotAllocated,
    NotBooked,
    NotFound,
    OutcomeUnknown,
    Problem,
    ReservationNotOpen,
    RunNotOpen,
    TenantStopped,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    Unreachable,
    UsageMissing,
)
from .events import Recorded, UsageEvent
from .leases import Take
from .preflights import PlannedCall, Preflight, Stop
from .reservations import Actual, Call, Reservation, Settlement
from .runs import Allocation, Iterations, Opening, RunSnapshot, Step
from .streams import AnthropicStreamUsage, OpenAIStreamUsage, StreamUsage
from .usage import Usage, usage_from, usage_from_anthropic, usage_from_openai

__all__ = [
    "Actual",
    "Advice",
    "Allocation",
    "Amounts",
    "AnthropicStreamUsage",
    "ApiError",
    "AsyncHold",
    "AsyncLeasedCall",
    "AsyncLeases",
    "AsyncRun",
    "AsyncTokenLedger",
    "Balance",
    "BudgetExceeded",
    "Call",
    "ClientClosed",
    "ConfigurationError",
    "Conflict",
    "Denied",
    "Directive",
    "Evidence",
    "FieldError",
    "Fits",
    "Forbidden",
    "Hold",
    "IdempotencyConflict",
    "InvalidAnswer",
    "InvalidRequest",
    "Iterations",
    "IterationsExceeded",
    "LeaseTooSmall",
    "LeasedCall",
    "Leases",
    "LedgerError",
    "Limits",
    "NotAllocated",
    "NotBooked",
    "NotFound",
    "OpenAIStreamUsage",
    "Opening",
    "OutcomeUnknown",
    "PlannedCall",
    "Preflight",
    "Problem",
    "Recorded",
    "Refusal",
    "Reservation",
    "ReservationNotOpen",
    "Run",
    "RunNotOpen",
    "RunSnapshot",
    "Settlement",
    "Share",
    "Step",
    "Stop",
    "StreamUsage",
    "Take",
    "TenantStopped",
    "TokenLedger",
    "Unauthenticated",
    "Unavailable",
    "UnknownModel",
    "Unreachable",
    "Usage",
    "UsageEvent",
    "UsageMissing",
    "usage_from",
    "usage_from_anthropic",
    "usage_from_openai",
]
