"""Reads a request of the anthropic library into what a guard asks, and says what is to be changed in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Literal
from urllib.parse import urlsplit

from ..guard.ask import STRUCTURED_OUTPUT, TOOLS, VISION, Ask
from ..providers.bodies import member, members, text
from ..providers.reading import STANDARD, tier_named
from ..request_tokens import DEEPEST, count_chat
from ..vocabularies import EARLIER_CLAUDES, bare_model, claude_factor
from .earlier_responses import EarlierResponses
from .unguarded import NO_MODEL, path_of, refuse

MESSAGES = "/v1/messages"
_RESULTS = re.compile(r"/v1/messages/batches/([^/]+)/results$")
_SEARCHES = "web_search_"

_CLOUDS = {
    "BaseBedrockClient": "aws", "BaseMantleClient": "aws", "BaseVertexClient": "google", "BaseFoundryClient": "azure",
}  # fmt: skip
"""What the library's clients of clouds are, and whose prices count there."""
_HOSTS = ((".services.ai.azure.com", "azure"), (".azure.com", "azure"), ("openrouter.ai", "openrouter"))

_EARLIER_TOKENS_OF_TOOLS = 346
_TOKENS_OF_TOOLS = 500
"""What Anthropic says besides, once there are tools; up to Claude 3 it said less."""
_TOKENS_OF_A_TOOL = 40


def provider_at(address: str, kinds: Sequence[str]) -> str:
    """Return the provider that a client calls, by the names of its classes, or else by its address.

    It is Anthropic, if these are not known.
    """
    cloud = next((_CLOUDS[kind] for kind in kinds if kind in _CLOUDS), None)
    if cloud is not None:
        return cloud
    host = urlsplit(address).hostname or ""
    return next((provider for end, provider in _HOSTS if host.endswith(end)), "anthropic")


def body_of(url: str, method: str, json_data: object) -> dict[str, Any] | None:
    """Return the body of a request that calls a model; None for any other request.

    Raises TypeError if it names no model.
    """
    if method.lower() != "post" or path_of(url) != MESSAGES:
        return None
    if not isinstance(json_data, dict) or not isinstance(json_data.get("model"), str):
        refuse(f"POST {MESSAGES}", NO_MODEL)
    return json_data


def batch_of(url: str, method: str) -> str | None:
    """Return the id of the batch whose results a request fetches; None for any other request."""
    found = _RESULTS.search(urlsplit(url).path) if method.lower() == "get" else None
    return None if found is None else found[1]


def ask_of(body: Mapping[str, Any], provider: str, earlier: EarlierResponses, count: Callable[[str, str], int]) -> Ask:
    """Return what a guard asks for this call; `count` counts a text for a model."""
    model = str(body["model"])
    tier = tier_named(body.get("speed"), body.get("service_tier"))
    searches = _searches(body)
    known = earlier.tokens_of(member(body.get("thread"), "previous_message_id"))
    return Ask(
        provider=provider,
        model=model,
        input_tokens=_input_tokens(body, model, count) + known,
        known_tokens=known,
        output_limit=_number(body.get("max_tokens")),
        least_output=(_number(member(body.get("thinking"), "budget_tokens")) or 0) + 1,
        requires=_required(body),
        service_tier=None if tier == STANDARD else tier,
        cache_write=_cache_write(body),
        max_usage={"web_searches": searches} if searches else {},
    )


def changes_for(body: Mapping[str, Any], *, model: str, output_limit: int | None) -> dict[str, Any]:
    """Return the fields to send in place of the caller's: a stand-in model, and a limit."""
    changes: dict[str, Any] = {}
    if model != body["model"]:
        changes["model"] = model
    if output_limit is not None:
        changes["max_tokens"] = output_limit
    return changes


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _searches(body: Mapping[str, Any]) -> int:
    """Return how many searches a call may make, if it says so."""
    tools = [tool for tool in members(body.get("tools")) if (text(tool, "type") or "").startswith(_SEARCHES)]
    return sum(_number(member(tool, "max_uses")) or 0 for tool in tools)


def _input_tokens(body: Mapping[str, Any], model: str, count: Callable[[str, str], int]) -> int:
    system = body.get("system")
    first = [{"role": "system", "content": system}] if system else []
    tools = members(body.get("tools"))

    def count_text(words: str) -> int:
        return count(words, model)

    counted = count_chat([*first, *map(_counted_parts, members(body.get("messages")))], tools, count_text, model).tokens
    schema = _schema(body)
    if schema is not None:
        counted += count_text(str(schema))
    return ceil(counted * claude_factor(model)) + (_tokens_of_tools(model, len(tools)) if tools else 0)


def _tokens_of_tools(model: str, tools: int) -> int:
    is_earlier = bare_model(model).startswith(EARLIER_CLAUDES)
    return (_EARLIER_TOKENS_OF_TOOLS if is_earlier else _TOKENS_OF_TOOLS) + _TOKENS_OF_A_TOOL * tools


def _counted_parts(message: object) -> object:
    """Return a message without what is no text: signatures, encrypted thoughts, where the cache ends."""
    content = member(message, "content")
    if not isinstance(content, list):
        return message
    return {"role": member(message, "role"), "content": [_counted_part(part) for part in content]}


def _counted_part(part: object, depth: int = 0) -> object:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "redacted_thinking":
        return {}
    kept = {name: value for name, value in part.items() if name not in ("signature", "cache_control", "citations")}
    if part.get("type") == "tool_use":  # counted as the text that it is
        return {"type": "text", "text": f"{part.get('name')} {part.get('input')}"}
    if depth < DEEPEST and isinstance(kept.get("content"), list):
        kept["content"] = [_counted_part(each, depth + 1) for each in kept["content"]]
    return kept


def _schema(body: Mapping[str, Any]) -> object:
    wanted = member(body.get("output_config"), "format") or body.get("output_format")
    return member(wanted, "schema")


def _required(body: Mapping[str, Any]) -> tuple[str, ...]:
    required = []
    # A thread that is continued keeps the tools with which it was begun, and does not repeat them.
    may_have_tools = text(body.get("thread"), "type") == "continue"
    if body.get("tools") or body.get("mcp_servers") or may_have_tools:
        required.append(TOOLS)
    if member(body.get("output_config"), "format") or body.get("output_format"):
        required.append(STRUCTURED_OUTPUT)
    if any(_is_seen(part) for message in members(body.get("messages")) for part in _parts(message)):
        required.append(VISION)
    return tuple(required)


def _parts(message: object) -> list[object]:
    """Return the parts of a message, and those that results of tools have."""
    parts = list(members(member(message, "content")))
    return [*parts, *(inner for part in parts for inner in members(member(part, "content")))]


def _is_seen(part: object) -> bool:
    """Whether a part is an image, or a document that is read as images of its pages."""
    kind = text(part, "type")
    return kind == "image" or (kind == "document" and text(member(part, "source"), "type") not in ("text", "content"))


def _cache_write(body: Mapping[str, Any]) -> Literal["5m", "1h"] | None:
    """Return for how long the call may write its input to the cache; None if it does not."""
    system, tools = members(body.get("system")), members(body.get("tools"))
    parts = [part for message in members(body.get("messages")) for part in _parts(message)]
    marks = [mark for each in (body, *system, *tools, *parts) if (mark := member(each, "cache_control")) is not None]
    if not marks:
        return None
    return "1h" if any(text(mark, "ttl") == "1h" for mark in marks) else "5m"
