"""The attempts at one call, and what has to be booked for them in the end. Pure: the guarded call acts on it.

A provider's SDK may try a call several times; it stays one call with one hold. Each attempt ends in one of four ways:

    refused    an error status that is never billed, or no connection: costs nothing
    lost       sent, and no answer: may have cost anything up to the limit
    begun      an answer has begun, and is not whole: what has been received so far
    answered   the provider's own figures

The attempts that were lost are an estimated part of the call, whatever becomes of the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ..errors import UsageMissing
from ..failures import Failure, failure_of, failure_with
from ..providers import Reading, Usage, reading_of
from ..providers.bodies import member, text


class State(Enum):
    """Where the last attempt is."""

    NOT_SENT = "nothing was sent yet"
    RUNNING = "sent, and not answered"
    BEGUN = "an answer has begun"
    OVER = "the attempt has ended"


@dataclass(frozen=True, slots=True)
class Received:
    """What has come of an answer: what the stream said it used so far, if anything, and the text that was generated."""

    told: Usage | None = None
    text: str = ""


NOTHING_RECEIVED = Received()


@dataclass(slots=True)
class Attempts:
    """What happened to the attempts so far; `lost` are the kinds of error of those that may have cost something."""

    state: State = State.NOT_SENT
    sent: int = 0
    lost: list[str] = field(default_factory=list)
    refusal: str | None = None

    def begin(self) -> None:
        """Note that an attempt is about to be sent; one that is still running was lost."""
        self._lose("no_answer")
        self.state = State.RUNNING
        self.sent += 1

    def refuse(self, status: int) -> None:
        """Note that the provider, or a gateway, answered with an error status before any byte of an answer."""
        self._over(failure_with(status))

    def fail(self, error: BaseException) -> None:
        """Note that an exception ended the attempt before an answer has begun."""
        self._over(failure_of(error))

    def answer(self) -> None:
        """Note that an answer has begun."""
        self.state = State.BEGUN

    def _over(self, failure: Failure) -> None:
        if failure.free is None:
            self._lose(failure.kind)
        else:
            self.refusal = failure.free
        self.state = State.OVER

    def _lose(self, kind: str) -> None:
        if self.state is State.RUNNING:
            self.lost.append(kind)

    @property
    def release_reason(self) -> str | None:
        """Why the hold can be released, None if something may have to be paid."""
        if self.lost or self.state in (State.RUNNING, State.BEGUN):
            return None
        return self.refusal or "not sent"


def reading_or_none(response: object) -> Reading | None:
    """Return what a response says it used; None if it does not say it."""
    try:
        return reading_of(response)
    except UsageMissing:
        return None


def says_that_it_failed(response: object) -> bool:
    """Whether a whole answer with a good status says that nothing, or no more, was generated."""
    error = member(response, "error")
    return text(response, "status") in ("failed", "cancelled") or any(text(error, name) for name in ("message", "code"))
