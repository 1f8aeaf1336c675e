"""Reads a request of the openai library into what a guard asks, and says what is to be changed in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from ..guard.ask import AUDIO, STRUCTURED_OUTPUT, TOOLS, VISION, Ask
from ..providers.bodies import member, members, text
from ..providers.reading import STANDARD, tier_named
from ..request_tokens import Count, Counted, count_chat, count_responses, texts_within
from ..vocabularies import token_factor
from .earlier_responses import EarlierResponses
from .openai_media import MEDIA, media_ask_of
from .unguarded import NO_MODEL, refuse

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
RESPONSES = "/responses"
EMBEDDINGS = "/embeddings"
COMPACTION = "/responses/compact"
DECISIONS = "/decisions"
GUARDED = frozenset({CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, COMPACTION, DECISIONS}) | MEDIA
_COMPLETIONS_LIMIT = 16
"""What the completions API generates at most unless it is told otherwise."""
_RESPONSES_LEAST = 16
_SEARCH_TOOLS = (("web_search", "web_searches"), ("file_search", "file_searches"))

_HOSTS = (
    (".openai.azure.com", "azure"), (".services.ai.azure.com", "azure"), ("openrouter.ai", "openrouter"),
    ("api.groq.com", "groq"), ("api.deepseek.com", "deepseek"), ("api.mistral.ai", "mistral"), ("api.x.ai", "x-ai"),
    ("api.together.xyz", "together"), ("api.fireworks.ai", "fireworks"), ("api.perplexity.ai", "perplexity"),
    ("api.cerebras.ai", "cerebras"), ("generativelanguage.googleapis.com", "google"),
)  # fmt: skip


def provider_at(address: str, class_name: str) -> str:
    """Return the provider that a client calls, by its address; OpenAI, if that is not a known one."""
    host = urlsplit(address).hostname or ""
    if class_name.endswith(("AzureOpenAI", "AsyncAzureOpenAI")):
        return "azure"
    return next((provider for end, provider in _HOSTS if host.endswith(end)), "openai")


def body_of(url: str, method: str, json_data: object, extra_json: object) -> dict[str, Any] | None:
    """Return the body of a request that calls a model, without what is not given; None for any other request.

    Raises TypeError if it names no model.
    """
    if method.lower() != "post" or url not in GUARDED:
        return None
    given: Mapping[str, Any] = json_data if isinstance(json_data, Mapping) else {}
    both = {**given, **(extra_json if isinstance(extra_json, Mapping) else {})}
    body = {name: value for name, value in both.items() if type(value).__name__ not in ("Omit", "NotGiven")}
    return body if isinstance(body.get("model"), str) else refuse(f"POST {url}", NO_MODEL)


def ask_of(
    url: str,
    body: Mapping[str, Any],
    provider: str,
    earlier: EarlierResponses,
    count: Callable[[str, str], int],
    files: object = None,
) -> Ask:
    """Return what a guard asks for this call; `count` counts a text for a model, `files` are sent with the body."""
    model = str(body["model"])

    def count_text(words: str) -> int:
        return count(words, model)

    if url in MEDIA:
        return media_ask_of(url, body, files, provider, count_text)
    tier = tier_named(body.get("service_tier"))
    known = earlier.tokens_of(body.get("previous_response_id"))
    return Ask(
        provider=provider,
        model=model,
        input_tokens=ceil(_input_tokens(url, body, count_text).tokens * token_factor(model)) + known,
        known_tokens=known,
        output_limit=_output_limit(url, body),
        choices=_choices(url, body),
        least_output=_RESPONSES_LEAST if url == RESPONSES else 1,
        has_output=url != EMBEDDINGS,
        takes_limit=url not in (COMPACTION, DECISIONS),
        requires=_required(body),
        request_type="embedding" if url == EMBEDDINGS else None,
        service_tier=None if tier == STANDARD else tier,
        max_usage=_searches(body),
        output_kind="audio_output_tokens" if "audio" in members(body.get("modalities")) else None,
    )


def changes_for(
    url: str, body: Mapping[str, Any], provider: str, *, model: str, output_limit: int | None
) -> dict[str, Any]:
    """Return the fields to send in place of the caller's: a stand-in model, a limit, and the usage of a stream."""
    changes: dict[str, Any] = {}
    if model != body["model"]:
        changes["model"] = model
    if output_limit is not None:
        changes[_limit_name(url, body, provider)] = output_limit
    if adds_usage(url, body):
        changes["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return changes


def adds_usage(url: str, body: Mapping[str, Any]) -> bool:
    """Whether a stream must be asked for its usage, which the caller has not done."""
    if url not in (CHAT, COMPLETIONS) or not body.get("stream"):
        return False
    return not member(body.get("stream_options"), "include_usage")


def _limit_name(url: str, body: Mapping[str, Any], provider: str) -> str:
    if url == RESPONSES:
        return "max_output_tokens"
    if url == COMPLETIONS or isinstance(body.get("max_tokens"), int):
        return "max_tokens"
    # Those who copy the format know the older name only; models that reason take the newer one only.
    is_new = provider in ("openai", "azure") or "max_completion_tokens" in body
    return "max_completion_tokens" if is_new else "max_tokens"


def _output_limit(url: str, body: Mapping[str, Any]) -> int | None:
    names = ("max_output_tokens",) if url == RESPONSES else ("max_completion_tokens", "max_tokens")
    given: list[int] = [body[name] for name in names if type(body.get(name)) is int and body[name] >= 0]
    if given:
        return min(given)
    return _COMPLETIONS_LIMIT if url == COMPLETIONS else None


def _choices(url: str, body: Mapping[str, Any]) -> int:
    each = max(_count(body, "n"), _count(body, "best_of") if url == COMPLETIONS else 1)
    prompts = body.get("prompt")
    is_many = url == COMPLETIONS and isinstance(prompts, list) and not _is_tokens(prompts)
    return each * (max(1, len(prompts)) if is_many and isinstance(prompts, list) else 1)


def _count(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    return value if type(value) is int and value > 1 else 1


def _searches(body: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many searches a call may make, if it says so."""
    kinds = [text(tool, "type") or "" for tool in members(body.get("tools"))]
    most = body.get("max_tool_calls")
    if type(most) is not int:
        return {}
    return {name: most for begin, name in _SEARCH_TOOLS if any(kind.startswith(begin) for kind in kinds)}


def _input_tokens(url: str, body: Mapping[str, Any], count: Count) -> Counted:
    model = str(body["model"])
    tools = members(body.get("tools")) or [{"function": each} for each in members(body.get("functions"))]
    schema = body.get("response_format") or member(body.get("text"), "format")
    if url == CHAT:
        counted = count_chat(members(body.get("messages")), tools, count, model)
    elif url in (RESPONSES, COMPACTION):
        counted = count_responses(body.get("input"), body.get("instructions"), tools, count, model)
    elif url == DECISIONS:
        counted = Counted(count(f"{body.get('input')} {body.get('questions')}"), exact=False)
    else:
        counted = Counted(_plain_tokens(body.get("prompt" if url == COMPLETIONS else "input"), count))
    return counted + _schema_tokens(schema, count)


def _schema_tokens(schema: object, count: Count) -> Counted:
    """Count a schema of the answer, which is part of the prompt."""
    wanted = member(schema, "json_schema") or schema
    fields = member(wanted, "schema")
    return Counted(count(str(fields)), exact=False) if fields is not None else Counted(0)


def _plain_tokens(value: object, count: Count) -> int:
    if isinstance(value, str):
        return count(value)
    if not isinstance(value, list | tuple):
        return 0
    lists = [value, *(each for each in value if isinstance(each, list | tuple))]
    return sum(map(count, texts_within(value))) + sum(len(each) for each in lists if _is_tokens(each))


def _is_tokens(value: list[Any] | tuple[Any, ...]) -> bool:
    return bool(value) and all(type(each) is int for each in value)


def _required(body: Mapping[str, Any]) -> tuple[str, ...]:
    required = []
    if body.get("tools") or body.get("functions"):
        required.append(TOOLS)
    kinds = {text(body.get("response_format"), "type"), text(member(body.get("text"), "format"), "type")}
    if kinds & {"json_schema", "json_object"}:
        required.append(STRUCTURED_OUTPUT)
    parts = _part_kinds(body)
    if parts & {"image_url", "input_image"}:
        required.append(VISION)
    if "input_audio" in parts or "audio" in members(body.get("modalities")):
        required.append(AUDIO)
    return tuple(required)


def _part_kinds(body: Mapping[str, Any]) -> set[str]:
    messages = (*members(body.get("messages")), *members(body.get("input")))
    parts = [part for each in messages for part in members(member(each, "content"))]
    return {kind for part in (*messages, *parts) if (kind := text(part, "type")) is not None}
