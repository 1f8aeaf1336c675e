"""Reads the `usage_metadata` of LangChain's messages, which has one form for all providers.

`input_tokens` and `output_tokens` are the wholes; details have the names of LangChain, with a prefix for OpenAI's
service tiers (`flex_cache_read`). Where the time to live of a cache write is known, `cache_creation` is 0 and the times
have it.
"""

from __future__ import annotations

from .bodies import count, has_count, member, names_of, text
from .reading import STANDARD, Reading, tier_named, valid_id
from .usage import Usage

FORMAT = "langchain"
_TIERS = ("flex", "priority")
_ONLY_LANGCHAIN_HAS = frozenset(
    {
        "cache_read", "cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "audio", "reasoning",
        *_TIERS, *(f"{tier}_{kind}" for tier in _TIERS for kind in ("cache_read", "reasoning")),
    }
)  # fmt: skip


def read_langchain(response: object) -> Reading | None:
    """Read a message of LangChain, or only its `usage_metadata`."""
    usage = member(response, "usage_metadata")
    is_message = usage is not None
    usage = usage if is_message else response
    if not has_count(usage, "input_tokens"):
        return None
    details, output = member(usage, "input_token_details"), member(usage, "output_token_details")
    names = {*names_of(details), *names_of(output)}
    if not is_message and not names & _ONLY_LANGCHAIN_HAS:
        return None
    metadata = member(response, "response_metadata")
    tier = tier_named(member(metadata, "service_tier"))
    if tier == STANDARD:
        tier = tier_named(*(name.partition("_")[0] for name in names if count(details, name) or count(output, name)))
    return Reading(
        _usage(usage, details, output),
        text(metadata, "model_name") or text(metadata, "model"),
        tier,
        # A message's own id may be one that LangChain made.
        valid_id(member(metadata, "id")),
        FORMAT,
    )


def _usage(usage: object, details: object, output: object) -> Usage:
    write_1h = count(details, "ephemeral_1h_input_tokens")
    write_5m = max(count(details, "ephemeral_5m_input_tokens"), count(details, "cache_creation") - write_1h)
    return Usage(
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        cache_read_tokens=count(details, "cache_read", *(f"{tier}_cache_read" for tier in _TIERS)),
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=count(output, "reasoning", *(f"{tier}_reasoning" for tier in _TIERS)),
        audio_input_tokens=count(details, "audio"),
        audio_output_tokens=count(output, "audio"),
    )
