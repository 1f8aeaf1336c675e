"""The base of the classes that collect the usage of a streamed response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import ClassVar, TypeVar

from ..errors import UsageMissing
from .reading import Reading
from .usage import Usage

Event = TypeVar("Event")


class StreamUsage(ABC):
    """Collects the usage of one streamed response while its events pass by.

    Give it every event with `add`, or wrap the stream with `watch`. It is `complete` once the provider has sent the
    final figures. A stream that was cut off is not complete, and `usage` then raises UsageMissing, so that a
    placeholder is never booked. When the first event of another response arrives, the figures so far are dropped.
    `Hold.settle` accepts it in place of a response.
    """

    def __init__(self) -> None:
        self.response_id: str | None = None
        self._finished = False

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether the final figures have arrived."""

    @abstractmethod
    def add(self, event: object) -> None:
        """Take in one event, as an SDK object or a dict."""

    @abstractmethod
    def reading(self) -> Reading:
        """Return what the stream said, with its final figures; raises UsageMissing if they have not arrived."""

    def usage(self) -> Usage:
        """Return the final figures; raises UsageMissing if they have not arrived."""
        return self.reading().usage

    @abstractmethod
    def partial(self) -> Usage | None:
        """Return the latest figures, final or not; None if there are none yet."""

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events of a stream unchanged, adding each."""
        for event in events:
            self.add(event)
            yield event

    async def watch_async(self, events: AsyncIterable[Event]) -> AsyncIterator[Event]:
        """Yield the events of an asynchronous stream unchanged, adding each."""
        async for event in events:
            self.add(event)
            yield event


class LastEventUsage(StreamUsage):
    """The usage of a stream whose last event has all figures; `CUT_OFF` says what was missing without it."""

    CUT_OFF: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._latest: Reading | None = None

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        return self._latest is not None

    def reading(self) -> Reading:
        """Return what the stream said; raises UsageMissing if it was cut off."""
        if self._latest is None:
            raise UsageMissing(self.CUT_OFF)
        return self._latest

    def partial(self) -> Usage | None:
        """Return the figures; None before the end."""
        return None if self._latest is None else self._latest.usage
