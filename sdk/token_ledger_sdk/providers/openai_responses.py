"""Reads the usage of OpenAI's Responses and Realtime, and of its transcriptions and images, which count alike.

`input_tokens` includes cached tokens and cache writes, `output_tokens` includes reasoning. Anthropic uses the same
names for other figures, so a usage counts as one of these only if it has the details that these have, or nothing else
that counts tokens.
"""

from __future__ import annotations

from .bodies import count, either, has_count, member, members, names_of, text, whole_seconds
from .reading import Reading, tier_named, valid_id
from .usage import Usage

FORMAT = "openai_responses"
REALTIME_FORMAT = "openai_realtime"
LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed", "response.done")
LAST_EVENTS_WITH_USAGE = (
    "transcript.text.done", "speech.audio.done", "image_generation.completed", "image_edit.completed",
)  # fmt: skip
_KNOWN = frozenset(
    {
        "input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details",
        "input_token_details", "output_token_details", "cached_input_tokens", "reasoning_output_tokens",
    }
)  # fmt: skip


def read_responses(response: object) -> Reading | None:
    """Read a response in the format of OpenAI's Responses, Realtime, transcriptions or images."""
    usage = member(response, "usage")
    usage = response if usage is None else usage
    if text(usage, "type") == "duration" and member(usage, "seconds") is not None:
        return Reading(Usage(0, 0, audio_seconds=whole_seconds(member(usage, "seconds"))), provider_format=FORMAT)
    if not has_count(usage, "input_tokens") or _is_running(response):
        return None
    prompt = either(usage, "input_tokens_details", "input_token_details")
    completion = either(usage, "output_tokens_details", "output_token_details")
    if prompt is None and completion is None and _counts_more(usage):
        return None
    is_realtime = member(usage, "input_token_details") is not None
    return Reading(
        _usage(response, usage, prompt, completion),
        text(response, "model"),
        tier_named(member(response, "service_tier"), member(usage, "service_tier")),
        valid_id(member(response, "id")),
        REALTIME_FORMAT if is_realtime else FORMAT,
        _image_generation(response) + _vector_drawing(response),
    )


def web_searches(response: object, usage: object) -> int:
    """Return how many searches of the web are charged.

    What counts charged ones is believed first; among the items of the output, only searches are, not pages opened.
    """
    told = member(member(response, "tool_usage"), "web_search")
    if has_count(told, "num_requests"):
        return count(told, "num_requests")
    # OpenRouter; xAI; Perplexity.
    server = either(usage, "server_tool_use_details", "server_tool_use")
    details = member(usage, "server_side_tool_usage_details")
    counted = (
        count(server, "web_search_requests")
        or count(details, "web_search_calls") + count(details, "x_search_calls")
        or count(usage, "num_search_queries")
    )
    if counted or details is not None:
        return counted
    return sum(1 for item in members(member(response, "output")) if _is_search(item))


def _file_searches(response: object) -> int:
    """Return how many searches of stored files the response made: each that did not fail is charged."""
    return sum(
        text(item, "type") == "file_search_call" and text(item, "status") != "failed"
        for item in members(member(response, "output"))
    )


def _usage(response: object, usage: object, prompt: object, completion: object) -> Usage:
    cached = member(prompt, "cached_tokens_details")
    writes = member(prompt, "cache_write_tokens_details")
    # OpenAI keeps written tokens for 30 minutes or 12 hours: the shorter and the longer time there is.
    write_1h = count(writes, "ttl_12h_tokens")
    return Usage(
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        cache_read_tokens=count(prompt, "cached_tokens") or count(usage, "cached_input_tokens"),
        cache_write_5m_tokens=max(0, count(prompt, "cache_write_tokens") - write_1h),
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=count(completion, "reasoning_tokens") or count(usage, "reasoning_output_tokens"),
        audio_input_tokens=count(prompt, "audio_tokens"),
        image_input_tokens=count(prompt, "image_tokens"),
        video_input_tokens=count(prompt, "video_tokens"),
        audio_cache_read_tokens=count(cached, "audio_tokens"),
        image_cache_read_tokens=count(cached, "image_tokens"),
        audio_output_tokens=count(completion, "audio_tokens"),
        image_output_tokens=count(completion, "image_tokens"),
        web_searches=web_searches(response, usage),
        file_searches=_file_searches(response),
    )


def _image_generation(response: object) -> tuple[Reading, ...]:
    """Return what the image model used that the response called as a tool: its tokens are not in the usage."""
    usage = member(member(response, "tool_usage"), "image_gen")
    if not count(usage, "total_tokens", "input_tokens", "output_tokens"):
        return ()
    model = next(
        (
            text(tool, "model")
            for tool in members(member(response, "tools"))
            if text(tool, "type") == "image_generation"
        ),
        None,
    )
    used = _usage(None, usage, member(usage, "input_tokens_details"), member(usage, "output_tokens_details"))
    return (Reading(used, model, provider_format=FORMAT),)


def _vector_drawing(response: object) -> tuple[Reading, ...]:
    """Return what the model used that has written an image as SVG."""
    usage = member(response, "svg_usage")
    if not has_count(usage, "input_tokens"):
        return ()
    used = Usage(
        count(usage, "input_tokens"), count(usage, "output_tokens"), reasoning_tokens=count(usage, "reasoning_tokens")
    )
    return (Reading(used, text(usage, "model"), provider_format=FORMAT),)


def _is_search(item: object) -> bool:
    if text(item, "type") != "web_search_call" or text(item, "status") == "failed":
        return False
    action = member(item, "action")
    return action is None or text(action, "type") in (None, "search")


def _is_running(response: object) -> bool:
    """Whether this says itself that it goes on, so that its figures are not final."""
    return text(response, "status") in ("in_progress", "queued") or text(response, "type") == "message_delta"


def _counts_more(usage: object) -> bool:
    """Whether a usage without details has counts of tokens whose meaning is not known: no format is guessed."""
    return any(
        count(usage, name) and ("token" in name or "cache" in name) for name in names_of(usage) if name not in _KNOWN
    )
