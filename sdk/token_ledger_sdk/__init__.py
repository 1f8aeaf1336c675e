"""Client of Token Ledger: reserve before an LLM call, settle after it."""

from ._async.client import AsyncTokenLedger
from ._async.hold import AsyncHold
from ._async.run import AsyncRun
from ._sync.client import TokenLedger
from ._sync.hold import Hold
from ._sync.run import Run
from .amounts import Amounts, Balance, Limits, Share
from .directives import Advice, Directive, Evidence, Fits, Refusal
from .errors import (
    ApiError,
    BudgetExceeded,
    ConfigurationError,
    Conflict,
    Denied,
    FieldError,
    Forbidden,
    IdempotencyConflict,
    InvalidAnswer,
    InvalidRequest,
    LedgerError,
    NotAllocated,
    NotFound,
    OutcomeUnknown,
    Problem,
    ReservationNotOpen,
    RunNotOpen,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    Unreachable,
    UsageMissing,
)
from .events import Recorded, UsageEvent
from .reservations import Actual, Call, Reservation, Settlement
from .runs import Allocation, RunSnapshot
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
    "AsyncRun",
    "AsyncTokenLedger",
    "Balance",
    "BudgetExceeded",
    "Call",
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
    "LedgerError",
    "Limits",
    "NotAllocated",
    "NotFound",
    "OpenAIStreamUsage",
    "OutcomeUnknown",
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
    "StreamUsage",
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
