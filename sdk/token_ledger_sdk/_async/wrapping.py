"""Makes guards, and chooses how a client of a provider is wrapped, by the library that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import ConfigurationError
from ..guard.context import CallContext
from ..unavailable import OnUnavailable, check_policy
from .inner_clients import AsyncInnerClients
from .known_models import AsyncKnownModels
from .sender import AsyncSender

if TYPE_CHECKING:
    from ..guard.functions import FunctionFields
    from ..guard.tool_terms import ToolFields
    from .guard import AsyncGuard
    from .guarded_function import Function
    from .langchain_callbacks import AsyncLangChainHandler
    from .langchain_middleware import AsyncLangChainMiddleware
    from .langchain_tools import AsyncLangChainTools
    from .lease_pool import AsyncLeasePool

    # begin async only
    from .pydantic_ai_capability import PydanticAICapability

    # end async only
    from .toolbox import AsyncToolbox

Client = TypeVar("Client")

_OPENAI = ("openai", "AsyncOpenAI")
_ANTHROPIC = ("anthropic", "AsyncAnthropic")
_BEDROCK = ("anthropic", "AsyncAnthropicBedrock")
_MANTLE = ("anthropic", "AsyncAnthropicBedrockMantle")
_VERTEX = ("anthropic", "AsyncAnthropicVertex")
_NO_LANGCHAIN = "LangChain is not installed here: pip install 'token-ledger-sdk[langchain]'"
_GOOGLE = ("google.genai", "Client")
_GOOGLE_SIDE = ("google.genai", "AsyncClient")
_OF_ANTHROPIC = (_ANTHROPIC, _BEDROCK, _MANTLE, _VERTEX)
_KNOWN = tuple(dict.fromkeys((_OPENAI, *_OF_ANTHROPIC, _GOOGLE, _GOOGLE_SIDE)))


class AsyncWrapper:
    """What the guards of one client of the ledger share: its connections, what is known of models, and leases."""

    def __init__(
        self,
        sender: AsyncSender,
        models: AsyncKnownModels,
        *,
        tenant: str,
        toolbox: AsyncToolbox | None = None,
        lease_calls: int | None = None,
    ) -> None:
        self._sender = sender
        self._models = models
        self._lease_calls = check_lease_calls(lease_calls)
        self._pools: dict[None, AsyncLeasePool] = {}
        self._tenant = tenant
        self._toolboxes: dict[None, AsyncToolbox] = {} if toolbox is None else {None: toolbox}

    def guard(
        self,
        defaults: CallContext,
        *,
        limit_output: bool = True,
        lease_calls: int | None = None,
        run_id: str | None = None,
        on_unavailable: OnUnavailable | None = None,
    ) -> AsyncGuard:
        """Return a guard, for a wrapped client or for an adapter; `lease_calls` are the calls of one lease.

        Raises ValueError for a negative number of them.
        """
        from .guard import AsyncGuard

        return AsyncGuard(
            self._sender,
            self._models,
            self.pool,
            defaults,
            run_id=run_id,
            limit_output=limit_output,
            lease_calls=check_lease_calls(lease_calls),
            on_unavailable=None if on_unavailable is None else check_policy(on_unavailable),
        )

    def wrap(self, client: Client, guard: AsyncGuard, provider: str | None) -> Client:
        """Return a guarded copy of a client; raises TypeError for one of a library that is not known."""
        known = _known_kind(client)
        if known == _OPENAI:
            from .openai_client import wrap_openai

            return cast(Client, wrap_openai(cast(Any, client), guard, provider))
        if known in _OF_ANTHROPIC:
            from .anthropic_client import wrap_anthropic

            return cast(Client, wrap_anthropic(cast(Any, client), guard, provider))
        if known in (_GOOGLE, _GOOGLE_SIDE):
            from .google_client import wrap_google

            return cast(Client, wrap_google(cast(Any, client), guard, provider))
        if callable(client) and str(getattr(client, "__module__", "")).partition(".")[0] == "litellm":
            from .litellm_functions import wrap_litellm

            return cast(Client, wrap_litellm(client, guard, provider))
        # begin async only
        from .frameworks import wrap_framework

        kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(client).__mro__}
        model = wrap_framework(client, kinds, guard, provider, lambda inner: self.wrap(inner, guard, provider))
        if model is not None:
            return cast(Client, model)
        # end async only
        name = f"{type(client).__module__}.{type(client).__name__}"
        names = ", ".join(".".join(each) for each in _KNOWN)
        raise TypeError(f"{name} can't be wrapped here: give one of {names}; AsyncTokenLedger wraps what is awaited")

    def langchain_middleware(self, guard: AsyncGuard, provider: str | None) -> AsyncLangChainMiddleware:
        """Return middleware for agents of LangChain; raises ConfigurationError if that is not installed."""
        try:
            from .langchain_middleware import AsyncLangChainMiddleware
        except ImportError as error:
            raise ConfigurationError(_NO_LANGCHAIN) from error
        clients = AsyncInnerClients(guard, provider, lambda inner: self.wrap(inner, guard, provider))
        return AsyncLangChainMiddleware(clients)

    def langchain_tools(self, guard: AsyncGuard, tool_source: str | None) -> AsyncLangChainTools:
        """Return middleware that books calls of tools; raises ConfigurationError if LangChain is not installed."""
        try:
            from .langchain_tools import AsyncLangChainTools
        except ImportError as error:
            raise ConfigurationError(_NO_LANGCHAIN) from error
        return AsyncLangChainTools(guard, self._sender, tool_source)

    def langchain_handler(self, guard: AsyncGuard, provider: str | None) -> AsyncLangChainHandler:
        """Return a callback handler for chat models of LangChain; raises ConfigurationError if it is not installed."""
        try:
            from .langchain_callbacks import AsyncLangChainHandler
        except ImportError as error:
            raise ConfigurationError(_NO_LANGCHAIN) from error
        return AsyncLangChainHandler(guard, provider)

    # begin async only
    def pydantic_ai_capability(self, guard: AsyncGuard, provider: str | None) -> PydanticAICapability:
        """Return a capability for agents of pydantic-ai; raises ConfigurationError if that is not installed."""
        try:
            from .pydantic_ai_capability import PydanticAICapability
        except ImportError as error:
            raise ConfigurationError(
                "pydantic-ai is not installed here: pip install 'token-ledger-sdk[pydantic-ai]'"
            ) from error
        return PydanticAICapability(AsyncInnerClients(guard, provider, lambda inner: self.wrap(inner, guard, provider)))

    # end async only
    def guard_function(self, said: FunctionFields, run_id: str | None = None) -> Callable[[Function], Function]:
        """Return a decorator for functions that call a model, or for tools; raises TypeError for what does not fit."""
        from ..guard.functions import terms_of
        from .guarded_function import guard_function, guard_tool

        terms, defaults = terms_of(said)
        # A tool is booked by an event beside its hold: a lease would have that room for another call before.
        lease_calls = terms.lease_calls if terms.tool is None else 0
        guard = self.guard(defaults, run_id=run_id, lease_calls=lease_calls)
        if terms.tool is not None:
            return guard_tool(guard, terms, self._sender)
        return guard_function(guard, terms)

    @property
    def pool(self) -> AsyncLeasePool:
        """The leases that calls share."""
        found = self._pools.get(None)
        if found is None:
            from .lease_pool import AsyncLeasePool

            # Of two threads at once one makes it, as with the toolbox.
            found = self._pools.setdefault(None, AsyncLeasePool(self._sender, self._lease_calls))
        return found

    @property
    def toolbox(self) -> AsyncToolbox:
        """What tools share; raises ConfigurationError if the extra that they need is not installed."""
        found = self._toolboxes.get(None)
        if found is None:
            from .toolbox import AsyncToolbox

            # Of two threads at once one makes it, without a lock that a fork could copy while it is held.
            found = self._toolboxes.setdefault(None, AsyncToolbox())
        return found

    def guard_resilient_tool(self, said: ToolFields, run_id: str | None = None) -> Callable[[Function], Function]:
        """Return a decorator for tools; raises what `toolbox` raises, and TypeError or ValueError for nonsense."""
        from ..guard.tool_terms import tool_terms

        terms, defaults = tool_terms(said)
        toolbox = self.toolbox
        from .guarded_tool import guard_tool_with

        guard = self.guard(defaults, run_id=run_id, lease_calls=0)
        return guard_tool_with(toolbox, guard, terms, self._sender, self._tenant)

    def invalidate_tools(self, names: Sequence[str]) -> int:
        """Forget what tools have answered that have these names, or have read what has; returns how many answers."""
        from ..guard.tool_terms import marks_of

        return self.toolbox.cache.invalidate(marks_of(self._tenant, names))

    async def close(self, run_id: str | None = None) -> None:
        """Book what leased calls have used, of all or of a run, and give back the rest."""
        if self._pools:
            await self.pool.close(run_id)


def check_lease_calls(calls: int | None) -> int | None:
    """Return for how many calls leases are to be; raises ValueError for less than 0."""
    if calls is not None and calls < 0:
        raise ValueError(f"lease_calls is {calls}: give 0 for a hold of its own for each call, or a number of calls")
    return calls


def _known_kind(client: object) -> tuple[str, str] | None:
    """Return the library and the class of a client, or of what it is a subclass of; None if it is of no known one."""
    for kind in type(client).__mro__:
        for library, name in _KNOWN:
            if kind.__name__ == name and f"{kind.__module__}.".startswith(f"{library}."):
                return library, name
    return None
