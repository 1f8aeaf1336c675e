# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Books what tools an agent of LangChain calls, as middleware of the agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from langchain.agents.middleware import AgentMiddleware, ToolCallRequest

from ..adapters.langchain_answers import AWAITED
from ..errors import ConfigurationError
from ..guard.functions import FunctionTerms
from .guard import Guard
from .sender import Sender
from .tool_booking import ToolBooking

_WAITS = "GraphBubbleUp"
"""What a graph raises to wait for a person; it calls the tool again then."""
_LONGEST_NAME = 200


class LangChainTools(AgentMiddleware[Any, Any, Any]):
    """Middleware that books each call of a tool, with its outcome and duration, unless the run has ended."""

    def __init__(self, guard: Guard, sender: Sender, tool_source: str | None) -> None:
        super().__init__()
        self._guard = guard
        self._sender = sender
        self._tool_source = tool_source

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Let a tool be called, and book the call."""
        terms = FunctionTerms(tool=request.tool_call["name"][:_LONGEST_NAME], tool_source=self._tool_source)
        tool = ToolBooking(self._sender, terms, self._guard.context())
        tool.admit(self._guard, (), {})
        try:
            result = handler(request)
        except BaseException as error:
            if not any(kind.__name__ == _WAITS for kind in type(error).__mro__):
                tool.failed(error)
            raise
        # A tool that is there to go on with another node returns a command, which has no status.
        tool.returned({"is_error": getattr(result, "status", None) == "error"})
        return result

    def awrap_tool_call(self, request: ToolCallRequest, handler: Any) -> NoReturn:
        """Refuse an agent of the other kind."""
        raise ConfigurationError(AWAITED)
