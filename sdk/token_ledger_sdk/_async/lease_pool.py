"""The leases that calls of runs and of wrapped clients draw from, and when what they leave is given back."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import replace

from ..errors import BudgetExceeded, LedgerError
from ..leases.demand import Demand
from ..leases.kinds import LONGEST_CALL_SECONDS, kind_of, may_be_leased
from ..leases.terms import Terms, size_of
from ..unavailable import OnUnavailable
from ..waiting_async import run_later_async
from ..wire.calls import Call, Scope
from ..wire.requests import ApiRequest
from ..wire.reservations import reserve_request
from .hold import AsyncHold, reserve_by
from .leased_call import AsyncLeasedCall
from .leases import AsyncLeases
from .sender import AsyncSender
from .unasked import permit, unless_away

_MOST_KINDS = 1_024
"""How many kinds of calls are counted at once; beyond, what the kind that came first has is given back."""
_FRESH_FLUSHES = 10
"""For how many flush intervals calls are admitted from one lease, and so how old a directive gets.

Only while the service is away it may be older."""
_SINGLE_SECONDS = 30.0
"""How long calls have holds of their own after their kind was refused a lease, or another call had no room."""


class _Kind:
    """Calls that may draw from the same leases: how often they come, and their leases."""

    __slots__ = ("demand", "leases", "scope")

    def __init__(self, scope: Scope, demand: Demand, leases: AsyncLeases) -> None:
        self.scope = scope
        self.demand = demand
        self.leases = leases


class AsyncLeasePool:
    """Admits calls from leases that those of the same kind share, where more than one comes; else each by a hold.

    What no call has asked of for a flush interval is given back; see `leases.demand` and `leases.kinds` for the rules.
    On trio, where nothing runs in the background that could give it back, calls have holds of their own.
    """

    def __init__(
        self, sender: AsyncSender, lease_calls: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sender = sender
        self._lease_calls = lease_calls
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._kinds: dict[Hashable, _Kind] = {}
        self._leased: dict[Hashable, _Kind] = {}
        self._call_off: Callable[[], None] | None = None
        self._due = self._clock()

    @property
    def _flush_seconds(self) -> float:
        return self._sender.outbox.flush_seconds or 1.0

    async def reserve(
        self, call: Call, scope: Scope, lease_calls: int | None = None, on_unavailable: OnUnavailable | None = None
    ) -> AsyncLeasedCall | AsyncHold:
        """Admit a call, from a lease if it may be; raises what a reserve raises.

        `lease_calls` is for how many calls each lease is, from the first call on; with 0 or 1 there is none.
        """
        if self._process != os.getpid():
            self._begin()  # this is a fork: the parent admits from the leases that were copied
        calls = self._lease_calls if lease_calls is None else lease_calls
        # Where calls are booked at once, nothing is left to do together.
        if not may_be_leased(call) or (calls is None and self._sender.outbox.is_at_once):
            return await self._hold(call, scope, on_unavailable)
        if calls is not None and calls < 2:
            return await self._hold(call, scope, on_unavailable)
        name = kind_of(call, scope, calls)
        kind = self._kinds.get(name) or await self._new_kind(name, call, scope)
        wanted = kind.demand.came(self._clock()) or calls
        size = size_of(call)
        admitted = kind.leases.admit_at_once(size)
        if admitted is not None:
            return admitted
        if not wanted or not self._watch(name, kind, is_required=calls is None):
            return await self._hold(call, scope, on_unavailable)
        asked: list[ApiRequest] = []

        def terms() -> Terms:
            # Others may have come while this call waited for its turn.
            return replace(self._terms(call), calls=calls or kind.demand.wanted)

        async def hold() -> AsyncHold:
            asked.append(reserve_request(call, scope))
            return await reserve_by(self._sender, asked[-1], call, scope)

        async def ask() -> AsyncLeasedCall | AsyncHold:
            return await kind.leases.admit(size, terms) or await self._own(hold)

        return await unless_away(self._sender, call, scope, on_unavailable, ask, asked=asked)

    async def close(self, run_id: str | None = None) -> None:
        """Book what calls have used and give back the rest: of all leases, or of those of a run.

        Raises what `AsyncLeases.close` raises, of the last that could not be closed.
        """
        failure: Exception | None = None
        for name, kind in [*self._kinds.items()]:
            if run_id is not None and kind.scope.run_id != run_id:
                continue
            self._kinds.pop(name, None)
            self._leased.pop(name, None)
            try:
                await kind.leases.close()
            except Exception as error:
                failure = error
        if not self._leased and self._call_off is not None:
            self._call_off()
            self._call_off = None
        if failure is not None:
            raise failure

    async def _hold(self, call: Call, scope: Scope, on_unavailable: OnUnavailable | None) -> AsyncHold:
        return await self._own(lambda: permit(self._sender, call, scope, on_unavailable))

    async def _own(self, ask: Callable[[], Awaitable[AsyncHold]]) -> AsyncHold:
        """Let a call have a hold of its own, if need be in the room that leases of this process do not use.

        Only those are given back that are on an account which has refused the call.
        """
        try:
            return await ask()
        except BudgetExceeded as denial:
            full = {
                refusal.account_id
                for refusal in denial.refusals
                if refusal.enforcement == "hard" and refusal.account_id is not None
            }
            kinds = [*self._leased.values()]
            given_back = [await kind.leases.make_room(full, single_seconds=_SINGLE_SECONDS) for kind in kinds]
            if not any(given_back):
                raise
        return await ask()

    async def _new_kind(self, name: Hashable, call: Call, scope: Scope) -> _Kind:
        leases = AsyncLeases(self._sender, self._terms(call), scope, clock=self._clock, tells=False)
        kind = self._kinds.setdefault(name, _Kind(scope, Demand(self._flush_seconds), leases))
        if len(self._kinds) > _MOST_KINDS:
            first = next(iter(self._kinds))
            old = self._kinds.pop(first)
            self._leased.pop(first, None)
            with suppress(LedgerError):  # what could not be booked is sent again
                await old.leases.close()
        return kind

    def _terms(self, call: Call) -> Terms:
        return Terms(
            call, calls=1, longest_call_seconds=LONGEST_CALL_SECONDS, flush_seconds=self._flush_seconds,
            fresh_seconds=_FRESH_FLUSHES * self._flush_seconds, single_seconds=_SINGLE_SECONDS,
            follow=True,
        )  # fmt: skip

    def _watch(self, name: Hashable, kind: _Kind, *, is_required: bool) -> bool:
        """See to it that what calls of a kind leave is given back; returns whether leases may be asked for."""
        self._leased[name] = kind
        self._look_later()
        return self._call_off is not None or not is_required

    def _look_later(self) -> None:
        if self._call_off is None:
            self._due = self._clock() + self._flush_seconds
            self._call_off = run_later_async(self._flush_seconds, self._look)

    async def _look(self) -> None:
        """Give back what no call has asked of for a while, or all if this is called early: the process ends.

        While the service is away, all is kept: nobody else could have it, and the next call could have no other.
        """
        now = self._clock()
        is_end, is_away = now < self._due - 0.01, self._sender.outbox.is_away
        for name, kind in [*self._leased.items()]:
            self._leased.pop(name, None)  # first: a call that comes now puts it back
            is_idle = kind.demand.is_idle(now) and not kind.leases.is_waited_for
            if is_end or (is_idle and not is_away):
                await kind.leases.give_back()
            else:
                self._leased[name] = kind
        self._call_off = None
        if self._leased:
            self._look_later()
