"""When a tool that failed is called again, and how long is waited before: tenacity does both."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, wait_exponential

from ..errors import LedgerError, ToolTimedOut
from ..failures import failure_of
from .context import CallContext

SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 30.0
JITTER = 0.25
_MAY_HELP = frozenset({"status_408", "status_409", "status_425", "status_429"})

_log = logging.getLogger("token_ledger_sdk")


def is_tools_fault(error: BaseException) -> bool:
    """Whether a tool failed, so that it may answer the next time: not a denial, an interruption, or a refused request.

    A refused request is one that was answered with a status from 400 to 499 other than 408, 409, 425 and 429.
    """
    if not isinstance(error, Exception):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LedgerError) and not isinstance(cause, ToolTimedOut):
            return False
        cause = cause.__cause__
    kind = failure_of(error).kind
    return not kind.startswith("status_4") or kind in _MAY_HELP


def waits(draw: Callable[[], float]) -> Callable[[RetryCallState], float]:
    """Return what says how long to wait before each retry: 2, 4, 8, 16, then 30 seconds, each 25 % more or less."""
    nominal = wait_exponential(multiplier=SHORTEST_SECONDS, min=SHORTEST_SECONDS, max=LONGEST_SECONDS)
    return lambda state: nominal(state) * (1 - JITTER + 2 * JITTER * draw())


def logging_retries(tool: str, attempts: int, context: CallContext) -> Callable[[RetryCallState], None]:
    """Return what logs each retry, and whose it is; nothing of what the tool was given or said."""

    def log(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        wait = state.next_action.sleep if state.next_action is not None else 0.0
        told: dict[str, Any] = {
            "tool": tool, "attempt": state.attempt_number, "attempts": attempts, "wait_seconds": round(wait, 3),
            "error_kind": "" if error is None else failure_of(error).kind, "run_id": context.run_id,
            "user": context.user, "agent_type": context.agent_type,
        }  # fmt: skip
        _log.warning(
            "tool %s failed (%s) in attempt %d of %d, of run %s, user %s, agent type %s: again in %.1f s",
            tool, told["error_kind"], state.attempt_number, attempts, context.run_id, context.user,
            context.agent_type, wait, extra=told,
        )  # fmt: skip

    return log
