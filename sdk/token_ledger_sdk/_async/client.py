"""The client: makes runs and holds, and keeps the connections they share."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

import httpx2

from ..connection import POOL, Connection
from ..events import Recorded, UsageEvent, parse_results, record_request
from ..preflights import PlannedCall, Preflight, affordable, preflight_request
from ..reservations import Call, reserve_request
from ..retry import RetryPolicy
from ..runs import Opening, RunSnapshot, open_request, read_request
from .hold import AsyncHold, reserve
from .lease import AsyncLeases
from .run import AsyncRun
from .sender import AsyncSender


class AsyncTokenLedger:
    """A client of one Token Ledger tenant; make one and share it, also with processes that are forked later.

    `base_url` and `key` default to TOKEN_LEDGER_URL and TOKEN_LEDGER_KEY, read here and nowhere else.
    `timeout` is in seconds, for each attempt. Raises ConfigurationError if address or key is missing.
    """

    def __init__(
        self,
        base_url: str | None = None,
        key: str | None = None,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = 5.0,
        max_retries: int = 3,
    ) -> None:
        connection = Connection.resolve(base_url, key)

        def connect() -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                base_url=connection.base_url,
                headers=connection.headers(),
                transport=transport,
                timeout=timeout,
                limits=POOL,
            )

        self._sender = AsyncSender(connect, RetryPolicy(max_retries))

    def run(self, *, user: str, cost_center: str | None = None, **opening: Unpack[Opening]) -> AsyncRun:
        """Prepare a run for a user; entering its block opens it, leaving the block closes it."""
        request = open_request(user=user, cost_center=cost_center, **opening)
        return AsyncRun(self._sender, opening=request, closes=not opening.get("attach", False))

    def attach(self, run_id: str) -> AsyncRun:
        """Take part in a run that somebody else opened and will close; sends nothing."""
        return AsyncRun(self._sender, run_id=run_id)

    async def get_run(self, run_id: str) -> RunSnapshot:
        """Read a run's state and balances; raises NotFound."""
        return RunSnapshot.parse(await self._sender.send(read_request(run_id)))

    async def reserve(self, *, user: str, cost_center: str | None = None, **call: Unpack[Call]) -> AsyncHold:
        """Ask for permission to make one call outside any run; raises BudgetExceeded, UnknownModel."""
        return await reserve(self._sender, reserve_request(call, user=user, cost_center=cost_center), call)

    def lease(
        self,
        *,
        user: str,
        cost_center: str | None = None,
        calls: int,
        longest_call_seconds: float = 60.0,
        flush_seconds: float = 1.0,
        **call: Unpack[Call],
    ) -> AsyncLeases:
        """Prepare leases outside any run, for up to so many calls each; sends nothing."""
        return AsyncLeases(
            self._sender,
            call,
            calls=calls,
            longest_call_seconds=longest_call_seconds,
            flush_seconds=flush_seconds,
            user=user,
            cost_center=cost_center,
        )

    async def preflight(self, calls: Sequence[PlannedCall], *, user: str, cost_center: str | None = None) -> Preflight:
        """Ask whether calls outside any run would fit now, one after the other; nothing is held."""
        request = preflight_request(calls, user=user, cost_center=cost_center)
        return Preflight.parse(await self._sender.send(request))

    async def can_afford(self, *, user: str, cost_center: str | None = None, **call: Unpack[Call]) -> bool:
        """Ask whether a call would be admitted now; nothing is held, so the next moment may differ.

        False is a denial for want of budget or of an allocation; anything else raises as a reserve would:
        UnknownModel, TenantStopped.
        """
        return affordable(await self.preflight([{**call, "count": 1}], user=user, cost_center=cost_center))

    async def record(self, events: Sequence[UsageEvent]) -> tuple[Recorded, ...]:
        """Report calls that were made without a hold, from 1 to 256; answers in their order."""
        return parse_results(await self._sender.send(record_request(events)))

    async def aclose(self) -> None:
        """Close the connections; holds and runs are not touched."""
        await self._sender.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
