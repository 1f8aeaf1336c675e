"""What becomes of a hold whose block is left without a settle. Pure: it decides, the hold acts.

A hold is released only if the provider surely did not run. In every other case money may have been spent, and what was
held is booked as an estimate. Proof is either the caller's word (`hold.not_sent()`) or an exception that means that no
connection was made. A read time-out proves nothing, and once a part of the call's usage was sent, the provider did run.

An end that got no answer is kept, and sent again in the background until there is one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from .errors import LedgerError, UsageMissing
from .providers import Usage
from .providers.bodies import member
from .wire.calls import Call
from .wire.reservations import Reservation

# Compared by class name, so that httpx, httpx2, httpcore, requests and others need not be installed.
_NO_CONNECTION = frozenset({"ConnectError", "ConnectTimeout"})


_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a closed client could not end: holds that got no answer, and those whose end was refused, with the error."""

    unanswered: tuple[str, ...]
    refused: Mapping[str, LedgerError]


def backlog_pause_seconds(rounds: int) -> float:
    """Return how long to wait before ends are sent again, after so many rounds without an answer."""
    return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(rounds, 10)) * random.uniform(0.5, 1.0)  # noqa: S311


class Ending(Enum):
    """How a hold ends when its block is left."""

    NOTHING = "it has ended already"
    REPEAT = "a settle or release got no answer: send the same again"
    RELEASE = "the provider surely did not run"
    ESTIMATE = "the provider may have run: settle what was held"


def choose_ending(
    *, ended: bool, tried: bool, not_sent: bool, error: BaseException | None, ran: bool = False
) -> Ending:
    """Decide how a hold ends; `error` is the exception that left the block, `ran` says that the provider surely ran."""
    if ended:
        return Ending.NOTHING
    if tried:
        return Ending.REPEAT
    if not ran and (not_sent or (error is not None and proves_not_sent(error))):
        return Ending.RELEASE
    return Ending.ESTIMATE


def proves_not_sent(error: BaseException) -> bool:
    """Whether an exception proves that the provider never got the request.

    True for ConnectError and ConnectTimeout of any library. The openai and anthropic SDKs wrap these and retry by
    themselves: a wrapped one counts only for a first attempt, as an earlier one may have reached the provider.
    """
    if _is_no_connection(error):
        return is_first_attempt(error)
    cause = error.__cause__
    return cause is not None and _is_no_connection(cause) and _attempt(error) == "0"


def is_first_attempt(error: BaseException) -> bool:
    """Whether an error ended the first attempt of its SDK, or is one of a library that does not count them."""
    return _attempt(error) in (None, "0")


def outcome_of(error: BaseException | None) -> str:
    """Name the outcome of a call: a response without usage is still a response."""
    return "ok" if error is None or isinstance(error, UsageMissing) else "error"


def held_usage(reservation: Reservation, call: Call) -> Usage:
    """Return the estimate: the whole input and the other kinds as announced, and as much output as was held."""
    limit = reservation.directive.max_output_tokens
    return Usage(
        input_tokens=call["input_tokens"],
        output_tokens=call["max_output_tokens"] if limit is None else limit,
        cache_read_tokens=call.get("cached_input_tokens", 0),
        **(call.get("max_usage") or {}),
    )


def _is_no_connection(error: BaseException) -> bool:
    return any(kind.__name__ in _NO_CONNECTION for kind in type(error).__mro__)


def _attempt(error: BaseException) -> object:
    """Return the attempt of the openai or anthropic SDK: "0" for the first, None for an error of another library."""
    try:
        return member(member(member(error, "request"), "headers"), "x-stainless-retry-count")
    except RuntimeError:
        # httpx raises this for an exception that was made without a request.
        return None
