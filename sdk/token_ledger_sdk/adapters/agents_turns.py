"""Reads what the runner of openai-agents gives a model, and what the model gives back; without that library.

Whatever model is behind it, the runner speaks OpenAI's Responses, so a turn is read as a request of that API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageMissing
from ..guard.ask import Ask
from ..guard.attempts import Received
from ..providers import OpenAIStreamUsage, Reading
from ..providers.bodies import count, member, text
from ..providers.output_text import output_text
from .earlier_responses import EarlierResponses
from .openai_requests import RESPONSES, ask_of


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model as its class names it: `prefix` is what stands before the name that the service knows."""

    provider: str
    model: str
    prefix: str = ""

    def of(self, model: str) -> str:
        """Return what the class calls another model of this provider."""
        return self.prefix + model


def model_name(named: str, provider: str | None) -> ModelName:
    """Read names such as `gpt-5.4` and `anthropic/claude-sonnet-4-6`; `provider` is what the user says."""
    prefix, slash, rest = named.partition("/")
    if slash and provider in (None, prefix):
        return ModelName(prefix, rest, f"{prefix}/")
    return ModelName(provider or "openai", named)


def body_of_turn(
    model: str,
    instructions: object,
    given: object,
    settings: object,
    tools: list[Any],
    output_schema: Any,
    handoffs: list[Any],
    previous_response_id: object,
) -> dict[str, Any]:
    """Return a turn as a request of the Responses API."""
    body: dict[str, Any] = {"model": model, "input": given, "tools": [*map(_tool, tools), *map(_handoff, handoffs)]}
    more = {
        "instructions": instructions,
        "max_output_tokens": member(settings, "max_tokens"),
        "previous_response_id": previous_response_id,
        "service_tier": (member(settings, "extra_args") or {}).get("service_tier"),  # type: ignore[attr-defined]
    }
    if output_schema is not None and not output_schema.is_plain_text():
        more["text"] = {"format": {"type": "json_schema", "schema": output_schema.json_schema()}}
    return body | {name: value for name, value in more.items() if value is not None}


def ask_of_turn(
    body: dict[str, Any], provider: str, earlier: EarlierResponses, count_text: Callable[[str, str], int]
) -> Ask:
    """Return what a guard asks for a turn."""
    return replace(ask_of(RESPONSES, body, provider, earlier, count_text), least_output=1)


def answer_of(response: object) -> dict[str, Any]:
    """Return what the model gave back as a response of the Responses API, without a usage if it has no figures."""
    usage = member(response, "usage")
    names = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
    said = {name: member(usage, name) for name in names}
    has_figures = count(usage, "input_tokens") or count(usage, "output_tokens")
    return {
        "id": _own_id(text(response, "response_id")),
        "output": member(response, "output"),
        "usage": said if has_figures else None,
    }


class WatchedTurn:
    """The events of a turn whose answer comes bit by bit."""

    def __init__(self) -> None:
        self._stream = OpenAIStreamUsage()
        self._texts: list[str] = []

    def add(self, event: object) -> bool:
        """Take in an event; returns whether it brings some of the answer."""
        self._stream.add(event)
        words = output_text(event)
        if words:
            self._texts.append(words)
        return bool(words)

    def reading(self) -> Reading | None:
        """Return what the stream said, None if it ended without figures."""
        try:
            reading = self._stream.reading()
        except UsageMissing:
            return None
        if not (reading.usage.input_tokens or reading.usage.output_tokens):
            return None
        # The library writes in what the model is called here, which need not be what its provider calls it.
        return replace(reading, model=None, response_id=_own_id(reading.response_id))

    def received(self) -> Received:
        """Return what has come so far."""
        return Received(self._stream.partial(), "".join(self._texts))


def _own_id(response_id: str | None) -> str | None:
    """Return the id that a provider gave; the library makes up one and the same for those that give none."""
    return None if response_id is None or response_id.startswith("__") else response_id


def _tool(tool: object) -> dict[str, Any]:
    schema = member(tool, "params_json_schema")
    name = text(tool, "name") or type(tool).__name__
    if schema is None:
        return {"type": name}  # it runs at the provider
    return {"type": "function", "name": name, "description": text(tool, "description"), "parameters": schema}


def _handoff(handoff: object) -> dict[str, Any]:
    return {
        "type": "function",
        "name": text(handoff, "tool_name") or "",
        "description": text(handoff, "tool_description"),
        "parameters": member(handoff, "input_json_schema"),
    }
