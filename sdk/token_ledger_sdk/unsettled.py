"""What becomes of a hold whose block is left without a settle. Pure: it decides, the hold acts.

A hold is released only if the provider did not run. In every other case money may have been spent, and what was held
is booked as an estimate. Proof is either the caller's word (`hold.not_sent()`) or an exception that is free by the rule
of `failures`. A read time-out proves nothing, and once a part of the call's usage was sent, the provider did run.

An end that got no answer is kept, and sent again in the background until there is one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from .errors import LedgerError, UsageMissing
from .failures import failure_of
from .providers import Usage
from .wire.calls import Call
from .wire.reservations import Reservation

_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a closed client could not end: holds that got no answer, and those whose end was refused, with the error."""

    unanswered: tuple[str, ...]
    refused: Mapping[str, LedgerError]


def retry_pause_seconds(rounds: int) -> float:
    """Return how long to wait before what waits is sent again, after so many rounds without an answer."""
    return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(rounds, 10)) * random.uniform(0.5, 1.0)  # noqa: S311


class Ending(Enum):
    """How a hold ends when its block is left."""

    NOTHING = "it has ended already"
    REPEAT = "a settle or release got no answer: send the same again"
    RELEASE = "the provider did not run"
    ESTIMATE = "the provider may have run: settle what was held"


def choose_ending(
    *, ended: bool, tried: bool, not_sent: bool, error: BaseException | None, ran: bool = False
) -> Ending:
    """Decide how a hold ends; `error` is the exception that left the block, `ran` says that the provider surely ran."""
    if ended:
        return Ending.NOTHING
    if tried:
        return Ending.REPEAT
    if not ran and (not_sent or release_reason(error) is not None):
        return Ending.RELEASE
    return Ending.ESTIMATE


def release_reason(error: BaseException | None) -> str | None:
    """Say why a call that an exception ended costs nothing; None if it may have cost something."""
    return None if error is None else failure_of(error).free


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
