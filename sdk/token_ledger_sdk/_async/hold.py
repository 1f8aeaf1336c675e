"""A hold: what was set aside for one call, until it is settled or released."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

from ..amounts import Amounts
from ..directives import Directive, Refusal
from ..errors import ApiError, Conflict, Problem, ReservationNotOpen, Unavailable
from ..fields import Fields
from ..reservations import (
    Actual,
    Call,
    Reservation,
    SentPart,
    Settlement,
    Use,
    extend_request,
    new_part,
    release_request,
    settle_request,
)
from ..unsettled import Ending, choose_ending, held_usage, outcome_of
from ..usage import NO_USAGE, Usage, response_id_of, usage_from
from ..waiting import uncanceled_async
from ..wire import ApiRequest
from .sender import AsyncSender


class AsyncHold:
    """Permission for one LLM call; as a context manager it never stays open.

    Leaving the block without a settle releases the hold only if the provider surely did not run: after
    `not_sent()`, or when a ConnectError or ConnectTimeout leaves the block. Otherwise what was held is
    booked as an estimate. So keep nothing but the provider call and its settle inside the block.
    """

    def __init__(self, sender: AsyncSender, reservation: Reservation, held: Usage) -> None:
        self._sender = sender
        self._held = held
        self._ended = False
        self._not_sent = False
        self._tried: Use | ApiRequest | None = None
        self._booked = NO_USAGE
        self._unanswered: SentPart | None = None
        self.reservation = reservation

    @property
    def reservation_id(self) -> str:
        return self.reservation.reservation_id

    @property
    def provider(self) -> str:
        """The provider to call."""
        return self.reservation.provider

    @property
    def model(self) -> str:
        """The model to call; another one than asked for only if a downgrade was switched on."""
        return self.reservation.model

    @property
    def directive(self) -> Directive:
        return self.reservation.directive

    @property
    def max_output_tokens(self) -> int:
        """How many output tokens to ask the provider for at most."""
        return self._held.output_tokens

    @property
    def held(self) -> Amounts:
        return self.reservation.held

    @property
    def warnings(self) -> tuple[Refusal, ...]:
        """Soft and shadow accounts that would have refused the call."""
        return self.reservation.warnings

    def not_sent(self) -> None:
        """Declare that the provider was not called, so that leaving the block releases the hold."""
        self._not_sent = True

    async def settle(self, response: object, **actual: Unpack[Actual]) -> Settlement:
        """Book what the call used: a `Usage`, a response of OpenAI or Anthropic, or a stream's accumulator.

        It says what the whole call used; what parts have booked of that is not booked again. Raises UsageMissing if
        the response carries no token counts, ReservationNotOpen if the hold has ended.
        """
        usage = usage_from(response)
        identifier = response_id_of(response)
        if identifier is not None:
            actual.setdefault("response_id", identifier)
        return Settlement.parse(await self._end(Use(usage, actual)))

    async def settle_part(self, response: object, **actual: Unpack[Actual]) -> Settlement | None:
        """Book what the call has used so far, such as `stream.partial()`; the hold stays, for the rest.

        It says what was used since the call began, and only what the parts before have not booked is sent. A part
        that got no answer is first sent again as it was. Returns what was booked last by this; None if there was
        nothing new to book, and nothing was sent. Raises like `settle`.
        """
        usage = usage_from(response)
        settlement = await self._repeat_part()
        rest = usage.less(self._booked)
        if rest == NO_USAGE:
            return settlement
        return await self._send_part(new_part(self.reservation_id, rest, **actual))

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Let the hold expire so many seconds from now, if that is later; `directive.stop` says if it is to end."""
        self.reservation = Reservation.parse(await self._sender.send(extend_request(self.reservation_id, ttl_seconds)))
        return self.reservation

    async def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> Settlement:
        """Book an estimate of the whole call, marked as one; without a usage, what was held."""
        actual["estimated"] = True
        return await self.settle(self._held if usage is None else usage, **actual)

    async def release(self, reason: str | None = None) -> Reservation:
        """End the hold with nothing; only when the provider surely did not run."""
        return Reservation.parse(await self._end(release_request(self.reservation_id, reason)))

    async def _repeat_part(self) -> Settlement | None:
        return None if self._unanswered is None else await self._send_part(self._unanswered)

    async def _send_part(self, part: SentPart) -> Settlement:
        self._unanswered = part
        try:
            answer = await self._sender.send(part.request)
        except ApiError as error:
            self._ended = self._ended or isinstance(error, Conflict)
            if not isinstance(error, Unavailable):
                self._unanswered = None
            raise
        self._unanswered = None
        self._booked += part.usage
        return Settlement.parse(answer)

    async def _end(self, last: Use | ApiRequest) -> Fields:
        self._tried = last
        # Only once it is known whether the last part was booked is it known what is left to book.
        await self._repeat_part()
        request = last if isinstance(last, ApiRequest) else self._settle_request(last)
        try:
            answer = await self._sender.send(request)
        except Conflict:
            self._ended = True
            raise
        except ApiError as error:
            # A refused request will be refused again; one that could not be served is worth repeating.
            if not isinstance(error, Unavailable):
                self._tried = None
            raise
        self._ended = True
        return answer

    def _settle_request(self, use: Use) -> ApiRequest:
        return settle_request(self.reservation_id, use.usage.less(self._booked), **use.actual)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = choose_ending(
            ended=self._ended,
            tried=self._tried is not None,
            not_sent=self._not_sent,
            error=error,
            ran=self._booked != NO_USAGE or self._unanswered is not None,
        )

        async def finish() -> None:
            await self._finish(ending, outcome=outcome_of(error))

        try:
            await uncanceled_async(finish)
        except Exception as failure:
            if error is None:
                raise
            # What left the block matters more to the caller; the hold expires by itself.
            error.add_note(f"Token Ledger could not end hold {self.reservation_id}: {failure}")

    async def _finish(self, ending: Ending, *, outcome: str) -> None:
        if ending is Ending.REPEAT and self._tried is not None:
            await self._end(self._tried)
        elif ending is Ending.RELEASE:
            await self.release(reason="not sent")
        elif ending is Ending.ESTIMATE:
            await self.settle_estimate(outcome=outcome)


async def reserve(sender: AsyncSender, request: ApiRequest, call: Call) -> AsyncHold:
    """Send a reserve and make its answer a hold; raises ReservationNotOpen if its key is of a hold that has ended."""
    reservation = Reservation.parse(await sender.send(request))
    if reservation.state != "held":
        detail = f"hold {reservation.reservation_id} of the same idempotency key is {reservation.state}: no permission"
        raise ReservationNotOpen(Problem(409, "reservation_not_open", "", detail))
    held = held_usage(
        reservation,
        input_tokens=call["input_tokens"],
        max_output_tokens=call["max_output_tokens"],
        cached_input_tokens=call.get("cached_input_tokens", 0),
    )
    return AsyncHold(sender, reservation, held)
