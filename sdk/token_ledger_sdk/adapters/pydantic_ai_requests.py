"""Reads what an agent of pydantic-ai gives a model, and what the model gives back; without that library."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..guard.ask import Ask
from ..guard.attempts import Received
from ..providers import Reading, Usage
from ..providers.bodies import count, member, members, text
from ..providers.reading import tier_named, valid_id
from .earlier_responses import EarlierResponses
from .openai_requests import CHAT, ask_of

_OWN_NAMES = {
    "google-gla": "google",
    "google-vertex": "google",
    "google-cloud": "google",
    "grok": "x-ai",
    "xai": "x-ai",
}
"""Providers that the library calls otherwise than the service."""
_NATIVE = {"code_execution": "code_interpreter", "web_fetch": "web_search"}
"""Tools that run at the provider, by the name of the one that usually adds as much to the input."""


def provider_of(model: object, said: str | None) -> str:
    """Return the provider of a model, as the service calls it."""
    system = text(model, "system") or "openai"
    return said or _OWN_NAMES.get(system, system)


def body_of_request(model: str, messages: Iterable[object], settings: object, parameters: object) -> dict[str, Any]:
    """Return a request as one of the chat API, whatever API the model behind it has."""
    instructions = [text(part, "content") for part in members(member(parameters, "instruction_parts"))]
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            *({"role": "system", "content": words} for words in instructions if words),
            *(made for message in messages for made in _messages(message, with_instructions=not instructions)),
        ],
        "tools": [
            *(_tool(each) for name in ("function_tools", "output_tools") for each in members(member(parameters, name))),
            *({"type": _native(each)} for each in members(member(parameters, "native_tools"))),
        ],
        "max_tokens": member(settings, "max_tokens"),
        "service_tier": member(settings, "service_tier"),
    }
    wanted = member(parameters, "output_object")
    if wanted is not None and text(parameters, "output_mode") == "native":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"schema": member(wanted, "json_schema")},
        }
    return body


def ask_of_request(body: dict[str, Any], provider: str, count_text: Callable[[str, str], int]) -> Ask:
    """Return what a guard asks for a request."""
    return replace(ask_of(CHAT, body, provider, EarlierResponses(), count_text), choices=1)


def reading_of_response(response: object) -> Reading | None:
    """Return what a model's response says it used, None if it has no figures."""
    used = member(response, "usage")
    usage = Usage(
        input_tokens=count(used, "input_tokens"),
        output_tokens=count(used, "output_tokens"),
        cache_read_tokens=count(used, "cache_read_tokens"),
        cache_write_5m_tokens=count(used, "cache_write_tokens"),
        reasoning_tokens=count(member(used, "details"), "reasoning_tokens"),
        audio_input_tokens=count(used, "input_audio_tokens"),
        audio_cache_read_tokens=count(used, "cache_audio_read_tokens"),
        audio_output_tokens=count(used, "output_audio_tokens"),
    )
    if not (usage.input_tokens or usage.output_tokens):
        return None
    return Reading(
        usage,
        text(response, "model_name"),
        tier_named(member(member(response, "provider_details"), "service_tier")),
        valid_id(member(response, "provider_response_id")),
    )


def received_of(response: object) -> Received:
    """Return what has come of a response that is not whole."""
    reading = reading_of_response(response)
    words = "".join(map(_generated, members(member(response, "parts"))))
    return Received(None if reading is None else reading.usage, words)


def finish_reason_of(response: object) -> str | None:
    """Return why a response ended."""
    return text(response, "finish_reason")


def _messages(message: object, *, with_instructions: bool) -> Iterable[dict[str, Any]]:
    instructions = text(message, "instructions")
    if with_instructions and instructions:
        yield {"role": "system", "content": instructions}
    if text(message, "kind") == "response":
        yield {"role": "assistant", "content": "".join(map(_generated, members(member(message, "parts"))))}
        return
    for part in members(member(message, "parts")):
        role = "system" if text(part, "part_kind") == "system-prompt" else "user"
        yield {"role": role, "content": _content(member(part, "content"))}


def _content(content: object) -> str | list[dict[str, Any]]:
    if isinstance(content, str) or not members(content):
        return content if isinstance(content, str) else str(content)
    return [_piece(each) for each in members(content)]


def _piece(piece: object) -> dict[str, Any]:
    words = piece if isinstance(piece, str) else text(piece, "content")
    if words is not None:
        return {"type": "text", "text": words}
    url, kind = text(piece, "url"), text(piece, "kind") or ""
    media, data = text(piece, "media_type") or "", member(piece, "data")
    if kind == "image-url" or media.startswith("image/"):
        encoded = base64.b64encode(data).decode() if isinstance(data, bytes) else ""
        return {"type": "image_url", "image_url": {"url": url or f"data:{media};base64,{encoded}"}}
    if kind == "audio-url" or media.startswith("audio/"):
        return {"type": "input_audio"}
    return {"type": "file"} if url or isinstance(data, bytes) else {"type": "text", "text": str(piece)}


def _generated(part: object) -> str:
    name, arguments = text(part, "tool_name") or "", member(part, "args")
    words = text(part, "content") or ""
    return words + name + (arguments if isinstance(arguments, str) else str(arguments or ""))


def _tool(tool: object) -> dict[str, Any]:
    function = {
        "name": text(tool, "name") or "",
        "description": text(tool, "description"),
        "parameters": member(tool, "parameters_json_schema"),
    }
    return {"type": "function", "function": function}


def _native(tool: object) -> str:
    kind = text(tool, "kind") or ""
    return _NATIVE.get(kind, kind)
