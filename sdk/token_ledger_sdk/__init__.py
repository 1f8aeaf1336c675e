"""Client of Token Ledger: reserve before an LLM call, settle after it."""

from ._async.client import AsyncTokenLedger
from ._async.hold import AsyncHold
from ._async.leased_call import AsyncLeasedCall
from ._async.leases import AsyncLeases
from ._async.run import AsyncRun
from ._sync.client import TokenLedger
from ._sync.hold import Hold
from ._sync.leased_call import LeasedCall
from ._sync.leases import Leases
from ._sync.run import Run
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
    NotEnded,
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
from .leases.sizes import Take
from .providers import (
    AnthropicStreamUsage,
    OpenAIStreamUsage,
    StreamUsage,
    Usage,
    usage_from,
    usage_from_anthropic,
    usage_from_openai,
)
from .wire.amounts import Amounts, Balance, Limits, Share
from .wire.calls import Actual, Call, PlannedCall
from .wire.events import Recorded, UsageEvent
from .wire.preflights import Preflight, Stop
from .wire.reservations import Reservation, Settlement
from .wire.runs import Allocation, Iterations, Opening, RunSnapshot, Step

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
    "NotEnded",
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
