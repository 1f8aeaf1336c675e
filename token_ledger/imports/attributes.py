"""Reads the attributes of spans by the names of OpenTelemetry, OpenInference and the libraries around them."""

from collections.abc import Mapping
from typing import Any

from token_ledger_sdk.providers.reading import tier_named, valid_id

from token_ledger.imports import calls
from token_ledger.imports.spans import EMBEDDING, Kind, SpanCall

_CALLS = frozenset({"chat", "text_completion", "completion", "generate_content", "embeddings", "embedding", "llm"})
_EMBEDDINGS = frozenset({"embeddings", "embedding"})
_KINDS = ("gen_ai.operation.name", "openinference.span.kind", "traceloop.span.kind", "llm.request.type")
_TOOLS = frozenset({"execute_tool", "tool"})
_REQUESTED = ("gen_ai.request.model", "llm.request.model", "llm.model_name", "embedding.model_name", "ai.model.id")
_RESPONSE = ("gen_ai.response.model", "llm.response.model", "ai.response.model")
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ls_provider", "ai.model.provider")
_USER = ("user.id", "enduser.id", "langfuse.user.id", "gen_ai.user.id")
_SESSION = ("session.id", "gen_ai.conversation.id", "langfuse.session.id", "thread_id")
_AGENT = ("gen_ai.agent.name", "agent.name")
_RESPONSE_ID = ("gen_ai.response.id", "llm.response.id", "ai.response.id")
_TIER = ("gen_ai.response.service_tier", "gen_ai.openai.response.service_tier", "openai.response.service_tier")


def kind_of_span(attributes: Mapping[str, Any]) -> Kind:
    """Return what the attributes of a span say that it is."""
    said = _said(attributes)
    if said & _TOOLS:
        return Kind.TOOL
    return Kind.CALL if said & _CALLS else Kind.OTHER


def call_of(attributes: Mapping[str, Any], ended: str) -> SpanCall:
    """Return what the attributes of a span say about its call."""
    return SpanCall(
        ended=ended,
        requested_model=first_text(attributes, _REQUESTED),
        response_model=first_text(attributes, _RESPONSE),
        provider=first_text(attributes, _PROVIDER),
        user=first_text(attributes, _USER),
        agent=first_text(attributes, _AGENT),
        response_id=valid_id(first_text(attributes, _RESPONSE_ID)),
        service_tier=tier_named(first_text(attributes, _TIER)),
        request_type=EMBEDDING if _said(attributes) & _EMBEDDINGS else None,
        tags=calls.tags_of(session=first_text(attributes, _SESSION)),
    )


def first_text(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of several attributes that is a text with something in it."""
    for name in names:
        found = attributes.get(name)
        if isinstance(found, str) and found.strip():
            return found
    return None


def _said(attributes: Mapping[str, Any]) -> set[str]:
    return {found.lower() for name in _KINDS if isinstance(found := attributes.get(name), str)}
