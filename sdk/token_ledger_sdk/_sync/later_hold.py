# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Permission that is used like a hold, for a call that is booked as a whole, and later."""

from __future__ import annotations

from decimal import Decimal
from typing import Unpack

from ..unsettled import Ending, choose_ending, outcome_of, release_reason
from ..wire.calls import Actual, Call, Scope, Use
from ..wire.reservations import Reservation, Settlement
from .hold import Hold
from .sender import Sender


class LaterHold(Hold):
    """A hold whose settle is kept in the spool and booked later, so that its settlement says `booked=False`.

    It has no parts: the settle books the whole.
    """

    def __init__(self, sender: Sender, reservation: Reservation, call: Call, scope: Scope) -> None:
        self._has_part = False
        self._estimates_part = False
        super().__init__(sender, reservation, call, scope)

    def settle_soon(self, response: object, **actual: Unpack[Actual]) -> None:
        """The same as `settle`."""
        self.settle(response, **actual)

    def settle_part(self, response: object, **actual: Unpack[Actual]) -> Settlement | None:
        """Note that the call runs; the settle books the whole of it."""
        self._has_part = True
        self._estimates_part = self._estimates_part or actual.get("estimated", False)
        return None

    def release_soon(self, reason: str) -> None:
        """The same as `release`."""
        self.release(reason)

    def _whole_use(self, response: object, actual: Actual) -> Use:
        """Return what the call used, parts included; raises UsageMissing."""
        use = self._use(response, actual)
        if self._estimates_part:
            use.actual["estimated"] = True
        return use

    def _settlement(self, use: Use, cost: Decimal) -> Settlement:
        return Settlement(
            reservation_id=self.reservation_id, event_id="", state="settled", cost=cost,
            tokens=use.usage.input_tokens + use.usage.output_tokens, overrun=False, late=False, unpriced=False,
            clamped=False, replayed=False, booked=False,
        )  # fmt: skip

    def _leave(self, error: BaseException | None) -> None:
        ending = choose_ending(
            ended=self._ended, tried=False, not_sent=self._not_sent, error=error, ran=self._has_part
        )  # fmt: skip
        if ending is Ending.RELEASE:
            self.release(reason=release_reason(error) or "not sent")
        elif ending is Ending.ESTIMATE:
            self.settle_estimate(outcome=outcome_of(error))
