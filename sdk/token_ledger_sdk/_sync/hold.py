# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""A hold: what is set aside for one call, until it is settled or released."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

from ..errors import ApiError, Conflict, Problem, ReservationNotOpen, Unavailable, Unreachable
from ..providers import Usage
from ..providers.usage import NO_USAGE
from ..unsettled import Ending, choose_ending, held_usage, outcome_of, release_reason
from ..wire import reservations
from ..wire.amounts import Amounts
from ..wire.calls import Actual, Call, Scope, Use, part_of, use_of
from ..wire.fields import Fields
from ..wire.requests import ApiRequest
from ..wire.reservations import Reservation, SentPart, Settlement
from .permission import Permission
from .sender import Sender


class Hold(Permission):
    """Permission for one LLM call, with the hold that the service made for it."""

    def __init__(self, sender: Sender, reservation: Reservation, most: Usage, service_tier: str | None = None) -> None:
        super().__init__(most)
        self._sender = sender
        self._service_tier = service_tier
        self._tried: Use | ApiRequest | None = None
        self._booked = NO_USAGE
        self._unanswered: SentPart | None = None
        self.reservation = reservation

    @property
    def _grant(self) -> Reservation:
        return self.reservation

    @property
    def reservation_id(self) -> str:
        """The id of the hold."""
        return self.reservation.reservation_id

    @property
    def held(self) -> Amounts:
        """What is set aside for this call."""
        return self.reservation.held

    def settle(self, response: object, **actual: Unpack[Actual]) -> Settlement:
        """Book what the call used: a `Usage`, a response of a provider, or a `StreamUsage`.

        The response covers the whole call; what `settle_part` has booked of it is not booked again. Raises
        UsageMissing if it has no token counts, ReservationNotOpen if the hold has ended. After Unreachable and
        Unavailable it is sent again in the background until there is an answer, or the client is closed.
        """
        return (self._end(self._use(response, actual))).read(Settlement)

    def settle_part(self, response: object, **actual: Unpack[Actual]) -> Settlement | None:
        """Book what the call has used so far, such as `stream.partial()`; the hold stays, for the rest.

        The response covers the call since it began; only what earlier parts have not booked is sent. All parts cost
        together what the call costs as a whole, so the cost of one may correct those before, and be negative. An
        earlier part that got no answer is first sent again unchanged. Returns the last booking that this made, or None
        if there was nothing new to book. Raises like `settle`.
        """
        use = self._use(response, actual)
        settlement = self._repeat_part()
        rest = use.usage.less(self._booked)
        if rest == NO_USAGE:
            return settlement
        return self._send_part(reservations.settle_part(self.reservation_id, part_of(use, rest, actual)))

    def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> Settlement:
        """Book an estimate of the whole call, marked as one; without a usage, what was held."""
        actual["estimated"] = True
        if self._service_tier is not None:
            actual.setdefault("service_tier", self._service_tier)
        return self.settle(self._most if usage is None else usage, **actual)

    def release(self, reason: str | None = None) -> Reservation:
        """End the hold without booking anything; only if the provider surely did not run."""
        return (self._end(reservations.release_request(self.reservation_id, reason))).read(Reservation)

    def extend(self, ttl_seconds: int) -> Reservation:
        """Let the hold expire `ttl_seconds` from now, if that is later; `directive.stop` says if it should end."""
        answer = self._sender.send(reservations.extend_request(self.reservation_id, ttl_seconds))
        self.reservation = answer.read(Reservation)
        return self.reservation

    def _use(self, response: object, actual: Actual) -> Use:
        return use_of(response, actual, provider=self.provider, model=self.model)

    def _repeat_part(self, *, again: bool = True) -> Settlement | None:
        return None if self._unanswered is None else self._send_part(self._unanswered, again=again)

    def _send_part(self, part: SentPart, *, again: bool = True) -> Settlement:
        self._unanswered = part
        try:
            answer = self._sender.send(part.request, again=again)
        except ApiError as error:
            self._ended = self._ended or isinstance(error, Conflict)
            if not isinstance(error, Unavailable):
                self._unanswered = None
            raise
        self._unanswered = None
        self._booked += part.usage
        return answer.read(Settlement)

    def _end(self, last: Use | ApiRequest) -> Fields:
        try:
            answer = self._try_to_end(last, again=True)
        except (Unreachable, Unavailable):
            # What was used is spent, whoever waits for the answer: it is sent until there is one.
            self._sender.backlog.keep(self.reservation_id, partial(self._end_again, last))
            raise
        except ApiError:
            self._sender.backlog.drop(self.reservation_id)
            raise
        self._sender.backlog.drop(self.reservation_id)
        return answer

    def _end_again(self, last: Use | ApiRequest) -> None:
        try:
            self._try_to_end(last, again=False)
        except ReservationNotOpen:
            if not isinstance(last, ApiRequest):
                raise
            # What was to be released has ended meanwhile, as by its expiry.

    def _try_to_end(self, last: Use | ApiRequest, *, again: bool) -> Fields:
        self._tried = last
        # What is left to book is known only once it is known whether the last part was booked.
        self._repeat_part(again=again)
        request = last if isinstance(last, ApiRequest) else self._settle_request(last)
        try:
            answer = self._sender.send(request, again=again)
        except Conflict:
            self._ended = True
            raise
        except ApiError as error:
            # A refused request would be refused again; one that could not be served is worth repeating.
            if not isinstance(error, Unavailable):
                self._tried = None
            raise
        self._ended = True
        return answer

    def _settle_request(self, use: Use) -> ApiRequest:
        return reservations.settle_request(self.reservation_id, replace(use, usage=use.usage.less(self._booked)))

    def _leave(self, error: BaseException | None) -> None:
        ending = choose_ending(
            ended=self._ended,
            tried=self._tried is not None,
            not_sent=self._not_sent,
            error=error,
            ran=self._booked != NO_USAGE or self._unanswered is not None,
        )
        if ending is Ending.REPEAT and self._tried is not None:
            self._end(self._tried)
        elif ending is Ending.RELEASE:
            self.release(reason=release_reason(error) or "not sent")
        elif ending is Ending.ESTIMATE:
            self.settle_estimate(outcome=outcome_of(error))

    def _failure(self) -> str:
        return f"end hold {self.reservation_id}"


def reserve(sender: Sender, call: Call, scope: Scope) -> Hold:
    """Reserve one call; raises ReservationNotOpen if the idempotency key belongs to a hold that has ended."""
    answer = sender.send(reservations.reserve_request(call, scope))
    reservation = answer.read(Reservation)
    if reservation.state != "held":
        detail = (
            f"hold {reservation.reservation_id} of the same idempotency key is {reservation.state}: no permission;"
            " reserve with a new key"
        )
        raise ReservationNotOpen(Problem(409, "reservation_not_open", detail=detail))
    return Hold(sender, reservation, held_usage(reservation, call), call.get("service_tier"))
