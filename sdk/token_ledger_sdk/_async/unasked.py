"""A call that was let through while the service was away: nothing is held for it, and it is booked afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar, Unpack

from ..directives import Directive
from ..errors import LedgerError, Unreachable
from ..guard.stages import MOST_TAGS
from ..spool.deliveries import event_operation
from ..spool.lines import Record
from ..unavailable import AllowUpTo, OnUnavailable, is_outage
from ..unsettled import held_usage
from ..wire.calls import DEFAULT_TTL_SECONDS, Actual, Call, Scope, told_of_call
from ..wire.requests import ApiRequest, new_key
from ..wire.reservations import Reservation, Settlement, reserve_request
from .hold import AsyncHold, reserve_by
from .later_hold import AsyncLaterHold
from .sender import AsyncSender

MARK = {"admission": "unasked"}
"""The tag of such calls, by which reports tell them from others; left out where a call has all the tags it may have."""

Permission = TypeVar("Permission")


class AsyncUnaskedHold(AsyncLaterHold):
    """Permission for a call that nobody was asked for: used like a hold, of the model and limits that were asked for.

    What it used is in the spool before `settle` returns, and is booked when the service is back; until then its cost
    is not known, so its settlement says `booked=False` and a cost of 0.
    """

    def __init__(self, sender: AsyncSender, call: Call, scope: Scope) -> None:
        self._key = new_key()
        super().__init__(sender, _reservation(call, scope, self._key), call, scope)

    @property
    def is_unasked(self) -> bool:
        """Whether the call was let through without a hold."""
        return True

    async def settle(self, response: object, **actual: Unpack[Actual]) -> Settlement:
        """Keep what the call used until the service is back; raises UsageMissing."""
        self._check_open()
        use = self._whole_use(response, actual)
        call, scope = self._asked
        told = told_of_call(call, scope, provider=self.provider, model=self.model)
        tags = {**(call.get("tags") or {}), **MARK}
        if len(tags) <= MOST_TAGS:
            told["tags"] = tags
        told["occurred_at"] = self.reservation.created_at
        record = Record(event_operation(self._key, told, use))
        self._ended = True
        self._outbox.put(record, self)
        await self._outbox.added()
        return self._settlement(use, Decimal(0))

    async def release(self, reason: str | None = None) -> Reservation:
        """End the call without booking anything; only if the provider surely did not run."""
        self._check_open()
        self._ended = True
        self.reservation = replace(self.reservation, state="released", end_reason=reason)
        return self.reservation

    async def extend(self, ttl_seconds: int) -> Reservation:
        """Return when the call would expire; nothing is held, so nothing does."""
        self.reservation = replace(self.reservation, expires_at=datetime.now(UTC) + timedelta(seconds=ttl_seconds))
        return self.reservation


async def permit(
    sender: AsyncSender, call: Call, scope: Scope, on_unavailable: OnUnavailable | None = None
) -> AsyncHold:
    """Reserve one call, or let it through by the policy, by default that of the client, if the service is away."""
    request = reserve_request(call, scope)

    async def ask() -> AsyncHold:
        return await reserve_by(sender, request, call, scope)

    return await unless_away(sender, call, scope, on_unavailable, ask, asked=[request])


async def unless_away(
    sender: AsyncSender,
    call: Call,
    scope: Scope,
    on_unavailable: OnUnavailable | None,
    ask: Callable[[], Awaitable[Permission]],
    *,
    asked: Sequence[ApiRequest] = (),
) -> Permission | AsyncHold:
    """Return what `ask` returns, or let the call through by the policy if the service is away; raises what `ask` does.

    While the service is away only one call in a while asks; the others raise Unreachable at once, or go through. Holds
    that the requests in `asked` may have been given all the same are released when the service is back. Raises
    RunCancelled without asking, once that was heard of the run.
    """
    sender.stops.check(scope.run_id)
    policy = sender.on_unavailable if on_unavailable is None else on_unavailable
    if policy == "deny":
        return await ask()
    circuit = sender.circuit
    failure: LedgerError = Unreachable(
        "Token Ledger gave no answer a moment ago, and was not asked again for this call"
    )
    was_asked = circuit.may_ask()
    if was_asked:
        try:
            return await ask()
        except LedgerError as error:
            if not is_outage(error):
                raise
            circuit.failed()
            failure = error
    unasked = _reservation(call, scope, "")
    most_nanos = sender.costs.most_nanos(call)
    if not circuit.lets_through(policy, held_usage(unasked, call), most_nanos):
        if most_nanos is None and isinstance(policy, AllowUpTo) and policy.cost_nanos is not None:
            raise Unreachable(
                f"Token Ledger gives no answer, and what this call of {call['provider']}/{call['model']} costs is not"
                " known here, so allow_up_to(cost=…) lets it not through: make one that is as large while the service"
                " answers, or give allow_up_to(tokens=…)"
            ) from failure
        raise failure
    if was_asked:
        for request in asked:
            sender.outbox.give_back(request)
    return AsyncUnaskedHold(sender, call, scope)


def _reservation(call: Call, scope: Scope, key: str) -> Reservation:
    now = datetime.now(UTC)
    return Reservation(
        reservation_id=f"unasked:{key}", state="held", created_at=now,
        expires_at=now + timedelta(seconds=call.get("ttl_seconds", DEFAULT_TTL_SECONDS)), run_id=scope.run_id,
        provider=call["provider"], model=call["model"], directive=Directive(), warnings=(), replayed=False,
    )  # fmt: skip
