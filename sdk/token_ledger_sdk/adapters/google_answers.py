"""Watches the chunks of a stream of Gemini as the google-genai library has parsed them, whatever its HTTP client is."""

from __future__ import annotations

import json

from ..guard.attempts import Received
from ..providers import GeminiStreamUsage, Reading, UsageMissing
from ..providers.bodies import member
from ..providers.output_text import output_text
from .answers import finish_reason_of


class WatchedChunks:
    """The chunks of one stream; their usage is read at its end, because each repeats all of it."""

    def __init__(self) -> None:
        self._chunks: list[object] = []
        self.has_text = False
        self.error_kind: str | None = None

    def add(self, chunk: object) -> None:
        """Take in a chunk."""
        self._chunks.append(chunk)
        if not self.has_text:
            self.has_text = bool(output_text(chunk))
        if member(chunk, "error") is not None:
            self.error_kind = "error_event"

    def reading(self) -> Reading | None:
        """Return what the stream said; None if it ended without its final figures."""
        if self.error_kind is not None:
            return None
        try:
            return self._usage().reading()
        except UsageMissing:
            return None

    def finish_reason(self) -> str | None:
        """Return why the answer ended."""
        reasons = (finish_reason_of(chunk) for chunk in reversed(self._chunks[-4:]))
        return next((reason for reason in reasons if reason is not None), None)

    def received(self) -> Received:
        """Return what has come so far."""
        return Received(self._usage().partial(), "".join(map(output_text, self._chunks)))

    def _usage(self) -> GeminiStreamUsage:
        stream = GeminiStreamUsage()
        for chunk in self._chunks:
            stream.add(chunk)
        return stream


def body_of_answer(content: object) -> object:
    """Return an answer as JSON, None for one that is none."""
    try:
        return json.loads(content) if isinstance(content, str | bytes) else None
    except (ValueError, RecursionError):
        return None
