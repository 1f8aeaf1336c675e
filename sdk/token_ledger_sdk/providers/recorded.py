"""Reads what was kept of a call: a response, or its whole stream, as text or as a list of its chunks.

A stream's text is that of server-sent events, of JSON with a line for each chunk (Cohere, Ollama), or a JSON list of
them (Gemini without `alt=sse`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from ..errors import UsageMissing
from .any_stream import AnyStreamUsage
from .reading import Reading
from .responses import reading_of


def reading_of_recorded(recorded: object, *, most_chunks: int | None = None) -> Reading:
    """Read a response, or all chunks of a stream as text or as a list; raises UsageMissing without final figures.

    A stream of more than `most_chunks` is not read.
    """
    if isinstance(recorded, str):
        recorded = _parsed(recorded, most_chunks)
    if not isinstance(recorded, list | tuple):
        return reading_of(recorded)
    if most_chunks is not None and len(recorded) > most_chunks:
        raise UsageMissing(f"this stream has more than {most_chunks} chunks: read it with AnyStreamUsage")
    return _reading_of_chunks(recorded)


def _reading_of_chunks(chunks: list[object] | tuple[object, ...]) -> Reading:
    stream = AnyStreamUsage()
    begun: str | None = None
    for chunk in chunks:
        stream.add(chunk)
        if stream.response_id != begun:
            if begun is not None and stream.response_id is not None:
                raise UsageMissing(
                    f"these are chunks of several responses ({begun!r}, {stream.response_id!r}): give each by itself"
                )
            begun = stream.response_id or begun
    return stream.reading()


def chunks_of(text: str, most: int | None = None) -> list[object]:
    """Return the first `most` JSON objects in the text of a stream; what is none, such as [DONE], is passed over."""
    return list(islice((chunk for data in _data_of(text) if isinstance(chunk := _json(data), dict)), most))


def _parsed(text: str, most_chunks: int | None) -> object:
    whole = _json(text)
    if isinstance(whole, dict | list):
        return whole
    chunks = chunks_of(text, None if most_chunks is None else most_chunks + 1)
    if not chunks:
        raise UsageMissing(
            "this text is neither a response nor a stream: send the body as the provider sent it, server-sent events"
            " with their lines of data: included"
        )
    return chunks


def _data_of(text: str) -> Iterator[str]:
    """Yield the data of each event, and each line that is JSON without being a field of an event."""
    lines: list[str] = []
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:])
        elif line.startswith("{"):
            yield line
        elif not line and lines:
            yield from _event_of(lines)
            lines = []
    yield from _event_of(lines)


def _event_of(lines: list[str]) -> Iterator[str]:
    """Yield the data of one event; some record the lines of a stream without the empty ones between its events."""
    if len(lines) > 1 and all(isinstance(_json(line), dict) or line.strip() == "[DONE]" for line in lines):
        yield from lines
    elif lines:
        yield "\n".join(lines)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter of thousands of levels
        return None
