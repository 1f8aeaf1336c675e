# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""The client: makes runs, holds and leases, and keeps the connections that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack

import httpx2

from ..connection import POOL, Connection
from ..errors import LedgerError
from ..guard.context import ContextBlock, ContextFields, context_of
from ..guard.models import ModelCache
from ..outage import RetryPolicy
from ..spool.places import spool_place
from ..spool.spool import Spool
from ..unavailable import OnUnavailable
from ..wire import runs
from ..wire.calls import Call, PlannedCall, Scope
from ..wire.runs import Opening, RunSnapshot
from .hold import Hold
from .known_models import KnownModels
from .run import Run
from .sender import Sender
from .tool_methods import ToolMethods
from .unasked import permit
from .wrapping import Wrapper

if TYPE_CHECKING:
    from ..guard.functions import FunctionFields
    from ..wire.events import Recorded, ReportedEvent
    from ..wire.preflights import Preflight
    from .guarded_function import Function
    from .langchain_callbacks import LangChainHandler
    from .langchain_middleware import LangChainMiddleware
    from .langchain_tools import LangChainTools
    from .leases import Leases
    from .toolbox import Toolbox

Client = TypeVar("Client")


class TokenLedger(ToolMethods):
    """A client of one Token Ledger tenant; make one and share it, also with processes that are forked later.

    `base_url` and `key` default to TOKEN_LEDGER_URL and TOKEN_LEDGER_KEY. `timeout` is in seconds, for each attempt.
    A `toolbox` is what the client's tools share, and may be shared with other clients.
    What guarded calls used is booked half of `flush_seconds` after they have ended, or with the next request; with 0,
    before they return. Until then it is in files of the directory `spool`, by default TOKEN_LEDGER_SPOOL or one of the
    user's state; with `spool=False` in memory only.
    `on_unavailable` says what becomes of calls while the service can't be reached: "deny" raises, "allow" lets them go
    unasked, `allow_up_to(tokens=…, cost=…)` until they may have used so much; what they used is booked when it is back.
    `lease_calls` is that of `wrap`, for all calls of runs and of wrapped clients that say no other.
    Raises ConfigurationError if the address or the key is missing or malformed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        key: str | None = None,
        *,
        transport: httpx2.BaseTransport | None = None,
        timeout: float = 5.0,
        max_retries: int = 3,
        toolbox: Toolbox | None = None,
        flush_seconds: float = 1.0,
        spool: str | Path | Literal[False] | None = None,
        on_unavailable: OnUnavailable = "deny",
        lease_calls: int | None = None,
    ) -> None:
        if flush_seconds < 0:
            raise ValueError(f"flush_seconds is {flush_seconds}: give 0 or more")
        connection = Connection.resolve(base_url, key)
        place = spool_place(spool, connection.base_url, connection.key)

        def connect() -> httpx2.Client:
            return httpx2.Client(
                base_url=connection.base_url,
                headers=connection.headers(),
                transport=transport,
                timeout=timeout,
                limits=POOL,
            )

        self._sender = Sender(
            connect,
            RetryPolicy(max_retries),
            spool=Spool(place),
            flush_seconds=flush_seconds,
            on_unavailable=on_unavailable,
        )
        models = KnownModels(self._sender, ModelCache(f"{connection.base_url} {connection.key}"))
        self._wrapper = Wrapper(
            self._sender, models, tenant=connection.tenant, toolbox=toolbox, lease_calls=lease_calls
        )

    @property
    def toolbox(self) -> Toolbox:
        """What the tools of this client share: the cache with its statistics, and breakers."""
        return self._wrapper.toolbox

    def _tool_wrapper(self) -> tuple[Wrapper, None]:
        return self._wrapper, None

    def run(self, *, user: str, cost_center: str | None = None, live: bool = False, **opening: Unpack[Opening]) -> Run:
        """Prepare a run for a user; entering its block opens it, leaving the block closes it.

        With `live`, its block listens to what the service tells of it, and so stops at once when it is cancelled.
        """
        request = runs.open_request(opening, user=user, cost_center=cost_center)
        closes = not opening.get("attach", False)
        return Run(self._sender, self._wrapper, opening=request, closes=closes, live=live)

    def attach(self, run_id: str, *, live: bool = False) -> Run:
        """Take part in a run that somebody else has opened and will close; sends nothing. `live` is as with `run`."""
        return Run(self._sender, self._wrapper, run_id=run_id, live=live)

    def get_run(self, run_id: str) -> RunSnapshot:
        """Read a run's state and balances; raises NotFound."""
        return self.attach(run_id).read()

    def reserve(self, *, user: str, cost_center: str | None = None, **call: Unpack[Call]) -> Hold:
        """Ask for permission to make one call outside any run; raises BudgetExceeded, UnknownModel."""
        return permit(self._sender, call, Scope(user=user, cost_center=cost_center))

    def lease(
        self,
        *,
        user: str,
        cost_center: str | None = None,
        calls: int,
        longest_call_seconds: float = 60.0,
        flush_seconds: float = 1.0,
        **call: Unpack[Call],
    ) -> Leases:
        """Prepare leases outside any run, for up to `calls` calls each; sends nothing."""
        from ..leases.terms import Terms
        from .leases import Leases

        terms = Terms(call, calls=calls, longest_call_seconds=longest_call_seconds, flush_seconds=flush_seconds)
        return Leases(self._sender, terms, Scope(user=user, cost_center=cost_center))

    def preflight(self, calls: Sequence[PlannedCall], *, user: str, cost_center: str | None = None) -> Preflight:
        """Ask whether calls outside any run would fit now, one after the other; nothing is held."""
        from ..wire.preflights import Preflight, preflight_request

        request = preflight_request(calls, Scope(user=user, cost_center=cost_center))
        return (self._sender.send(request)).read(Preflight)

    def can_afford(self, *, user: str, cost_center: str | None = None, **call: Unpack[Call]) -> bool:
        """Ask whether a call would be admitted now; nothing is held, so a moment later the answer may differ.

        False means that a budget has no room; anything else raises as a reserve would: UnknownModel, TenantStopped.
        """
        from ..wire.preflights import affordable

        return affordable(self.preflight([{**call, "count": 1}], user=user, cost_center=cost_center))

    def record(self, events: Iterable[ReportedEvent]) -> tuple[Recorded, ...]:
        """Report what happened without a hold, any number of events; returns what became of each, in their order.

        `events` are UsageEvent, ResponseEvent, ToolCall and CacheHit. Up to 1,000 go in a request, one request after
        the other. If one raises, such as Unreachable, earlier ones are booked: report the same events again, with their
        keys, and nothing is booked twice.
        """
        from ..wire.events import reports

        recorded: list[Recorded] = []
        for report in reports(events):
            recorded += report.read(self._sender.send(report.request))
        return tuple(recorded)

    def context(self, **said: Unpack[ContextFields]) -> ContextBlock:
        """Say whose the calls of wrapped clients are within a block: `with ledger.context(user="ada"):`, also in tasks.

        Blocks within it, and tasks that it starts, inherit what they do not say themselves; tags add up.
        """
        return ContextBlock(context_of(said))

    def wrap(
        self,
        client: Client,
        *,
        provider: str | None = None,
        limit_output: bool = True,
        lease_calls: int | None = None,
        on_unavailable: OnUnavailable | None = None,
        **said: Unpack[ContextFields],
    ) -> Client:
        """Return a copy of a provider's client, of the same type, whose calls are held before and booked after.

        What is said here counts for calls outside of any `context` that says otherwise. `provider` is found by the
        client's address. A call without an output limit may have as much output as its model, or what fits, which is
        then sent as its limit; with `limit_output=False` it is denied instead. Calls of a kind that follow each other
        closely draw from leases: with `lease_calls=50` from leases for 50 of them, from the first one on, and with 0
        each has a hold of its own. Calls raise BudgetExceeded and what else a reserve raises. Raises TypeError for a
        client that can't be wrapped.
        """
        guard = self._wrapper.guard(
            context_of(said), limit_output=limit_output, lease_calls=lease_calls, on_unavailable=on_unavailable
        )
        return self._wrapper.wrap(client, guard, provider)

    def langchain_middleware(
        self,
        *,
        provider: str | None = None,
        limit_output: bool = True,
        lease_calls: int | None = None,
        **said: Unpack[ContextFields],
    ) -> LangChainMiddleware:
        """Return middleware for an agent of LangChain: `create_agent(…, middleware=[ledger.langchain_middleware()])`.

        Each call of the agent's model is held before and booked after. What is said here, limits and denials are as
        with `wrap`. Raises ConfigurationError if LangChain is not installed.
        """
        guard = self._wrapper.guard(context_of(said), limit_output=limit_output, lease_calls=lease_calls)
        return self._wrapper.langchain_middleware(guard, provider)

    def langchain_tools(self, *, tool_source: str | None = None, **said: Unpack[ContextFields]) -> LangChainTools:
        """Return middleware for an agent of LangChain that books each call of a tool as a tool call.

        No tool is called for a run that has ended: RunNotOpen. What is said here is as with `wrap`. Raises
        ConfigurationError if LangChain is not installed.
        """
        return self._wrapper.langchain_tools(self._wrapper.guard(context_of(said)), tool_source)

    def langchain_handler(
        self, *, provider: str | None = None, lease_calls: int | None = None, **said: Unpack[ContextFields]
    ) -> LangChainHandler:
        """Return a callback handler for chat models of LangChain: `config={"callbacks": [ledger.langchain_handler()]}`.

        Each call is held before and booked after, and can't be changed: a call without an output limit of its own
        must fit with that of its model, and no directive is applied. What is said here and denials are as with `wrap`.
        Raises ConfigurationError if LangChain is not installed.
        """
        guard = self._wrapper.guard(context_of(said), lease_calls=lease_calls)
        return self._wrapper.langchain_handler(guard, provider)

    def guard(self, **said: Unpack[FunctionFields]) -> Callable[[Function], Function]:
        """Return a decorator for functions that call a model, and for tools, such as those of an MCP server.

        Each call is held before, and booked after from what the function returns; if it raises, the hold is released
        where that proves that nothing is to be paid, else an estimate is booked. What is said here counts outside of
        any `context` that says otherwise. Calls raise BudgetExceeded and what else a reserve raises. Raises TypeError
        for names that are unknown or do not go together.
        """
        return self._wrapper.guard_function(said)

    def flush(self) -> None:
        """Book what calls have used until now; raises Unreachable or Unavailable if that can't be done now."""
        self._sender.outbox.flush()

    def close(self) -> None:
        """Close the connections; open holds and runs are not touched.

        Settles and releases that got no answer are sent once more, and leased calls of wrapped clients are booked.
        Raises NotEnded, or what leaving a block of leases raises, if that is not done.
        """
        try:
            self._wrapper.close()
        finally:
            self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except LedgerError as failure:
            if error is None:
                raise
            error.add_note(f"Token Ledger: {failure}")
