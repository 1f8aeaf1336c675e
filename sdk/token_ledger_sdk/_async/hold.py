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
    Settlement,
    extend_request,
    part_request,
    release_request,
    settle_request,
)
from ..unsettled import Ending, choose_ending, held_usage, outcome_of
from ..usage import Usage, response_id_of, usage_from
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
        self._tried: ApiRequest | None = None
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

        Raises UsageMissing if the response carries no token counts, ReservationNotOpen if the hold has ended.
        """
        usage = usage_from(response)
        identifier = response_id_of(response)
        if identifier is not None:
            actual.setdefault("response_id", identifier)
        request = settle_request(self.reservation_id, usage, **actual)
        return Settlement.parse(await self._end(request))

    async def settle_part(self, response: object, **actual: Unpack[Actual]) -> Settlement:
        """Book a part of what the call uses, such as a stream's so far; the hold stays, for the rest.

        Every part adds up, so the settle at the end books what the parts have not.
        """
        request = part_request(self.reservation_id, usage_from(response), **actual)
        return Settlement.parse(await self._sender.send(request))

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Let the hold expire so many seconds from now, if that is later; `directive.stop` says if it is to end."""
        self.reservation = Reservation.parse(await self._sender.send(extend_request(self.reservation_id, ttl_seconds)))
        return self.reservation

    async def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> Settlement:
        """Book an estimate, marked as one; without a usage, what was held."""
        actual["estimated"] = True
        return await self.settle(self._held if usage is None else usage, **actual)

    async def release(self, reason: str | None = None) -> Reservation:
        """End the hold with nothing; only when the provider surely did not run."""
        return Reservation.parse(await self._end(release_request(self.reservation_id, reason)))

    async def _end(self, request: ApiRequest) -> Fields:
        self._tried = request
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = choose_ending(ended=self._ended, tried=self._tried is not None, not_sent=self._not_sent, error=error)

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
