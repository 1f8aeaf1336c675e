"""Client of Token Ledger: reserve before an LLM call, settle after it."""

import importlib
import typing

from .directives import Advice, Directive, Evidence, Fits, Refusal
from .errors import (
    ApiError,
    BreakerOpen,
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
    RunCancelled,
    RunNotOpen,
    TenantStopped,
    ToolTimedOut,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    Unreachable,
    UsageMissing,
)
from .guard.current import RunningCall, current_call
from .providers import (
    AnthropicStreamUsage,
    AnyStreamUsage,
    BedrockStreamUsage,
    CohereStreamUsage,
    GeminiStreamUsage,
    OpenAIStreamUsage,
    Reading,
    StreamUsage,
    Usage,
    reading_of,
    reading_of_recorded,
    usage_from,
    usage_from_anthropic,
    usage_from_openai,
)
from .unavailable import AllowUpTo, OnUnavailable, allow_up_to
from .wire.amounts import Amounts, Balance, Limits, Share
from .wire.calls import Actual, Call, Measured, PlannedCall
from .wire.reservations import ModelName, OtherModel, OtherUse, Reservation, Settlement
from .wire.runs import Allocation, Iterations, Opening, RunNews, RunShare, RunSnapshot, Step

if typing.TYPE_CHECKING:
    from ._async.client import AsyncTokenLedger
    from ._async.hold import AsyncHold
    from ._async.leased_call import AsyncLeasedCall
    from ._async.leases import AsyncLeases
    from ._async.run import AsyncRun
    from ._async.toolbox import AsyncToolbox
    from ._sync.client import TokenLedger
    from ._sync.hold import Hold
    from ._sync.leased_call import LeasedCall
    from ._sync.leases import Leases
    from ._sync.run import Run
    from ._sync.toolbox import Toolbox
    from .guard.cache_statistics import CacheStatistics
    from .leases.sizes import Take
    from .wire.events import CacheHit, Recorded, ReportedEvent, ResponseEvent, ToolCall, UsageEvent
    from .wire.preflights import Preflight, Stop

__all__ = [
    "Actual",
    "Advice",
    "Allocation",
    "AllowUpTo",
    "Amounts",
    "AnthropicStreamUsage",
    "AnyStreamUsage",
    "ApiError",
    "AsyncHold",
    "AsyncLeasedCall",
    "AsyncLeases",
    "AsyncRun",
    "AsyncTokenLedger",
    "AsyncToolbox",
    "Balance",
    "BedrockStreamUsage",
    "BreakerOpen",
    "BudgetExceeded",
    "CacheHit",
    "CacheStatistics",
    "Call",
    "ClientClosed",
    "CohereStreamUsage",
    "ConfigurationError",
    "Conflict",
    "Denied",
    "Directive",
    "Evidence",
    "FieldError",
    "Fits",
    "Forbidden",
    "GeminiStreamUsage",
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
    "Measured",
    "ModelName",
    "NotAllocated",
    "NotBooked",
    "NotEnded",
    "NotFound",
    "OnUnavailable",
    "OpenAIStreamUsage",
    "Opening",
    "OtherModel",
    "OtherUse",
    "OutcomeUnknown",
    "PlannedCall",
    "Preflight",
    "Problem",
    "Reading",
    "Recorded",
    "Refusal",
    "ReportedEvent",
    "Reservation",
    "ReservationNotOpen",
    "ResponseEvent",
    "Run",
    "RunCancelled",
    "RunNews",
    "RunNotOpen",
    "RunShare",
    "RunSnapshot",
    "RunningCall",
    "Settlement",
    "Share",
    "Step",
    "Stop",
    "StreamUsage",
    "Take",
    "TenantStopped",
    "TokenLedger",
    "ToolCall",
    "ToolTimedOut",
    "Toolbox",
    "Unauthenticated",
    "Unavailable",
    "UnknownModel",
    "Unreachable",
    "Usage",
    "UsageEvent",
    "UsageMissing",
    "allow_up_to",
    "current_call",
    "reading_of",
    "reading_of_recorded",
    "usage_from",
    "usage_from_anthropic",
    "usage_from_openai",
]

_MODULES: typing.Final = {
    "AsyncHold": "._async.hold",
    "AsyncLeasedCall": "._async.leased_call",
    "AsyncLeases": "._async.leases",
    "AsyncRun": "._async.run",
    "AsyncTokenLedger": "._async.client",
    "AsyncToolbox": "._async.toolbox",
    "CacheHit": ".wire.events",
    "CacheStatistics": ".guard.cache_statistics",
    "Hold": "._sync.hold",
    "LeasedCall": "._sync.leased_call",
    "Leases": "._sync.leases",
    "Preflight": ".wire.preflights",
    "Recorded": ".wire.events",
    "ReportedEvent": ".wire.events",
    "ResponseEvent": ".wire.events",
    "Run": "._sync.run",
    "Stop": ".wire.preflights",
    "Take": ".leases.sizes",
    "TokenLedger": "._sync.client",
    "ToolCall": ".wire.events",
    "Toolbox": "._sync.toolbox",
    "UsageEvent": ".wire.events",
}
"""Where clients stand, and what few programs use. They are loaded when they are asked for: an HTTP client takes most of
the time of an import, and who reads providers' responses needs none.
"""


def __getattr__(name: str) -> typing.Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_MODULES[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
