"""What a failed attempt at a call proves: whether its provider may charge for it."""

from __future__ import annotations

import asyncio

from ..providers.bodies import either, member

NEVER_BILLED = frozenset({400, 401, 403, 404, 413, 422, 429, 503, 529})
"""Answers that a provider gives instead of running a model, before any byte of an answer. All others may come from a
gateway that gave up on a call which the provider still ran, and charges: 408, 499, 500, 502, 504, 520 to 524."""

# Compared by class name, so that httpx, httpx2, requests and others need not be installed. The openai SDK passes on
# errors of a TLS handshake as they are; those of a connection in use are read errors.
_NOT_CONNECTED = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "SSLError", "UnsupportedProtocol", "ClientConnectorError"}
)
_KINDS = (
    ("PoolTimeout", "no_connection"), ("ConnectTimeout", "no_connection"), ("ConnectError", "no_connection"),
    ("SSLError", "no_connection"), ("UnsupportedProtocol", "no_connection"), ("ClientConnectorError", "no_connection"),
    ("CancelledError", "cancelled"), ("ClientPayloadError", "cut_connection"),
    ("Cancelled", "cancelled"), ("GeneratorExit", "closed_early"), ("KeyboardInterrupt", "cancelled"),
    ("TimeoutException", "timeout"), ("TimeoutError", "timeout"), ("TransportError", "cut_connection"),
    ("ConnectionError", "cut_connection"),
)  # fmt: skip

_MOST_CAUSES = 8


def may_be_billed(status: int) -> bool:
    """Whether a provider may charge for a call that was answered with this error status."""
    return status not in NEVER_BILLED


def was_not_sent(error: BaseException) -> bool:
    """Whether an exception proves that no connection was made: refused, not found, or no TLS."""
    return any(kind.__name__ in _NOT_CONNECTED for kind in type(error).__mro__)


def is_interruption(error: BaseException) -> bool:
    """Whether an exception ends the caller's own work, and is no answer to it."""
    return isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit | GeneratorExit)


def kind_of(error: BaseException) -> str:
    """Name what kind of error this is, for reports; libraries raise errors of their own from the one that says it."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        names = [] if cause is None else [kind.__name__ for kind in type(cause).__mro__]
        found = next((kind for name, kind in _KINDS if name in names), None)
        if found is not None:
            return found
        cause = cause.__cause__ if cause is not None else None
    return type(error).__name__[:64]


def causes_of(error: BaseException) -> list[BaseException]:
    """Return an exception and those that it was raised from, the last one first."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a provider's SDK, or an HTTP client, raised an exception for; None for others."""
    found = either(error, "status_code", "code") or member(member(error, "response"), "status_code")
    return found if isinstance(found, int) and 400 <= found <= 599 else None


def missing_connection(error: BaseException) -> BaseException | None:
    """Return what proves that no connection was made, among an exception and its causes; None without a proof."""
    return next((each for each in reversed(causes_of(error)) if was_not_sent(each)), None)


def is_misuse(error: BaseException) -> bool:
    """Whether a framework refuses what its user asked of it, before anything is sent."""
    return any(kind.__name__ == "UserError" for kind in type(error).__mro__)
