"""Knows which events are parts of a stream, and which class reads streams with such events."""

from __future__ import annotations

from collections.abc import Mapping

from .bodies import either, member, text

ANTHROPIC_EVENTS = frozenset(
    {
        "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
        "content_block_stop",
    }
)  # fmt: skip
COHERE_EVENTS = frozenset(
    {
        "message-start", "message-end", "content-start", "content-delta", "content-end", "tool-plan-delta",
        "tool-call-start", "tool-call-delta", "tool-call-end", "citation-start", "citation-end",
        "stream-start", "text-generation", "stream-end",
    }
)  # fmt: skip
_OPENAI_EVENTS = ("response.", "session.", "conversation.", "transcript.")
BEDROCK_EVENTS = (
    "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
)  # fmt: skip


def stream_class_of(event: object) -> str | None:
    """Return the name of the class that reads streams with such an event; None for what may be a whole response."""
    kind = text(event, "type") or text(event, "event_type") or ""
    if kind in ANTHROPIC_EVENTS:
        return "AnthropicStreamUsage"
    if kind in COHERE_EVENTS:
        return "CohereStreamUsage"
    if is_chat_chunk(event) or kind.startswith(_OPENAI_EVENTS):
        return "OpenAIStreamUsage"
    if isinstance(event, Mapping) and len(event) == 1 and next(iter(event)) in BEDROCK_EVENTS:
        return "BedrockStreamUsage"
    if either(event, "candidates") is not None:
        return "GeminiStreamUsage"
    return None


def is_chat_chunk(event: object) -> bool:
    """Tell whether an event is a chunk of OpenAI's chat."""
    return member(event, "object") == "chat.completion.chunk"
