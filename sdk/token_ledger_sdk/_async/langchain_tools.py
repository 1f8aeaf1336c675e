"""Books what tools an agent of LangChain calls, as middleware of the agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from langchain.agents.middleware import AgentMiddleware, ToolCallRequest

from ..adapters.langchain_answers import UNAWAITED
from ..errors import ConfigurationError
from ..guard.functions import FunctionTerms
from .guard import AsyncGuard
from .sender import AsyncSender
from .tool_booking import AsyncToolBooking

_WAITS = "GraphBubbleUp"
"""What a graph raises to wait for a person; it calls the tool again then."""
_LONGEST_NAME = 200


class AsyncLangChainTools(AgentMiddleware[Any, Any, Any]):
    """Middleware that books each call of a tool, with its outcome and duration, unless the run has ended."""

    def __init__(self, guard: AsyncGuard, sender: AsyncSender, tool_source: str | None) -> None:
        super().__init__()
        self._guard = guard
        self._sender = sender
        self._tool_source = tool_source

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """Let a tool be called, and book the call."""
        terms = FunctionTerms(tool=request.tool_call["name"][:_LONGEST_NAME], tool_source=self._tool_source)
        tool = AsyncToolBooking(self._sender, terms, self._guard.context())
        await tool.admit(self._guard, (), {})
        try:
            result = await handler(request)
        except BaseException as error:
            if not any(kind.__name__ == _WAITS for kind in type(error).__mro__):
                await tool.failed(error)
            raise
        # A tool that is there to go on with another node returns a command, which has no status.
        await tool.returned({"is_error": getattr(result, "status", None) == "error"})
        return result

    def wrap_tool_call(self, request: ToolCallRequest, handler: Any) -> NoReturn:
        """Refuse an agent of the other kind."""
        raise ConfigurationError(UNAWAITED)
