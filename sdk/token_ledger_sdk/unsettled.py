"""What becomes of a hold that its block leaves without a settle. Pure: it decides, the hold acts.

A hold may be released only when the provider surely did not run; in every other case money may have been
spent, and what was held is booked as an estimate. Proof is either the caller's word (`hold.not_sent()`) or
an exception that means no connection was made. A read time-out proves nothing: the provider may have run.
A part of the call's use that was sent to be booked proves that it did run.
"""

from __future__ import annotations

from enum import Enum

from .errors import UsageMissing
from .reservations import Reservation
from .usage import Usage, member

# By class name, so that httpx, httpx2, httpcore, requests and whoever follows need not be installed.
_NO_CONNECTION = frozenset({"ConnectError", "ConnectTimeout"})


class Ending(Enum):
    """How a hold ends when its block is left."""

    NOTHING = "it has ended already"
    REPEAT = "a settle or release was tried and got no answer: send the same again"
    RELEASE = "the provider surely did not run"
    ESTIMATE = "the provider may have run: settle what was held"


def choose_ending(
    *, ended: bool, tried: bool, not_sent: bool, error: BaseException | None, ran: bool = False
) -> Ending:
    """Decide how a hold ends; `error` is what left the block, None if nothing did, and `ran` that the provider did."""
    if ended:
        return Ending.NOTHING
    if tried:
        return Ending.REPEAT
    if not ran and (not_sent or (error is not None and proves_not_sent(error))):
        return Ending.RELEASE
    return Ending.ESTIMATE


def proves_not_sent(error: BaseException) -> bool:
    """Say whether an exception proves that the provider never got the request.

    True for ConnectError and ConnectTimeout of any library. The openai and anthropic SDKs wrap these and
    retry by themselves: a wrapped one counts only if it was the first attempt, because an earlier attempt
    may have reached the provider.
    """
    if _is_no_connection(error):
        return _attempt(error) in (None, "0")
    cause = error.__cause__
    return cause is not None and _is_no_connection(cause) and _attempt(error) == "0"


def outcome_of(error: BaseException | None) -> str:
    """Name the outcome of the call: a response without usage is still a response."""
    return "ok" if error is None or isinstance(error, UsageMissing) else "error"


def held_usage(
    reservation: Reservation, *, input_tokens: int, max_output_tokens: int, cached_input_tokens: int
) -> Usage:
    """Return what was held as a usage: the prompt as announced, the output at its limit."""
    limit = reservation.directive.max_output_tokens
    return Usage(
        input_tokens=input_tokens,
        output_tokens=max_output_tokens if limit is None else limit,
        cache_read_tokens=cached_input_tokens,
    )


def _is_no_connection(error: BaseException) -> bool:
    return any(kind.__name__ in _NO_CONNECTION for kind in type(error).__mro__)


def _attempt(error: BaseException) -> object:
    """Read which attempt of the openai or anthropic SDK this was: "0" for the first, None if not theirs."""
    try:
        return member(member(member(error, "request"), "headers"), "x-stainless-retry-count")
    except RuntimeError:
        # httpx raises this for an exception that was made without a request.
        return None
