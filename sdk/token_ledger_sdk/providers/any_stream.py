"""Collects the usage of a stream whose format is known only when its events arrive."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UsageMissing
from .anthropic import AnthropicStreamUsage
from .bedrock import BedrockStreamUsage
from .bodies import either, member, text
from .cohere import CohereStreamUsage
from .gemini import GeminiStreamUsage
from .openai import OpenAIStreamUsage
from .reading import Reading
from .stream_events import BEDROCK_EVENTS, stream_class_of
from .streams import StreamUsage
from .usage import Usage

_CLASSES: Mapping[str, type[StreamUsage]] = {
    each.__name__: each
    for each in (AnthropicStreamUsage, BedrockStreamUsage, CohereStreamUsage, GeminiStreamUsage, OpenAIStreamUsage)
}


class AnyStreamUsage(StreamUsage):
    """The usage of a stream of any provider that is read, recognized by its first event that has a known format."""

    def __init__(self) -> None:
        super().__init__()
        self._stream: StreamUsage | None = None

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        return self._stream is not None and self._stream.complete

    def add(self, event: object) -> None:
        """Take in one event, as an SDK object or a dict."""
        if self._stream is None:
            self._stream = stream_usage_for(event)
        if self._stream is not None:
            self._stream.add(event)
            self.response_id = self._stream.response_id

    def reading(self) -> Reading:
        """Return what the stream said; raises UsageMissing if it ended without its final figures."""
        if self._stream is None:
            raise UsageMissing(
                "no event of this stream had a known format: give every event as a dict or as an object of the"
                " provider's SDK, not as text; for another provider give Usage(input_tokens=..., output_tokens=...)"
            )
        return self._stream.reading()

    def partial(self) -> Usage | None:
        """Return the latest figures, final or not; None if there are none yet."""
        return None if self._stream is None else self._stream.partial()


def stream_usage_for(event: object) -> StreamUsage | None:
    """Return the class that reads a stream with such an event, ready to take it in; None if the event does not tell."""
    name = stream_class_of(event)
    if name is not None:
        return _CLASSES[name]()
    # Here every event is one of a stream, so these need not be told from whole responses.
    if (text(event, "type") or "").startswith(("image_", "speech.")):
        return OpenAIStreamUsage()
    if member(event, "choices") is not None or member(event, "chunk") is not None:
        return OpenAIStreamUsage()
    if any(member(event, name) is not None for name in BEDROCK_EVENTS):
        return BedrockStreamUsage()
    chunk = either(event, "response") or event
    if either(chunk, "candidates", "usageMetadata", "usage_metadata", "promptFeedback") is not None:
        return GeminiStreamUsage()
    return None
