"""Watches the answer of a chat model of LangChain, and reads errors of its calls; without the library."""

from __future__ import annotations

import json
import sys
from typing import Any

from ..errors import ConfigurationError
from ..guard.attempts import Received, reading_or_none
from ..providers import Reading, Usage
from ..providers.bodies import either, member, members, text

UNAWAITED = (
    "this model was called without await, so that an asynchronous client can't guard it: make its middleware or"
    " callbacks with TokenLedger, or await ainvoke, astream or abatch"
)
AWAITED = (
    "this model was awaited, and a synchronous client would block other tasks: make its middleware or callbacks with"
    " AsyncTokenLedger, or call invoke, stream or batch"
)
_MANAGER = "langchain_core.callbacks.manager"


class WatchedMessages:
    """The chunks of one answer, as they come: their text, and what they say was used."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._told: Usage | None = None

    def feed(self, chunk: object) -> bool:
        """Take in a chunk; returns whether it has text."""
        message = member(chunk, "message")
        reading = reading_or_none(message)
        if reading is not None:
            self._told = reading.usage if self._told is None else self._told + reading.usage
        words = text_of_message(message)
        if words:
            self._texts.append(words)
        return bool(words)

    def received(self) -> Received:
        """Return what has come so far."""
        return Received(self._told, "".join(self._texts))


def text_of_message(message: object) -> str:
    """Return what a model generated in a message or a chunk of one: answer, reasoning, calls of tools."""
    content = member(message, "content")
    said = content if isinstance(content, str) else "".join(map(_text_of_block, members(content)))
    pieces = members(member(message, "tool_call_chunks"))
    if pieces:
        return said + "".join((text(piece, "name") or "") + (text(piece, "args") or "") for piece in pieces)
    return said + "".join(map(_text_of_call, members(member(message, "tool_calls"))))


def messages_of(result: object) -> list[object]:
    """Return the answers in the result of a model, of which there are several where several were asked for."""
    first = members(member(result, "generations"))[:1]
    return [member(each, "message") for generations in first for each in members(generations)]


def is_from_cache(message: object) -> bool:
    """Whether LangChain took an answer from a cache of its own, so that nobody was asked."""
    usage = member(message, "usage_metadata")
    return isinstance(usage, dict) and usage.get("total_cost") == 0


def reading_of_message(message: object) -> Reading | None:
    """Return what a message says was used; None if it does not say it."""
    return None if member(message, "usage_metadata") is None else reading_or_none(message)


def finish_reason_of(message: object) -> str | None:
    """Return why an answer ended."""
    reason = either(member(message, "response_metadata"), "finish_reason", "stop_reason", "done_reason")
    return reason if isinstance(reason, str) else None


def check_caller_async() -> None:
    """Raise ConfigurationError where LangChain calls a model without await: it would pass over a denial."""
    if _asks("handle_event"):
        raise ConfigurationError(UNAWAITED)


def check_caller_sync() -> None:
    """Raise ConfigurationError where LangChain awaits a model: a request to the ledger would block its loop."""
    if _asks("_ahandle_event_for_handler"):
        raise ConfigurationError(AWAITED)


def _asks(function: str) -> bool:
    # LangChain looks a method up before it calls it; its own function is two frames above.
    frame = sys._getframe(3)
    return frame.f_code.co_name == function and frame.f_globals.get("__name__") == _MANAGER


def _text_of_block(block: Any) -> str:
    if isinstance(block, str):
        return block
    return "".join(text(block, name) or "" for name in ("text", "reasoning", "thinking", "partial_json", "refusal"))


def _text_of_call(call: object) -> str:
    return (text(call, "name") or "") + json.dumps(member(call, "args"), default=str)
