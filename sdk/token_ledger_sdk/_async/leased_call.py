"""A call that was admitted in this process, from a lease."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Unpack

from ..errors import LedgerError
from ..guard.run_stops import RunStops
from ..leases.admission import LeaseBook
from ..leases.sizes import Size, Take
from ..providers import Usage
from ..unsettled import Ending, choose_ending, outcome_of, release_reason
from ..wire.amounts import Amounts
from ..wire.calls import Actual, Use, use_of
from ..wire.leases import Lease
from ..wire.reservations import Reservation
from .flusher import AsyncFlusher
from .permission import AsyncPermission


class AsyncLeasedCall(AsyncPermission):
    """Permission for one LLM call, from a lease; what it used is booked later, together with other calls."""

    def __init__(self, flusher: AsyncFlusher, book: LeaseBook, size: Size, admitted: Take) -> None:
        super().__init__(size.service_tier)
        self._size = size
        self._flusher = flusher
        self._book = book
        self._admitted = admitted

    @property
    def _grant(self) -> Lease:
        return self._book.lease

    @property
    def _stops(self) -> RunStops:
        return self._flusher.stops

    @property
    def lease(self) -> Lease:
        """The lease that the call was admitted from."""
        return self._book.lease

    @property
    def most(self) -> Usage:
        """The most that this call may use."""
        return self._size.usage

    @property
    def max_output_tokens(self) -> int:
        """The most output tokens to ask the provider for."""
        return self._size.max_output_tokens

    @property
    def reservation_id(self) -> str:
        """The id of the lease, which is a reservation for many calls."""
        return self._book.lease.lease_id

    @property
    def held(self) -> Amounts:
        """What of the lease is set aside for this call."""
        return Amounts(tokens=self._admitted.tokens, cost=self._admitted.cost, calls=self._admitted.calls)

    async def settle(self, response: object, **actual: Unpack[Actual]) -> None:
        """Book what the call used with the next flush; raises UsageMissing.

        After the block of the leases was left it is booked at once, with the errors of `flush`.
        """
        said: Actual = {"occurred_at": datetime.now(UTC), **actual}
        await self.book(use_of(response, said, provider=self.provider, model=self.model))

    async def book(self, use: Use) -> None:
        """Book what the call used, as `settle` does."""
        self._check_open()
        self._flusher.put(self._book, self._admitted, use)
        self._ended = True
        await self._flusher.ended()

    async def settle_estimate(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> None:
        """Book an estimate, marked as one; without a usage, what was admitted."""
        most, said = self._estimated(usage, actual)
        await self.settle(most, **said)

    async def release(self, reason: str | None = None) -> None:
        """End the call without booking anything; only if the provider surely did not run.

        The reason is kept with those of other calls when the lease is released.
        """
        self._check_open()
        self._book.give_back(self._admitted, reason)
        self._ended = True
        await self._flusher.ended()

    async def settle_soon(self, response: object, **actual: Unpack[Actual]) -> None:
        """The same as `settle`."""
        await self.settle(response, **actual)

    async def release_soon(self, reason: str) -> None:
        """The same as `release`."""
        await self.release(reason)

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Let the lease, and so all of its calls, expire `ttl_seconds` from now, if that is later."""
        return await self._flusher.extend(self._book, ttl_seconds)

    def _check_open(self) -> None:
        if self._ended:
            raise LedgerError(
                f"a call on lease {self.reservation_id} was ended twice: settle or release each permission once"
            )

    async def _leave(self, error: BaseException | None) -> None:
        ending = choose_ending(ended=self._ended, tried=False, not_sent=self._not_sent, error=error)
        if ending is Ending.RELEASE:
            await self.release(reason=release_reason(error) or "not sent")
        elif ending is Ending.ESTIMATE:
            await self.settle_estimate(outcome=outcome_of(error))

    def _failure(self) -> str:
        return f"book a call on lease {self.reservation_id}"
