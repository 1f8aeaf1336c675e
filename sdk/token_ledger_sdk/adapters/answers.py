"""Watches the bytes of a provider's answer: what was used, and what has come if it is cut.

Bytes are watched, and not the library's objects, because every way of a library leads over them: `create`, `parse`,
`stream()`, `with_raw_response` and `with_streaming_response`. Most events are not parsed: only those that may say a
usage or an error, and all of them once a stream was cut.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..guard.attempts import Received
from ..providers import Reading, StreamUsage, Usage, UsageMissing
from ..providers.bodies import member, members, text
from ..providers.output_text import output_text
from .amazon_frames import FRAMES, event_of, split_frames

_CONTENTS = ("audio/", "image/", "video/", "application/octet-stream")
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_USED = re.compile(rb'"usage":\s*[^n\s]')
"""A usage that is not null."""


class WatchedEvents:
    """A stream of server-sent events, whose usage `stream` collects.

    With `hides_usage`, a chunk of OpenAI's chat that only has the usage is not passed on.
    """

    has_begun = True

    def __init__(self, stream: StreamUsage, *, hides_usage: bool = False) -> None:
        self._hides_usage = hides_usage
        self._stream = stream
        self._events: list[bytes] = []
        self._rest = b""
        self.has_text = False
        self.error_kind: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Take in bytes; returns those to pass on, as soon as their event is whole."""
        if not self._rest and data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
            return data if self._passes(data) else b""
        return self._feed_any(self._rest + data, len(self._rest))

    def _feed_any(self, data: bytes, held: int) -> bytes:
        start, passed = 0, []
        for end in _END.finditer(data):
            event = data[start : end.end()]
            start = end.end()
            if self._passes(event):
                passed.append(event)
        self._rest = data[start:]
        # What may be hidden is held back until it is whole; else nothing is.
        return b"".join(passed) if self._hides_usage else data[held:]

    def rest(self) -> bytes:
        """Take in the end of the stream; returns what was held back."""
        rest, self._rest = self._rest, b""
        return rest if rest and self._passes(rest) and self._hides_usage else b""

    def _passes(self, event: bytes) -> bool:
        self._events.append(event)
        if not self.has_text:
            self.has_text = bool(output_text(_parsed(event)))
        # Searching bytes takes a fraction of what parsing takes, and few events tell anything.
        if not (b'"usage"' in event and _USED.search(event)) and b'"response"' not in event and b'"error"' not in event:
            return True
        parsed = _parsed(event)
        self._stream.add(parsed)
        if (member(parsed, "error") and member(parsed, "choices") is None) or text(parsed, "type") == "error":
            self.error_kind = "error_event"
        return not (self._hides_usage and _is_usage_only(parsed))

    def reading(self) -> Reading | None:
        """Return what the stream said; None if it ended without its final figures."""
        if self.error_kind is not None:
            return None
        try:
            return self._stream.reading()
        except UsageMissing:
            return None

    def finish_reason(self) -> str | None:
        """Return why the answer ended."""
        for event in reversed(self._events[-4:]):
            reason = finish_reason_of(_parsed(event))
            if reason is not None:
                return reason
        return None

    def received(self) -> Received:
        """Return what has come so far."""
        return Received(self._stream.partial(), "".join(output_text(_parsed(event)) for event in self._events))


class WatchedFrames(WatchedEvents):
    """A stream of Amazon's frames, whose events are the same."""

    def feed(self, data: bytes) -> bytes:
        """Take in bytes, and return them."""
        payloads, self._rest = split_frames(self._rest + data)
        for payload in payloads:
            self._passes(b"data: " + event_of(payload))
        return data

    def rest(self) -> bytes:
        """Take in the end of the stream: a frame that is not whole is none."""
        return b""


class WatchedBody:
    """An answer that is one JSON object."""

    has_begun = False
    """Until it is whole, nothing is known of what was generated."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.has_text = False
        self.error_kind: str | None = None
        self._body: object = None

    def feed(self, data: bytes) -> bytes:
        """Take in bytes, and return them."""
        self._parts.append(data)
        return data

    def rest(self) -> bytes:
        """Take in the end of the answer."""
        return b""

    def reading(self) -> object:
        """Return the body, None if it is not whole."""
        self._body = _json(b"".join(self._parts))
        return self._body

    def finish_reason(self) -> str | None:
        """Return why the answer ended."""
        return finish_reason_of(self._body)

    def received(self) -> Received:
        """Return that nothing is known."""
        return Received()


class WatchedContent(WatchedBody):
    """An answer that is neither, such as a recording: what was charged for it is known before, or not at all."""

    def __init__(self, charged: Usage | None) -> None:
        super().__init__()
        self._charged = charged

    def feed(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data

    def reading(self) -> object:
        """Return what was charged."""
        return self._charged


Watched = WatchedEvents | WatchedBody


def watch_answer(
    content_type: str, stream: StreamUsage, *, hides_usage: bool = False, charged: Usage | None = None
) -> Watched:
    """Return what watches an answer of this type; `stream` reads its events, if it has any.

    `charged` is what the call costs by its request, where its answer does not say it.
    """
    if content_type.startswith(_CONTENTS):
        return WatchedContent(charged)
    if content_type.startswith(FRAMES):
        return WatchedFrames(stream)
    if content_type.startswith("text/event-stream"):
        return WatchedEvents(stream, hides_usage=hides_usage)
    return WatchedBody()


def finish_reason_of(body: object) -> str | None:
    """Return why an answer, or the last chunk of one, ended, in the words of its provider."""
    reasons = [text(choice, "finish_reason") for choice in members(member(body, "choices"))]
    reasons += [text(candidate, "finishReason") for candidate in members(member(body, "candidates"))]
    reasons.append(text(body, "stop_reason") or text(member(body, "delta"), "stop_reason"))
    response = member(body, "response") or body
    reasons.append(text(member(response, "incomplete_details"), "reason"))
    return next((reason for reason in reasons if reason), None)


def _is_usage_only(chunk: object) -> bool:
    return member(chunk, "choices") == [] and member(chunk, "usage") is not None


def _parsed(event: bytes) -> Any:
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    return _json(b"\n".join(lines))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
