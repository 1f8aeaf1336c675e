"""Reads the usage of Cohere: chat, generate, embeddings and rerank, of both versions of its API.

A response has what the model read and wrote (`tokens`) and what is charged (`billed_units`), which is less: Cohere's
own instructions are not. The charged units count. Only a response without them is read from `tokens`.
"""

from __future__ import annotations

from dataclasses import replace

from .bodies import count, has_count, member, text
from .reading import Reading, valid_id
from .streams import LastEventUsage
from .usage import Usage

FORMAT = "cohere"


def read_cohere(response: object) -> Reading | None:
    """Read a response of Cohere: version 2 has `usage`, version 1 and embeddings have `meta`."""
    said = member(response, "usage")
    if said is None:
        said = member(response, "meta")
    if said is None:
        said = response
    billed, tokens = member(said, "billed_units"), member(said, "tokens")
    usage = _usage(billed, 0) if billed is not None else None
    if usage is None and has_count(tokens, "input_tokens"):
        usage = _usage(tokens, count(said, "cached_tokens"))
    if usage is None:
        return None
    identifier = valid_id(member(response, "id")) or valid_id(member(response, "response_id"))
    return Reading(usage, text(response, "model"), response_id=identifier, provider_format=FORMAT)


class CohereStreamUsage(LastEventUsage):
    """The usage of a chat stream of Cohere: `message-end` has all figures, in version 1 `stream-end`."""

    CUT_OFF = "the Cohere stream was cut off before message-end brought the usage"

    def add(self, event: object) -> None:
        """Take in one event, as an SDK object or a dict."""
        kind = text(event, "type") or text(event, "event_type")
        if kind in ("message-start", "stream-start"):
            self._latest = None
            self.response_id = text(event, "id") or text(event, "generation_id")
        elif kind == "message-end":
            self._latest = read_cohere(member(event, "delta"))
        elif kind == "stream-end":
            self._latest = read_cohere(member(event, "response"))

    def reading(self) -> Reading:
        """Return what the stream said; raises UsageMissing if it was cut off."""
        read = super().reading()
        return replace(read, response_id=valid_id(self.response_id) or read.response_id)


def _usage(units: object, cached: int) -> Usage | None:
    if not any(has_count(units, name) for name in ("input_tokens", "output_tokens", "search_units", "images")):
        return None
    return Usage(
        count(units, "input_tokens"),
        count(units, "output_tokens"),
        cache_read_tokens=cached,
        images=count(units, "images"),
        # The first search of a rerank is the call itself.
        requests=max(0, count(units, "search_units") - 1),
    )
