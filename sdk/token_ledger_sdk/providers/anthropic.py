"""Reads the usage of Anthropic's Messages responses and streams.

`input_tokens` excludes cache reads and writes, so both are added to get the whole prompt. A cache write that is not
split into 5 minutes and 1 hour is a 5 minute write, the default. Among `iterations`, the figures of a compaction are
not part of the totals and are added; those of messages are (docstring of `BetaUsage.iterations` in the anthropic SDK).
"""

from __future__ import annotations

from ..errors import UsageMissing
from .bodies import count, has_count, member, usage_missing, usage_part
from .streams import StreamUsage
from .usage import Usage

_ONLY_ANTHROPIC_HAS = ("cache_read_input_tokens", "cache_creation_input_tokens", "iterations")
_INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_STREAMED = (*_INPUT_COUNTS, "cache_creation", "iterations", "output_tokens", "output_tokens_details")


def usage_from_anthropic(response: object) -> Usage:
    """Read the usage of an Anthropic Messages response; raises UsageMissing if it has no token counts."""
    usage = usage_part(response)
    if not has_count(usage, "input_tokens"):
        raise usage_missing(response)
    iterations = member(usage, "iterations")
    whole = _iteration_usage(usage)
    for iteration in iterations if isinstance(iterations, list) else []:
        if member(iteration, "type") == "compaction":
            whole += _iteration_usage(iteration)
    return whole


def is_anthropic(response: object) -> bool:
    """Whether a response has the format of Anthropic; OpenAI's Responses count `input_tokens` too."""
    usage = usage_part(response)
    if has_count(usage, "prompt_tokens") or not has_count(usage, "input_tokens"):
        return False
    return member(response, "type") == "message" or any(member(usage, name) is not None for name in _ONLY_ANTHROPIC_HAS)


class AnthropicStreamUsage(StreamUsage):
    """The usage of an Anthropic Messages stream: the input comes first, the final output last."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, object] = {}

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        return self._finished and "input_tokens" in self._usage

    def add(self, event: object) -> None:
        """Take in one event, as an SDK object or a dict."""
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
            raise UsageMissing("the Anthropic stream was cut off before message_delta brought its final usage")
        return usage_from_anthropic(self._usage)

    def partial(self) -> Usage | None:
        """Return the latest figures; before the end, the output is only the provider's placeholder."""
        return usage_from_anthropic(self._usage) if "input_tokens" in self._usage else None

    def _merge(self, usage: object) -> None:
        for name in _STREAMED:
            value, known = member(usage, name), self._usage.get(name)
            if value is None:
                continue
            # Input counts only grow, yet some compatible servers repeat them as 0 at the end.
            if name in _INPUT_COUNTS and isinstance(value, int) and isinstance(known, int):
                value = max(value, known)
            self._usage[name] = value


def _iteration_usage(usage: object) -> Usage:
    split = member(usage, "cache_creation")
    write_1h = count(split, "ephemeral_1h_input_tokens")
    # Older responses and the deltas of streams have no split; the total is always there.
    write_5m = max(count(split, "ephemeral_5m_input_tokens"), count(usage, "cache_creation_input_tokens") - write_1h)
    read = count(usage, "cache_read_input_tokens")
    return Usage(
        input_tokens=count(usage, "input_tokens") + read + write_5m + write_1h,
        output_tokens=count(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=count(member(usage, "output_tokens_details"), "thinking_tokens"),
    )
