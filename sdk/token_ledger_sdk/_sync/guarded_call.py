# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""One call of a provider under a hold: an adapter says what happens to it, and it is booked accordingly, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial

from ..errors import LedgerError
from ..failures import failure_of, is_interruption, is_misuse
from ..guard.ask import Ask
from ..guard.attempts import (
    NOTHING_RECEIVED,
    Attempts,
    Received,
    State,
    reading_or_none,
    says_that_it_failed,
)
from ..guard.estimates import Estimate, estimate_lost, estimate_received
from ..providers import Reading, Usage
from ..providers.output_text import whole_output_text
from ..text_tokens import is_quick
from ..waiting_sync import computed_sync, shielded_sync
from ..wire.calls import Actual, Measured
from .hold import Hold
from .leased_call import LeasedCall

_log = logging.getLogger("token_ledger_sdk")


class GuardedCall:
    """One call of a provider, between its reserve and its settle.

    Put `model` and, unless it is None, `output_limit` into the request. Then say what happens, in this order:
    `sending()` before each attempt; `refused(status)` or `failed(error)` if it had no answer, or `answering()` once the
    answer begins and `first_token()` with its first text; and at the end `settle(response)` with the whole answer, or
    `end(error, received)` without one. Only the first end counts, so that an adapter may call `end` in any case.

    An end never raises: the provider's answer matters more to the caller. What the service gave no answer to is sent in
    the background; what it refused is logged.
    """

    def __init__(
        self,
        permission: Hold | LeasedCall,
        ask: Ask,
        *,
        output_limit: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.permission = permission
        self.model = permission.model
        self.output_limit = output_limit
        self._ask = ask
        self._attempts = Attempts()
        self._clock = clock
        self._began = clock()
        self._first_token: float | None = None
        self._is_over = False
        self._covers_until_sent = False
        permission.begin()

    @property
    def is_over(self) -> bool:
        """Whether the call was ended."""
        return self._is_over

    @property
    def is_waiting(self) -> bool:
        """Whether nothing was sent yet."""
        return not self._is_over and self._attempts.state is State.NOT_SENT

    @property
    def is_running(self) -> bool:
        """Whether an attempt was sent of which nothing is known yet."""
        return not self._is_over and self._attempts.state is State.RUNNING

    def sending(self) -> None:
        """Note that an attempt is about to be sent."""
        if self._attempts.sent == 0:
            self._began = self._clock()
        self._attempts.begin()

    def refused(self, status: int) -> None:
        """Note that an attempt was answered with an error status."""
        self._attempts.refuse(status)

    def failed(self, error: BaseException) -> None:
        """Note that an exception ended an attempt whose answer had not begun."""
        self._attempts.fail(error)

    def sent_unseen(self) -> None:
        """Note that the call was made, by what tells nothing of its attempts."""
        if self.is_waiting:
            self._attempts.begin()

    def failed_unseen(self, error: BaseException) -> None:
        """Note that an exception ended a call of which nobody has seen the attempts.

        Of a call whose answer has begun, or that a wrapped client has told of, nothing new is noted.
        """
        if self.is_waiting and is_misuse(error):
            return
        self.sent_unseen()
        if self.is_running:
            self._attempts.fail(error)

    def covers(self, ask: Ask) -> bool:
        """Whether this is the call that a wrapped client, inside of what makes it, asks for now."""
        is_open = self.is_waiting if self._covers_until_sent else not self._is_over
        return is_open and ask.model in (self._ask.model, self.model)

    def cover_until_sent(self) -> None:
        """Do the same as `covering` from here on, also in tasks and threads, until anything was sent.

        That is for adapters that are told when a call begins, and that don't make it.
        """
        self._covers_until_sent = True
        _covering.set(self)

    @contextmanager
    def covering(self) -> Iterator[None]:
        """Let a wrapped client that is called within tell this call what happens, instead of one of its own."""
        token = _covering.set(self)
        try:
            yield
        finally:
            _covering.reset(token)

    def answering(self) -> None:
        """Note that the answer has begun."""
        self._attempts.answer()

    def first_token(self, *, after_seconds: float | None = None) -> None:
        """Note that the first text of the answer has come, now or so long after the call began; later ones are not."""
        if self._first_token is None:
            self._first_token = self._clock() if after_seconds is None else self._began + after_seconds

    def go_on(self) -> None:
        """Raise RunCancelled if the call's run was heard to be cancelled: between the parts of an answer."""
        self.permission.go_on()

    def settle(self, response: object, *, finish_reason: str | None = None) -> None:
        """Book what a whole answer says it used: a response, a StreamUsage or a Reading.

        One without figures is booked as an estimate, from its text if that is known, or if it says that it failed.
        """
        reading = reading_or_none(response)
        if reading is None:
            words, has_failed = whole_output_text(response), says_that_it_failed(response)
            if words or has_failed:
                self.answering()
            self.end(None, Received(text=words), error_kind="error_answer" if has_failed else None)
            return
        self._ask.learn(self.model, reading.usage.input_tokens)
        measured = self._measured()
        if finish_reason is not None:
            measured["finish_reason"] = finish_reason[:64]

        def book() -> None:
            self._book(reading, measured)

        self._once(book)

    def end(
        self,
        error: BaseException | None,
        received: Received = NOTHING_RECEIVED,
        *,
        error_kind: str | None = None,
    ) -> None:
        """End the call without the provider's figures: released if it surely cost nothing, else an estimate.

        `error_kind` names an error that is no exception, such as an event of the stream.
        """
        if self._attempts.state is State.RUNNING and error is not None:
            self._attempts.fail(error)
        reason = self._attempts.release_reason
        measured = self._measured()
        if error_kind is None and self._attempts.lost and (error is not None or self._attempts.state is State.OVER):
            error_kind = self._attempts.lost[-1]
        elif error_kind is None and error is not None:
            error_kind = failure_of(error).kind
        if error_kind is not None:
            measured["error_kind"] = error_kind
        # The caller's own end of a stream is no error of the provider's.
        is_ok = error_kind is None or (error is not None and is_interruption(error))

        def finish() -> None:
            if reason is not None:
                self.permission.release(reason=reason)
            else:
                estimate = self._best_estimate(received)
                said: Actual = {"outcome": "ok" if is_ok else "error", "measured": _ruled(measured, estimate.rule)}
                self.permission.settle_estimate_soon(estimate.usage, **said)

        self._once(finish)

    def _once(self, finish: Callable[[], object]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.permission.end()

        def end() -> None:
            try:
                finish()
            except LedgerError as failure:
                _log.warning("Token Ledger could not end hold %s: %s", self.permission.reservation_id, failure)

        shielded_sync(end)

    def _book(self, reading: Reading, measured: Measured) -> None:
        lost = self._lost()
        if lost is not None:
            reading = replace(reading, usage=reading.usage + lost.usage)
            if isinstance(self.permission, Hold):
                self._book_lost(self.permission, lost)
            else:
                self.permission.settle_soon(reading, estimated=True, measured=measured)
                return
        self.permission.settle_soon(reading, measured=measured)

    def _book_lost(self, hold: Hold, lost: Estimate) -> None:
        try:
            hold.settle_part(lost.usage, estimated=True, outcome="error", measured=_ruled({}, lost.rule))
        except LedgerError as failure:
            # The settle that follows sends it again, or books it as its own.
            _log.info("Token Ledger has not yet booked a part of hold %s: %s", hold.reservation_id, failure)

    def _best_estimate(self, received: Received) -> Estimate:
        lost = self._lost()
        if self._attempts.state is not State.BEGUN:
            return lost or estimate_lost(self._most)
        if not self._ask.is_text:
            begun = estimate_lost(self._most)
            return begun if lost is None else replace(begun, usage=begun.usage + lost.usage)
        estimating = partial(estimate_received, self._most, received, self.model)
        begun = computed_sync(estimating, is_quick=is_quick(len(received.text), self.model))
        return begun if lost is None else replace(begun, usage=begun.usage + lost.usage)

    def _lost(self) -> Estimate | None:
        """Return the estimate of all attempts that had no answer, None if there are none."""
        attempts = len(self._attempts.lost)
        if not attempts:
            return None
        one = estimate_lost(self._most)
        return Estimate(sum([one.usage] * (attempts - 1), start=one.usage), one.rule)

    @property
    def _most(self) -> Usage:
        return self.permission.most

    def _measured(self) -> Measured:
        measured: Measured = {"latency_ms": self._milliseconds(self._clock())}
        if self._first_token is not None:
            measured["first_token_ms"] = self._milliseconds(self._first_token)
        if self._attempts.sent > 1:
            measured["retries"] = self._attempts.sent - 1
        if self._attempts.lost:
            measured["error_kind"] = self._attempts.lost[-1]
        return measured

    def _milliseconds(self, instant: float) -> int:
        return max(0, round((instant - self._began) * 1_000))


_covering: ContextVar[GuardedCall | None] = ContextVar("token_ledger_covering_call", default=None)


def covering_call(ask: Ask) -> GuardedCall | None:
    """Return the call that was admitted for this one already, by an adapter around the client; None if there is none.

    What else is called within it, such as another model, is a call of its own.
    """
    call = _covering.get()
    return call if call is not None and call.covers(ask) else None


def _ruled(measured: Measured, rule: str) -> Measured:
    return {**measured, "estimate_rule": rule}


@contextmanager
def uncovered() -> Iterator[None]:
    """Let what is asked for within be a call of its own, whatever covers this block."""
    token = _covering.set(None)
    try:
        yield
    finally:
        _covering.reset(token)
