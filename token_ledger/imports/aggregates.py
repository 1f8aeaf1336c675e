"""Turns sums of many calls, as providers report usage by the hour or day, into events.

A sum is no call. Booked as one, its input would fall into the price tier of very long prompts, where a model has
one. So it is booked in as few equal parts as are not that long, and in no more parts than there were calls, where that
is known. What is lost: how many calls there were (the tag `requests` of the first part says it), and which of them had
very long prompts.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

LONG_PROMPT: Final = 200_000
"""The smallest number of input tokens, in use by a provider whose sums are read, beyond which a price is another."""

Event = dict[str, Any]
_CACHED: Final = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


def key_of(*says: object) -> str:
    """Return the key of a sum: what it is a sum of, and not how much it is, so that a second export repeats it."""
    return blake2b(repr(says).encode(errors="backslashreplace"), digest_size=16).hexdigest()


def parts_of(event: Event, *, requests: int | None, long_prompts: bool = False) -> Iterator[Event]:
    """Yield the events that a sum is booked as; `long_prompts` says that all of its calls were that long."""
    usage: dict[str, int] = event["usage"]
    tokens = usage["input_tokens"]
    parts = tokens // (LONG_PROMPT + 1) if long_prompts else -(-tokens // LONG_PROMPT)
    if requests is not None:
        parts = min(parts, requests)
    parts = max(1, parts)
    if requests is not None:
        event = {**event, "tags": {**event.get("tags", {}), "requests": str(requests)}}
    if parts == 1:
        yield event
        return
    without_requests = {name: value for name, value in event.get("tags", {}).items() if name != "requests"}
    for number in range(parts):
        part = {**event, "usage": _part(usage, number, parts)}
        if number:
            part |= {"idempotency_key": f"{event['idempotency_key']}:{number + 1}", "tags": without_requests}
        yield part


def _part(usage: Mapping[str, int], number: int, parts: int) -> dict[str, int]:
    """Return one of equal parts of a usage; what is uncached is divided, so that no part has more cached than input."""
    cached = sum(usage.get(kind, 0) for kind in _CACHED)
    divided = {**usage, "input_tokens": usage["input_tokens"] - cached}
    part = {kind: count * (number + 1) // parts - count * number // parts for kind, count in divided.items()}
    part["input_tokens"] += sum(part.get(kind, 0) for kind in _CACHED)
    return part
