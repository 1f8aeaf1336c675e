"""The guarded call that the code of a guarded function is in, so that it knows what it may send."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from ..errors import ConfigurationError


class RunningCall(Protocol):
    """A call that was admitted, and that the function makes now."""

    model: str
    """Send the request for this model: a directive may have replaced the one that was asked for."""

    output_limit: int | None
    """Send this output limit; None means that of the guarded function."""

    def sending(self) -> None:
        """Say that an attempt is about to be sent, of a function with `says_when_sent`."""

    def first_token(self) -> None:
        """Say that the first text of the answer has come."""


running_call: ContextVar[RunningCall | None] = ContextVar("token_ledger_call", default=None)


def current_call() -> RunningCall:
    """Return the call that the guarded function around this code makes; raises ConfigurationError outside of one."""
    call = running_call.get()
    if call is None:
        raise ConfigurationError("there is no guarded call here: decorate the function with @ledger.guard(…)")
    return call
