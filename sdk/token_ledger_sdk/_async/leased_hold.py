"""A call of a run that was admitted from a lease, used like a hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Unpack

from ..leases.sizes import usage_cost
from ..wire.amounts import Amounts
from ..wire.calls import Actual, Call, Scope
from ..wire.leases import Lease
from ..wire.reservations import Reservation, Settlement
from .later_hold import AsyncLaterHold
from .leased_call import AsyncLeasedCall
from .sender import AsyncSender


class AsyncLeasedHold(AsyncLaterHold):
    """Permission for a call on a lease, used like a hold: `reservation_id` is that of the lease.

    What it used is in the spool before `settle` returns, and is booked with other calls, half of `flush_seconds` later;
    so its settlement says `booked=False`, and what it costs by the rates of the lease.
    """

    def __init__(self, sender: AsyncSender, leased: AsyncLeasedCall, call: Call, scope: Scope) -> None:
        self._leased = leased
        super().__init__(sender, _reservation(leased.lease, leased.held, call), call, scope)

    @property
    def reservation_id(self) -> str:
        """The id of the lease that the call is of now."""
        return self._leased.reservation_id

    async def settle(self, response: object, **actual: Unpack[Actual]) -> Settlement:
        """Book what the call used, with other calls; raises UsageMissing."""
        self._check_open()
        use = self._whole_use(response, {"occurred_at": datetime.now(UTC), **actual})
        price = self._leased.lease.price
        await self._leased.book(use)
        self._ended = True
        return self._settlement(use, Decimal(0) if price is None else usage_cost(price, use.usage))

    async def release(self, reason: str | None = None) -> Reservation:
        """End the call without booking anything; only if the provider surely did not run."""
        self._check_open()
        await self._leased.release(reason)
        self._ended = True
        self.reservation = replace(self.reservation, state="released", end_reason=reason)
        return self.reservation

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Let the lease, and so all of its calls, expire `ttl_seconds` from now, if that is later."""
        extended = await self._leased.extend(ttl_seconds)
        self.reservation = replace(
            self.reservation, state=extended.state, expires_at=extended.expires_at, directive=extended.directive,
            stop=extended.stop,
        )  # fmt: skip
        return self.reservation


def _reservation(lease: Lease, held: Amounts, call: Call) -> Reservation:
    limit = call["max_output_tokens"]
    return Reservation(
        reservation_id=lease.lease_id, state=lease.state, created_at=lease.created_at, expires_at=lease.expires_at,
        run_id=lease.run_id, held=held, provider=lease.provider, model=lease.model,
        directive=replace(lease.directive, max_output_tokens=limit), warnings=lease.warnings, replayed=False,
        without_price=lease.without_price,
    )  # fmt: skip
