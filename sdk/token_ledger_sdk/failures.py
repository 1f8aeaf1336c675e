"""The one rule of what a failed call costs, read from the exception or the status that ended it.

* An error status that a provider never bills (`NEVER_BILLED`), and an exception which proves that no connection was
  made, cost nothing. Anything else may have cost something.
* The proof is the exception, or one that it was raised from (`raise … from …`). An exception that was merely being
  handled meanwhile (`__context__`) proves nothing, unless litellm has caught it and raises one of its own instead.
* Where a library tries again by itself and nobody sees its attempts, the last one decides. What a lost one before it
  may have cost is missed here; if each refusal were held against it, calls that cost nothing would fill budgets.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LedgerError, RunCancelled
from .providers.bodies import either, member

NEVER_BILLED = frozenset({400, 401, 403, 404, 413, 422, 429, 503, 529})
"""Answers that a provider gives instead of running a model, before any byte of an answer. All others may come from a
gateway that gave up on a call which the provider still ran, and charges: 408, 499, 500, 502, 504, 520 to 524."""

# Compared by class name, so that none of these libraries needs to be installed.
_NOT_CONNECTED = frozenset(
    {"ConnectionRefusedError", "gaierror", "herror"}  # standard library
    | {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"}  # httpx, httpx2, requests
    | {"InvalidURL", "MissingSchema", "InvalidSchema", "InvalidProxyURL"}
    | {"NewConnectionError", "ConnectTimeoutError", "LocationParseError"}  # urllib3
    | {"ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError"}  # aiohttp
    | {"EndpointConnectionError", "ProxyConnectionError"}  # botocore
)
_HANDSHAKE = "do_handshake"
"""What the standard library calls a function in which nothing of a request was sent yet."""
_HOLD_THEIR_CAUSE = frozenset({"requests", "urllib3", "urllib", "botocore", "aiohttp", "httpcore", "httpcore2"})
"""Libraries whose exceptions have the one that they were made from as a member, and not as their `__cause__`."""
_KINDS = (
    ("RunCancelled", "cancelled"), ("CancelledError", "cancelled"), ("ClientPayloadError", "cut_connection"),
    ("ProtocolError", "cut_connection"), ("ChunkedEncodingError", "cut_connection"),
    ("ConnectionClosedError", "cut_connection"), ("ClientConnectionError", "cut_connection"),
    ("Cancelled", "cancelled"), ("GeneratorExit", "closed_early"), ("KeyboardInterrupt", "cancelled"),
    ("TimeoutException", "timeout"), ("TimeoutError", "timeout"), ("TransportError", "cut_connection"),
    ("ConnectionError", "cut_connection"),
)  # fmt: skip

# Frameworks of servers, whose exceptions are answers of the caller's own to its clients.
_SERVERS = frozenset({"starlette", "werkzeug"})
_AGENT_FRAMEWORKS = frozenset({"agents", "pydantic_ai"})


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failed attempt: its kind, for reports, and why it is `free`; None if it may be billed."""

    kind: str
    free: str | None = None


def failure_with(status: int) -> Failure:
    """Judge an attempt that was answered with an error status before any byte of an answer."""
    return Failure(f"status_{status}", f"the provider answered {status}" if status in NEVER_BILLED else None)


def failure_of(error: BaseException) -> Failure:
    """Judge a call, or an attempt, that ended with an exception before any byte of an answer."""
    if is_interruption(error) or isinstance(error, LedgerError):
        return Failure(_kind_of_one(error) or type(error).__name__)
    causes = _causes_of(error)
    unsent = next((each for each in reversed(causes) if _was_not_sent(each)), None)
    if unsent is not None:
        return Failure("no_connection", f"no connection to the provider: {type(unsent).__name__}")
    # Where a connection has failed nobody has answered, whatever status a library gives its error.
    kind = next((kind for each in causes if (kind := _kind_of_one(each)) is not None), None)
    if kind is not None:
        return Failure(kind)
    status = next((status for each in causes if (status := _status_of(each)) is not None), None)
    return Failure(type(error).__name__[:64]) if status is None else failure_with(status)


def is_interruption(error: BaseException) -> bool:
    """Whether an exception ends the caller's own work, and is no answer to it."""
    # Not an Exception are cancellations of asyncio and of trio, and KeyboardInterrupt.
    return not isinstance(error, Exception) or isinstance(error, RunCancelled)


def is_misuse(error: BaseException) -> bool:
    """Whether a framework for agents refuses what its user asked of it, before anything is sent."""
    return any(kind.__name__ == "UserError" and _library_of(kind) in _AGENT_FRAMEWORKS for kind in type(error).__mro__)


def _causes_of(error: BaseException) -> list[BaseException]:
    """Return an exception and those that it was raised from, the last one first.

    An error of the ledger, and what that was raised from, says nothing of the provider.
    """
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found and not isinstance(cause, LedgerError):
        found.append(cause)
        cause = cause.__cause__ or _held(cause) or _translated(cause)
    return found


def _held(error: BaseException) -> BaseException | None:
    """Return the exception that one of another library has as a member: what it was made from."""
    if _library_of(type(error)) not in _HOLD_THEIR_CAUSE:
        return None
    held = (member(error, "reason"), member(member(error, "kwargs"), "error"), *reversed(error.args))
    return next((each for each in held if isinstance(each, BaseException)), None)


def _translated(error: BaseException) -> BaseException | None:
    """Return what litellm has made an error of its own from: it writes no `from`, and gives the error a status.

    What somebody else has caught, and was handling when litellm was called, is another matter.
    """
    caught = error.__context__
    if caught is None or error.__suppress_context__ or _library_of(type(error)) != "litellm":
        return None
    began = caught.__traceback__
    return caught if began is not None and _is_litellm(began.tb_frame.f_globals.get("__name__")) else None


def _is_litellm(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "litellm"


def _library_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _was_not_sent(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    library = _library_of(type(error))
    if library == "h11" and "LocalProtocolError" in names:
        return True  # it refuses to write a request that is malformed, such as one with a line break in its key
    if library == "ssl":
        # The same errors come from a connection in use.
        return "SSLCertVerificationError" in names or _is_of_handshake(error)
    if "SSLError" in names and _held(error) is None and error.__cause__ is None:
        return True
    return not names.isdisjoint(_NOT_CONNECTED)


def _is_of_handshake(error: BaseException) -> bool:
    entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code.co_name == _HANDSHAKE:
            return True
        entry = entry.tb_next
    return False


def _kind_of_one(error: BaseException) -> str | None:
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((kind for name, kind in _KINDS if name in names), None)


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a provider's SDK, or an HTTP client, raised an exception for; None for others."""
    if any(_library_of(kind) in _SERVERS for kind in type(error).__mro__):
        return None
    response = member(error, "response")
    found = either(error, "status_code", "code") or either(response, "status_code")
    if found is None:
        found = member(member(response, "ResponseMetadata"), "HTTPStatusCode")  # botocore
    return found if isinstance(found, int) and 400 <= found <= 599 else None
