"""Collecting the usage of a streamed response while its events pass by.

An accumulator is given every event (`add`, or `watch` around the iterator) and holds the last figures seen.
It is `complete` when the provider has sent the final ones; a stream that was cut is not, and then `usage`
raises rather than book a placeholder. `Hold.settle` takes an accumulator like a response. It is for one stream; where
another begins, what is known of the one before is forgotten, so that it is not booked in the other's place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeVar

from .errors import UsageMissing
from .usage import Usage, UsageSource, member, usage_from_anthropic, usage_from_openai

Event = TypeVar("Event")


class StreamUsage(UsageSource):
    """What both accumulators are."""

    def __init__(self) -> None:
        self.response_id: str | None = None
        self._finished = False

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether the final figures have come."""

    @abstractmethod
    def add(self, event: object) -> None:
        """Take in one event, as an object or a dict."""

    @abstractmethod
    def partial(self) -> Usage | None:
        """Return the latest figures, final or not."""

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events of a stream, adding each."""
        for event in events:
            self.add(event)
            yield event

    async def watch_async(self, events: AsyncIterable[Event]) -> AsyncIterator[Event]:
        """Yield the events of an asynchronous stream, adding each."""
        async for event in events:
            self.add(event)
            yield event


class OpenAIStreamUsage(StreamUsage):
    """The usage of an OpenAI stream: chat chunks (ask for `include_usage`) or Responses events."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: Usage | None = None

    @property
    def complete(self) -> bool:
        """Whether the final figures have come."""
        return self._finished and self._latest is not None

    def add(self, event: object) -> None:
        """Take in one chunk or event, as an object or a dict."""
        # Responses events carry the response; the chat helper of openai wraps its chunks.
        holder = member(event, "response") or member(event, "chunk") or event
        identifier = member(holder, "id")
        # Azure sends chunks about filtered content between the others, with an empty id.
        if isinstance(identifier, str) and identifier:
            if self.response_id not in (None, identifier):
                self._latest, self._finished = None, False
            self.response_id = identifier
        for part in (holder, *_choices(holder)):
            self._latest = _openai_usage(part) or self._latest
        self._finished = self._finished or _is_last(event, holder)

    def usage(self) -> Usage:
        """Return the final figures; raises UsageMissing if the stream ended without them."""
        if self._latest is None or not self._finished:
            raise UsageMissing(
                "the OpenAI stream brought no final usage: it was cut, or not asked for with"
                " stream_options={'include_usage': True}"
            )
        return self._latest

    def partial(self) -> Usage | None:
        """Return the latest figures, final or not."""
        return self._latest


class AnthropicStreamUsage(StreamUsage):
    """The usage of an Anthropic Messages stream: input comes first, the final output last."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, object] = {}

    @property
    def complete(self) -> bool:
        """Whether the final figures have come."""
        return self._finished and "input_tokens" in self._usage

    def add(self, event: object) -> None:
        """Take in one event, as an object or a dict."""
        kind = member(event, "type")
        if kind == "message_start":
            message = member(event, "message")
            identifier = member(message, "id")
            self.response_id = identifier if isinstance(identifier, str) else None
            self._usage, self._finished = {}, False
            self._merge(member(message, "usage"))
        elif kind == "message_delta":
            self._merge(member(event, "usage"))
            self._finished = member(member(event, "usage"), "output_tokens") is not None

    def usage(self) -> Usage:
        """Return the final figures; raises UsageMissing if the stream ended without them."""
        if not self.complete:
            raise UsageMissing("the Anthropic stream was cut before message_delta brought its final usage")
        return usage_from_anthropic(self._usage)

    def partial(self) -> Usage | None:
        """Return the latest figures; before the end, output is the provider's placeholder."""
        return usage_from_anthropic(self._usage) if "input_tokens" in self._usage else None

    def _merge(self, usage: object) -> None:
        for name in _ANTHROPIC_FIELDS:
            value, known = member(usage, name), self._usage.get(name)
            if value is None:
                continue
            # Input figures are cumulative, yet some compatible servers repeat them as 0 in the delta.
            if name in _INPUT_FIELDS and isinstance(value, int) and isinstance(known, int):
                value = max(value, known)
            self._usage[name] = value


_INPUT_FIELDS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_ANTHROPIC_FIELDS = (*_INPUT_FIELDS, "cache_creation", "iterations", "output_tokens", "output_tokens_details")


def _choices(holder: object) -> list[object]:
    choices = member(holder, "choices")
    return choices if isinstance(choices, list) else []


def _openai_usage(part: object) -> Usage | None:
    # Moonshot puts the usage inside the last choice, Groq under x_groq; most send it in a chunk of its own.
    try:
        return usage_from_openai(part)
    except UsageMissing:
        return None


def _is_last(event: object, holder: object) -> bool:
    kind = member(event, "type")
    if kind in ("response.completed", "response.incomplete", "response.failed"):
        return True
    choices = _choices(holder)
    # Where usage runs along in every chunk, it is final only once a choice has finished.
    if not choices:
        return _openai_usage(holder) is not None and member(holder, "choices") is not None
    return any(member(choice, "finish_reason") is not None for choice in choices)
