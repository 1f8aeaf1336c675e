"""Reads a call of a chat model of LangChain into what a guard asks; without the library."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..guard.ask import AUDIO, STRUCTURED_OUTPUT, TOOLS, VISION, Ask
from ..providers.bodies import either, member, members, text
from ..providers.reading import STANDARD, tier_named
from ..request_tokens import Count, Counted, count_chat
from .openai_requests import provider_at

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "HumanMessageChunk": "user"}
_PROVIDERS = {
    "amazon_bedrock": "aws-bedrock", "bedrock": "aws-bedrock", "bedrock_converse": "aws-bedrock", "xai": "x-ai",
    "google_genai": "google", "google_vertexai": "google", "mistralai": "mistral", "azure_openai": "azure",
}  # fmt: skip
"""Providers whose names in LangChain are not ours."""
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
_IMAGES = frozenset({"image_url", "image", "input_image"})
_AUDIO = frozenset({"input_audio", "audio"})


def ask_of_model(
    messages: Sequence[object],
    params: Mapping[str, Any],
    metadata: Mapping[str, Any],
    count: Callable[[str, str], int],
    *,
    provider: str,
    limit_field: str | None = None,
    model_field: str | None = None,
) -> Ask:
    """Return what a guard asks for a call with these messages.

    `params` are the model's own parameters and those of the call, `metadata` what LangChain tells tracers of the model.
    The fields are those in which a limit or another model can be put; None where nothing can be changed.
    """
    model = str(metadata.get("ls_model_name") or either(params, "model", "model_name", "model_id") or "")

    def count_words(words: str) -> int:
        return count(words, model)

    tools = members(params.get("tools")) or members(params.get("functions"))
    said = [_message(each) for each in messages]
    counted = count_chat(said, tools, count_words, model) + _schema_tokens(params.get("response_format"), count_words)
    tier = tier_named(params.get("service_tier"))
    choices = params.get("n")
    return Ask(
        provider=provider,
        model=model,
        input_tokens=counted.tokens,
        output_limit=_output_limit(params),
        choices=choices if type(choices) is int and choices > 1 else 1,
        takes_limit=limit_field is not None,
        takes_model=model_field is not None,
        requires=_required(said, tools, params),
        service_tier=None if tier == STANDARD else tier,
    )


def provider_of(serialized: object, metadata: Mapping[str, Any]) -> str:
    """Return the provider that a chat model calls, by its address, else by the name that LangChain has for it."""
    named = str(metadata.get("ls_provider") or "")
    address = either(member(serialized, "kwargs"), "openai_api_base", "base_url")
    if named == "openai" and isinstance(address, str) and urlsplit(address).hostname:
        return provider_at(address, "")
    return _PROVIDERS.get(named, named)


def field_for_limit(fields: Mapping[str, object]) -> str | None:
    """Return the field of a chat model that limits its output; None if no such field is known."""
    return next((name for name in _LIMITS if name in fields), None)


def field_of_model(chat_model: object, name: str) -> str | None:
    """Return the field of a chat model that has the name of its model."""
    return next((field for field in ("model_name", "model", "model_id") if member(chat_model, field) == name), None)


def _output_limit(params: Mapping[str, Any]) -> int | None:
    return next((params[name] for name in _LIMITS if type(params.get(name)) is int and params[name] >= 0), None)


def _message(message: object) -> dict[str, Any]:
    """Return a message as the chat API takes it."""
    kind = text(message, "type") or ""
    said = {"role": _ROLES.get(kind, kind), "content": member(message, "content")}
    if name := text(message, "name"):
        said["name"] = name
    if calls := members(member(message, "tool_calls")):
        said["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": member(call, "name"), "arguments": json.dumps(member(call, "args"), default=str)},
            }
            for call in calls
        ]
    return said


def _schema_tokens(wanted: object, count: Count) -> Counted:
    schema = member(member(wanted, "json_schema") or wanted, "schema")
    return Counted(0) if schema is None else Counted(count(str(schema)), exact=False)


def _required(said: Sequence[dict[str, Any]], tools: Sequence[object], params: Mapping[str, Any]) -> tuple[str, ...]:
    required = [TOOLS] if tools else []
    if params.get("response_format") is not None:
        required.append(STRUCTURED_OUTPUT)
    kinds = {text(part, "type") for each in said for part in members(each["content"])}
    if kinds & _IMAGES:
        required.append(VISION)
    if kinds & _AUDIO:
        required.append(AUDIO)
    return tuple(required)
