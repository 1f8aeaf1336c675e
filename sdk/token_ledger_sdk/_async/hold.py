"""A hold: what is set aside for one call, until it is settled or released."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar, Unpack

from ..errors import ApiError, Conflict, LedgerError, Problem, ReservationNotOpen, Unavailable, Unreachable
from ..guard.run_stops import RunStops
from ..providers import Usage
from ..providers.usage import NO_USAGE
from ..spool.deliveries import Owner
from ..spool.lines import Record
from ..spool.spool import Ticket
from ..unsettled import Ending, choose_ending, held_usage, outcome_of, release_reason
from ..wire import reservations
from ..wire.amounts import Amounts
from ..wire.calls import DEFAULT_TTL_SECONDS, Actual, Call, Scope, Use, part_of, told_of_call, use_of
from ..wire.fields import Fields
from ..wire.requests import ApiRequest, json_text, operation_of
from ..wire.reservations import Reservation, SentPart, Settlement
from .heartbeat import LONGEST_CALL_SECONDS, AsyncBeating
from .permission import AsyncPermission
from .sender import AsyncSender

Answered = TypeVar("Answered", Settlement, Reservation)


class AsyncHold(AsyncPermission, AsyncBeating):
    """Permission for one LLM call, with the hold that the service made for it; it is kept alive until it is ended."""

    def __init__(self, sender: AsyncSender, reservation: Reservation, call: Call, scope: Scope) -> None:
        super().__init__(call.get("service_tier"))
        self._most = held_usage(reservation, call)
        self._sender = sender
        self._outbox = sender.outbox
        self._asked = call, scope
        self._tried: Use | ApiRequest | None = None
        self._kept_end: Ticket | None = None
        self._booked = NO_USAGE
        self._unanswered: SentPart | None = None
        self._kept_part: Ticket | None = None
        self.reservation = reservation
        self._ttl_seconds = call.get("ttl_seconds", DEFAULT_TTL_SECONDS)
        self._granted = sender.heartbeat.clock()
        self._beaten: float | None = self._granted

    @property
    def _grant(self) -> Reservation:
        return self.reservation

    @property
    def _stops(self) -> RunStops:
        return self._sender.stops

    @property
    def most(self) -> Usage:
        """The most that this call may use."""
        return self._most

    @property
    def reservation_id(self) -> str:
        """The id of the hold."""
        return self.reservation.reservation_id

    @property
    def is_unasked(self) -> bool:
        """Whether the call was let through without a hold, because the service could not be reached."""
        return False

    @property
    def held(self) -> Amounts:
        """What is set aside for this call."""
        return self.reservation.held

    async def settle(self, response: object, **actual: Unpack[Actual]) -> Settlement:
        """Book what the call used: a `Usage`, a response of a provider, or a `StreamUsage`.

        The response covers the whole call; what `settle_part` has booked of it is not booked again. Raises
        UsageMissing if it has no token counts, ReservationNotOpen if the hold has ended. After Unreachable and
        Unavailable it is sent again in the background until there is an answer, or the client is closed.
        """
        return self._heard((await self._end(self._use(response, actual))).read(Settlement))

    async def settle_soon(self, response: object, **actual: Unpack[Actual]) -> None:
        """Book what the call used together with what is sent next, and do not wait for the answer; raises UsageMissing.

        It is in the spool before this returns. With `flush_seconds=0` it is booked before this returns, as by `settle`.
        """
        if self._outbox.is_at_once:
            await self.settle(response, **actual)
            return
        self._check_open()
        use = self._use(response, actual)
        request = self._request_of(use)
        self._ended = True
        self._outbox.put(Record(operation_of(request), self._told()), self)
        await self._outbox.added()

    async def settle_part(self, response: object, **actual: Unpack[Actual]) -> Settlement | None:
        """Book what the call has used so far, such as `stream.partial()`; the hold stays, for the rest.

        The response covers the call since it began; only what earlier parts have not booked is sent. All parts cost
        together what the call costs as a whole, so the cost of one may correct those before, and be negative. An
        earlier part that got no answer is first sent again unchanged. Returns the last booking that this made, or None
        if there was nothing new to book. Raises like `settle`.
        """
        use = self._use(response, actual)
        settlement = await self._repeat_part()
        rest = use.usage.less(self._booked)
        if rest == NO_USAGE:
            return settlement
        return await self._send_part(reservations.settle_part(self.reservation_id, part_of(use, rest, actual)))

    async def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> Settlement:
        """Book an estimate of the whole call, marked as one; without a usage, what was held."""
        most, said = self._estimated(usage, actual)
        return await self.settle(most, **said)

    async def release(self, reason: str | None = None) -> Reservation:
        """End the hold without booking anything; only if the provider surely did not run."""
        return (await self._end(reservations.release_request(self.reservation_id, reason))).read(Reservation)

    async def release_soon(self, reason: str) -> None:
        """End the hold without booking anything, with what is sent next."""
        self._check_open()
        self._ended = True
        self._outbox.put(Record(operation_of(reservations.release_request(self.reservation_id, reason)), self._told()))

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Let the hold expire `ttl_seconds` from now, if that is later; `directive.stop` says if it should end."""
        answer = await self._sender.send(reservations.extend_request(self.reservation_id, ttl_seconds))
        self.reservation = self._heard(answer.read(Reservation))
        return self.reservation

    def next_beat(self, now: float) -> float | None:
        """Return when half of the life that was granted last has passed; None once the call takes too long."""
        if self._ended or self._beaten is None or now - self._granted > LONGEST_CALL_SECONDS:
            return None
        return self._beaten + self._ttl_seconds / 2

    async def beat(self) -> None:
        """Extend the hold; no more once it has ended, or the service says that no further call should be made."""
        self._beaten = self._sender.heartbeat.clock()
        try:
            answer = await self._sender.send(
                reservations.extend_request(self.reservation_id, self._ttl_seconds), again=False
            )
        except Conflict:
            self._beaten = None
            raise
        self.reservation = self._heard(answer.read(Reservation))
        if self.reservation.directive.stop:
            self._beaten = None

    def _use(self, response: object, actual: Actual) -> Use:
        return use_of(response, actual, provider=self.provider, model=self.model)

    def booked(self, answer: Fields) -> None:
        """Note that the hold has ended, as it was asked to in the background."""
        self._ended = True
        if answer.has("stop"):
            self._stops.told(self._asked[1].run_id, answer.text("stop"))

    def _heard(self, answer: Answered) -> Answered:
        """Act on what an answer says of the run of this call."""
        self._stops.told(self._asked[1].run_id, answer.stop)
        return answer

    def refused(self, error: ApiError) -> bool:
        """Note that the service will not end the hold, as it was asked to in the background."""
        self._ended = self._ended or isinstance(error, Conflict)
        return False

    async def _repeat_part(self) -> Settlement | None:
        return None if self._unanswered is None else await self._send_part(self._unanswered)

    async def _send_part(self, part: SentPart) -> Settlement:
        if part is not self._unanswered:
            self._unanswered, self._kept_part = part, self._keep(part.request, owner=None)
        else:
            self._outbox.hold_back(self._kept_part)
        try:
            answer = await self._sender.send(part.request)
        except (Unreachable, Unavailable):
            self._outbox.send_later(self._kept_part)
            raise
        except ApiError as error:
            self._ended = self._ended or isinstance(error, Conflict)
            self._part_answered()
            raise
        self._part_answered()
        self._booked += part.usage
        return self._heard(answer.read(Settlement))

    def _check_open(self) -> None:
        if self._ended:
            raise LedgerError(f"hold {self.reservation_id} has ended: settle or release each permission once")

    def _part_answered(self) -> None:
        self._outbox.answered(self._kept_part)
        self._unanswered = self._kept_part = None

    async def _end(self, last: Use | ApiRequest) -> Fields:
        """Send what ends the hold; without an answer it is sent in the background until there is one."""
        self._tried = last
        if self._kept_end is None:
            self._kept_end = self._keep(self._request_of(last), owner=self)
        else:
            self._outbox.hold_back(self._kept_end)
        try:
            # What is left to book is known only once it is known whether the last part was booked.
            await self._repeat_part()
            answer = await self._send_end(last)
        except ApiError as error:
            if isinstance(error, Unavailable):
                self._outbox.send_later(self._kept_end)
            else:
                self._end_answered()
            raise
        except BaseException:
            self._outbox.send_later(self._kept_end)
            raise
        self._end_answered()
        self._ended = True
        return answer

    async def _send_end(self, last: Use | ApiRequest) -> Fields:
        try:
            return await self._sender.send(self._request_of(last))
        except Conflict:
            self._ended = True
            raise
        except ApiError as error:
            # A refused request would be refused again; one that could not be served is worth repeating.
            if not isinstance(error, Unavailable):
                self._tried = None
            raise

    def _end_answered(self) -> None:
        self._outbox.answered(self._kept_end)
        self._kept_end = None

    def _keep(self, request: ApiRequest, *, owner: Owner | None) -> Ticket | None:
        return self._outbox.keep(Record(operation_of(request), self._told()), owner)

    def _told(self) -> str:
        call, scope = self._asked
        told = told_of_call(call, scope, provider=self.provider, model=self.model)
        return json_text({**told, "occurred_at": datetime.now(UTC)})

    def _request_of(self, last: Use | ApiRequest) -> ApiRequest:
        """Return the request that ends the hold, once the part that got no answer is booked."""
        if isinstance(last, ApiRequest):
            return last
        booked = self._booked if self._unanswered is None else self._booked + self._unanswered.usage
        return reservations.settle_request(self.reservation_id, replace(last, usage=last.usage.less(booked)))

    async def _leave(self, error: BaseException | None) -> None:
        ending = choose_ending(
            ended=self._ended,
            tried=self._tried is not None,
            not_sent=self._not_sent,
            error=error,
            ran=self._booked != NO_USAGE or self._unanswered is not None,
        )
        if ending is Ending.REPEAT and self._tried is not None:
            await self._end(self._tried)
        elif ending is Ending.RELEASE:
            await self.release(reason=release_reason(error) or "not sent")
        elif ending is Ending.ESTIMATE:
            await self.settle_estimate(outcome=outcome_of(error))

    def _failure(self) -> str:
        return f"end hold {self.reservation_id}"


async def reserve(sender: AsyncSender, call: Call, scope: Scope) -> AsyncHold:
    """Reserve one call; raises ReservationNotOpen if the idempotency key belongs to a hold that has ended."""
    return await reserve_by(sender, reservations.reserve_request(call, scope), call, scope)


async def reserve_by(sender: AsyncSender, request: ApiRequest, call: Call, scope: Scope) -> AsyncHold:
    """Reserve one call by a request that was made for it."""
    answer = await sender.send(request)
    reservation = answer.read(Reservation)
    if reservation.state != "held":
        detail = (
            f"hold {reservation.reservation_id} of the same idempotency key is {reservation.state}: no permission;"
            " reserve with a new key"
        )
        raise ReservationNotOpen(Problem(409, "reservation_not_open", detail=detail))
    sender.costs.note_hold(call, reservation)
    hold = AsyncHold(sender, reservation, call, scope)
    sender.heartbeat.add(hold)
    return hold
