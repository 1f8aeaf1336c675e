"""Reads the usage of Anthropic's Messages responses and streams.

`input_tokens` excludes cache reads and writes, so both are added to get the whole prompt. A cache write that is not
split into 5 minutes and 1 hour is a 5 minute write, the default. Among `iterations`, the figures of a compaction are
not part of the totals and are added; those of messages are (docstring of `BetaUsage.iterations` in the anthropic SDK).
Those of an advisor are not part of the totals either, and are another model's.
"""

from __future__ import annotations

from ..errors import UsageMissing
from .bodies import count, has_count, member, members, text
from .missing import usage_missing
from .reading import Reading, tier_named, valid_id
from .streams import StreamUsage
from .usage import Usage

FORMAT = "anthropic"
_ONLY_ANTHROPIC_HAS = (
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "iterations",
    "server_tool_use",
    "speed",
)
_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")
_INPUT_COUNTS = ("input_tokens", *_CACHED)
_STREAMED = (
    *_INPUT_COUNTS, "cache_creation", "iterations", "output_tokens", "output_tokens_details", "server_tool_use",
    "service_tier", "speed",
)  # fmt: skip


def usage_from_anthropic(response: object) -> Usage:
    """Read the usage of an Anthropic Messages response; raises UsageMissing if it has no token counts."""
    usage = _usage_part(response)
    if not has_count(usage, "input_tokens"):
        raise usage_missing(response)
    return _reading(response, usage).usage


def read_anthropic(response: object) -> Reading | None:
    """Read a response in the format of Anthropic; OpenAI's Responses count `input_tokens` too."""
    usage = _usage_part(response)
    if not has_count(usage, "input_tokens") or member(usage, "input_tokens_details") is not None:
        return None
    kind = member(response, "type")
    if kind == "message" or (
        kind != "message_delta" and any(member(usage, name) is not None for name in _ONLY_ANTHROPIC_HAS)
    ):
        return _reading(response, usage)
    return None


class AnthropicStreamUsage(StreamUsage):
    """The usage of an Anthropic Messages stream: the input comes first, the final output last."""

    def __init__(self) -> None:
        super().__init__()
        self._model: object = None
        self._usage: dict[str, object] = {}
        self._output_arrived = False

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        return self._finished and self._output_arrived and "input_tokens" in self._usage

    def add(self, event: object) -> None:
        """Take in one event, as an SDK object or a dict."""
        kind = member(event, "type")
        if kind == "message_start":
            message = member(event, "message")
            identifier = member(message, "id")
            self.response_id = identifier if isinstance(identifier, str) else None
            self._model = member(message, "model")
            self._usage, self._finished, self._output_arrived = {}, False, False
            self._merge(member(message, "usage"))
        elif kind == "message_delta":
            usage = member(event, "usage")
            self._merge(usage)
            self._output_arrived = self._output_arrived or member(usage, "output_tokens") is not None
            self._finished = self._finished or bool(member(member(event, "delta"), "stop_reason"))
        elif kind == "message_stop":
            self._finished = True

    def reading(self) -> Reading:
        """Return what the stream said; raises UsageMissing if it ended without its final figures."""
        if not self.complete:
            raise UsageMissing(
                "the Anthropic stream was cut off before message_delta brought its final usage, or not every event was"
                " given to this AnthropicStreamUsage: wrap the whole stream with watch()"
            )
        return self._read()

    def partial(self) -> Usage | None:
        """Return the latest figures; before the end, the output is only the provider's placeholder."""
        return self._read().usage if "input_tokens" in self._usage else None

    def _read(self) -> Reading:
        return _reading({"id": self.response_id, "model": self._model}, self._usage)

    def _merge(self, usage: object) -> None:
        # Some compatible servers begin with the whole prompt as uncached and split it at the end: then all input counts
        # are the later ones. Others repeat counts as 0 at the end, which takes nothing back: else, they only grow.
        is_split = has_count(usage, "input_tokens") and _cached(usage) > _cached(self._usage)
        for name in _STREAMED:
            value, known = member(usage, name), self._usage.get(name)
            if value is None:
                continue
            if name in _INPUT_COUNTS and not is_split and isinstance(value, int) and isinstance(known, int):
                value = max(value, known)
            self._usage[name] = value


def _usage_part(response: object) -> object:
    usage = member(response, "usage")
    return response if usage is None else usage


def _cached(usage: object) -> int:
    return sum(count(usage, name) for name in _CACHED)


def _reading(response: object, usage: object) -> Reading:
    whole = _iteration_usage(usage)
    others: dict[str | None, Usage] = {}
    for iteration in members(member(usage, "iterations")):
        kind = member(iteration, "type")
        if kind == "compaction":
            whole += _iteration_usage(iteration)
        elif kind == "advisor_message":
            model, used = text(iteration, "model"), _iteration_usage(iteration)
            others[model] = others[model] + used if model in others else used
    tier = tier_named(member(usage, "service_tier"))  # the speed is that of the call's own model
    return Reading(
        whole,
        text(response, "model"),
        tier_named(member(usage, "speed"), tier),
        valid_id(member(response, "id")),
        FORMAT,
        tuple(Reading(used, model, tier, provider_format=FORMAT) for model, used in others.items()),
    )


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
        web_searches=count(member(usage, "server_tool_use"), "web_search_requests"),
    )
