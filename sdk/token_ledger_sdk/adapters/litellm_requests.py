"""Reads a call of litellm into what a guard asks, and says what is to be changed in it; without that library."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageMissing
from ..guard.attempts import Received
from ..providers import OpenAIStreamUsage, Reading
from ..providers.bodies import member
from ..providers.output_text import output_text
from .answers import finish_reason_of
from .openai_requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, adds_usage

_ROUTES = {
    "completion": CHAT, "text_completion": COMPLETIONS, "embedding": EMBEDDINGS, "responses": RESPONSES,
}  # fmt: skip
_OWN_NAMES = {
    "gemini": "google", "vertex_ai": "google", "vertex_ai_beta": "google", "azure_ai": "azure", "xai": "x-ai",
    "together_ai": "together", "fireworks_ai": "fireworks", "text-completion-openai": "openai",
    "bedrock": "aws-bedrock", "bedrock_converse": "aws-bedrock",
}  # fmt: skip
"""Providers that the library calls otherwise than the service."""


def route_of(function: Any) -> str | None:
    """Return which API of OpenAI's a function of the library is like; None for one that calls no model."""
    return _ROUTES.get(getattr(function, "__name__", "").removeprefix("a"))


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model as the service names it, and what stands before its name in the library."""

    provider: str
    model: str
    prefix: str


def named_model(name: str, arguments: Mapping[str, Any], provider: str | None) -> NamedModel:
    """Read a name such as `anthropic/claude-sonnet-4-6`; `provider` is what the user says of it."""
    model, found = _found(name, arguments)
    prefix = name.removesuffix(model) if name.endswith(model) else ""
    return NamedModel(provider or _OWN_NAMES.get(found, found), model, prefix)


def _found(name: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
    # The library is there, as one of its functions is called; nothing else of it is needed.
    find = getattr(sys.modules.get("litellm"), "get_llm_provider", None)
    if find is not None:
        given = {key: arguments.get(key) for key in ("custom_llm_provider", "api_base")}
        try:
            model, provider, _, _ = find(model=name, **given)
            return str(model), str(provider)
        except Exception:  # noqa: S110
            pass  # the name of a group of a router, which only the router knows
    prefix, slash, rest = name.partition("/")
    return (rest, prefix) if slash else (name, "openai")


def body_of(name: NamedModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call as a request of OpenAI's, as the library takes its arguments under OpenAI's names."""
    return {key: value for key, value in arguments.items() if value is not None} | {"model": name.model}


def changes_of(
    route: str, body: Mapping[str, Any], name: NamedModel, *, model: str, output_limit: int | None
) -> dict[str, Any]:
    """Return the arguments to give in place of the caller's."""
    changes: dict[str, Any] = {}
    if model != name.model:
        changes["model"] = name.prefix + model
    if output_limit is not None:
        is_newer = "max_completion_tokens" in body
        older = "max_output_tokens" if route == RESPONSES else "max_tokens"
        changes["max_completion_tokens" if is_newer else older] = output_limit
    if adds_usage(route, body):
        changes["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return changes


class WatchedChunks:
    """The chunks of an answer that comes bit by bit."""

    def __init__(self) -> None:
        self._stream = OpenAIStreamUsage()
        self._texts: list[str] = []
        self.finish_reason: str | None = None

    def add(self, chunk: object) -> bool:
        """Take in a chunk; returns whether it brings some of the answer."""
        self._stream.add(chunk)
        self.finish_reason = finish_reason_of(chunk) or self.finish_reason
        words = output_text(chunk)
        if words:
            self._texts.append(words)
        return bool(words)

    def reading(self) -> Reading | None:
        """Return what the stream said, None if it ended without figures."""
        try:
            return self._stream.reading()
        except UsageMissing:
            return None

    def received(self) -> Received:
        """Return what has come so far."""
        return Received(self._stream.partial(), "".join(self._texts))


def is_usage_only(chunk: object) -> bool:
    """Whether a chunk has nothing but the usage."""
    return member(chunk, "choices") == [] and member(chunk, "usage") is not None


def is_cached(answer: object) -> bool:
    """Whether an answer comes from a cache of the library, so that no provider was asked."""
    hidden = member(answer, "_hidden_params")
    return member(hidden, "cache_hit") is True or member(answer, "custom_llm_provider") == "cached_response"


def user_of_proxy(arguments: Mapping[str, Any]) -> str | None:
    """Return the user whose key a proxy of the library has checked; None outside of one."""
    for name in ("metadata", "litellm_metadata"):
        user = member(arguments.get(name), "user_api_key_user_id")
        if isinstance(user, str) and user:
            return user
    return None
