"""Reads the usage of Amazon Bedrock's Converse and its stream, and of models that only InvokeModel answers for.

`inputTokens` excludes what was read from the cache and written to it, so both are added. Bodies of InvokeModel in the
format of Anthropic or OpenAI are read as theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from .bodies import count, has_count, member, members, text
from .reading import Reading, tier_named, valid_id
from .streams import LastEventUsage
from .usage import Usage

FORMAT = "bedrock"
_OTHERS_HAVE = ("cachedInputTokens", "reasoningTokens", "inputTokenDetails", "promptTokens")
"""Members of the usage of Vercel's AI SDK, whose `inputTokens` include the cache."""


def read_bedrock(response: object) -> Reading | None:
    """Read a response of Bedrock Converse, or of a Titan or Llama model."""
    usage = member(response, "usage")
    usage = response if usage is None else usage
    if has_count(usage, "inputTokens"):
        if any(member(usage, name) is not None for name in _OTHERS_HAVE):
            return None
        return _reading(response, _usage(usage))
    if has_count(response, "inputTextTokenCount"):
        results = members(member(response, "results"))
        output = sum(count(result, "tokenCount") for result in results)
        return _reading(response, Usage(count(response, "inputTextTokenCount"), output))
    if has_count(response, "prompt_token_count") and has_count(response, "generation_token_count"):
        usage_of_llama = Usage(count(response, "prompt_token_count"), count(response, "generation_token_count"))
        return _reading(response, usage_of_llama)
    return None


class BedrockStreamUsage(LastEventUsage):
    """The usage of a Bedrock Converse stream: its last event, `metadata`, has all figures."""

    CUT_OFF = "the Bedrock stream was cut off before its metadata event brought the usage"

    def add(self, event: object) -> None:
        """Take in one event, as boto3 yields it."""
        if member(event, "messageStart") is not None:
            self._latest = None
        metadata = member(event, "metadata")
        if metadata is not None:
            self._latest = read_bedrock(metadata) or self._latest


def _reading(response: object, usage: Usage) -> Reading:
    tier = member(response, "serviceTier")
    return Reading(
        usage,
        _routed_model(response),
        tier_named(member(tier, "type") if isinstance(tier, Mapping) else tier),
        valid_id(member(member(response, "ResponseMetadata"), "RequestId")),
        FORMAT,
    )


def _routed_model(response: object) -> str | None:
    """Return the model that a prompt router chose, which is the only one that a response names."""
    router = member(member(response, "trace"), "promptRouter")
    invoked = text(router, "invokedModelId")
    return None if invoked is None else invoked.rpartition("/")[2]


def _usage(usage: object) -> Usage:
    read = count(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
    whole = count(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    times = {"5m": 0, "1h": 0}
    for detail in members(member(usage, "cacheDetails")):
        ttl = text(detail, "ttl")
        if ttl in times:
            times[ttl] += count(detail, "inputTokens")
    write_5m = max(times["5m"], whole - times["1h"])
    return Usage(
        input_tokens=count(usage, "inputTokens") + read + write_5m + times["1h"],
        output_tokens=count(usage, "outputTokens"),
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=times["1h"],
    )
