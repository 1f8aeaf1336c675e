"""Reads the usage of native Gemini, of its API and of Vertex AI, as JSON or as objects of google-genai.

`promptTokenCount` includes the cached content, but not what tools put into the prompt; `thoughtsTokenCount` is outside
of `candidatesTokenCount`. Chunks of a stream repeat a running figure, so the last one counts. Searches are counted by
their queries, which stand in whichever chunk names them.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import replace

from ..errors import UsageMissing
from .bodies import count, either, has_count, member, members, text
from .reading import Reading, tier_named, valid_id
from .streams import StreamUsage
from .usage import Usage

FORMAT = "gemini"
_PROMPT = ("promptTokenCount", "prompt_token_count")
_UNFINISHED = (None, "FINISH_REASON_UNSPECIFIED")
_PER_PROMPT = re.compile(r"gemini-[12](\.|-|$)")
"""Models whose grounding with Google Search is charged once for a prompt; of later ones every query is."""


def read_gemini(response: object) -> Reading | None:
    """Read a response of Gemini, or of the embeddings of Vertex AI."""
    usage = _usage_part(response)
    if not _has_figures(usage):
        return _embeddings(response)
    model = either_text(response, "modelVersion", "model_version")
    return Reading(
        replace(_usage(usage), web_searches=_searches(model, _queries(response))),
        model,
        tier_named(
            either(usage, "serviceTier", "service_tier"),
            either(usage, "trafficType", "traffic_type"),
        ),
        valid_id(either(response, "responseId", "response_id")),
        FORMAT,
    )


def _usage_part(response: object) -> object:
    usage = either(response, "usageMetadata", "usage_metadata")
    return response if usage is None else usage


def _has_figures(usage: object) -> bool:
    is_counted = has_count(usage, _PROMPT[0]) or has_count(usage, _PROMPT[1])
    return is_counted and member(usage, "generation_token_count") is None


def either_text(value: object, camel: str, snake: str) -> str | None:
    """Return a string that JSON and the SDK spell differently."""
    return text(value, camel) or text(value, snake)


class GeminiStreamUsage(StreamUsage):
    """The usage of a stream of native Gemini: the figures of its last chunk, final once every candidate has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: object = None  # the last chunk with figures, which is read when they are asked for
        self._begun: set[object] = set()
        self._ended: set[object] = set()
        self._queries: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        all_ended = bool(self._begun) and self._begun <= self._ended
        return self._latest is not None and (self._finished or all_ended)

    def add(self, event: object) -> None:
        """Take in one chunk, as an SDK object or a dict."""
        chunk = _content(event)
        identifier = either_text(chunk, "responseId", "response_id")
        if identifier is not None:
            if self.response_id not in (None, identifier):
                self._latest, self._finished, self._begun, self._ended = None, False, set(), set()
                self._queries = set()
            self.response_id = identifier
        if _has_figures(_usage_part(chunk)):
            self._latest = chunk
        self._queries |= _queries(chunk)
        for candidate in members(member(chunk, "candidates")):
            index = member(candidate, "index") or 0
            self._begun.add(index)
            if either_text(candidate, "finishReason", "finish_reason") not in _UNFINISHED:
                self._ended.add(index)
        # A refused prompt has no candidates.
        feedback = either(chunk, "promptFeedback", "prompt_feedback")
        self._finished = self._finished or either(feedback, "blockReason", "block_reason") is not None

    def reading(self) -> Reading:
        """Return what the stream said; raises UsageMissing if it was cut off."""
        latest = read_gemini(self._latest)
        if latest is None or not self.complete:
            raise UsageMissing("the Gemini stream was cut off before its last chunk brought the final usageMetadata")
        return replace(latest, usage=self._with_searches(latest), response_id=valid_id(self.response_id))

    def partial(self) -> Usage | None:
        """Return the latest figures, final or not; None if there are none yet."""
        latest = read_gemini(self._latest)
        return None if latest is None else self._with_searches(latest)

    def _with_searches(self, latest: Reading) -> Usage:
        return replace(latest.usage, web_searches=_searches(latest.model, self._queries))


def _content(event: object) -> object:
    """Return the chunk itself: some clients wrap each in `response`."""
    wrapped = member(event, "response")
    return event if wrapped is None else wrapped


def _usage(usage: object) -> Usage:
    thoughts = count(usage, "thoughtsTokenCount", "thoughts_token_count")
    # The Live API has responses in place of candidates.
    answer = count(
        usage, "candidatesTokenCount", "candidates_token_count", "responseTokenCount", "response_token_count"
    )
    prompt = _by_modality(usage, "promptTokensDetails", "prompt_tokens_details")
    tools = _by_modality(usage, "toolUsePromptTokensDetails", "tool_use_prompt_tokens_details")
    cached = _by_modality(usage, "cacheTokensDetails", "cache_tokens_details")
    output = _by_modality(usage, "candidatesTokensDetails", "candidates_tokens_details") or _by_modality(
        usage, "responseTokensDetails", "response_tokens_details"
    )
    images = prompt.get("IMAGE", 0) + tools.get("IMAGE", 0)
    # Nobody has a rate for video that is read from a cache: it is only a part of what is read there.
    video = prompt.get("VIDEO", 0) + tools.get("VIDEO", 0) - cached.get("VIDEO", 0)
    return Usage(
        input_tokens=count(usage, *_PROMPT) + count(usage, "toolUsePromptTokenCount", "tool_use_prompt_token_count"),
        output_tokens=answer + thoughts,
        cache_read_tokens=count(usage, "cachedContentTokenCount", "cached_content_token_count"),
        reasoning_tokens=thoughts,
        audio_input_tokens=prompt.get("AUDIO", 0) + tools.get("AUDIO", 0),
        image_input_tokens=images,
        video_input_tokens=max(0, video),
        audio_cache_read_tokens=cached.get("AUDIO", 0),
        image_cache_read_tokens=min(images, cached.get("IMAGE", 0)),  # pages of documents are images in the cache only
        audio_output_tokens=output.get("AUDIO", 0),
        image_output_tokens=output.get("IMAGE", 0),
        video_output_tokens=output.get("VIDEO", 0),
    )


def _queries(response: object) -> AbstractSet[str]:
    """Return what was searched for on the web; a query without words is not charged."""
    found: set[str] = set()
    for candidate in members(member(response, "candidates")):
        grounding = either(candidate, "groundingMetadata", "grounding_metadata")
        queries = members(either(grounding, "webSearchQueries", "web_search_queries"))
        found.update(query for query in queries if isinstance(query, str) and query.strip())
    return found


def _searches(model: str | None, queries: AbstractSet[str]) -> int:
    """Return how many searches are charged for these queries."""
    if queries and model is not None and is_charged_per_prompt(model):
        return 1
    return len(queries)


def is_charged_per_prompt(model: str) -> bool:
    """Whether all searches for one prompt are charged as one."""
    return _PER_PROMPT.search(model) is not None


def _by_modality(usage: object, camel: str, snake: str) -> dict[str | None, int]:
    counts: dict[str | None, int] = {}
    for detail in members(either(usage, camel, snake)):
        modality = text(detail, "modality")
        counts[modality] = counts.get(modality, 0) + count(detail, "tokenCount", "token_count")
    return counts


def _embeddings(response: object) -> Reading | None:
    """Read Vertex AI's embeddings, which count the tokens of each text by itself."""
    counts = [
        member(member(member(prediction, "embeddings"), "statistics"), "token_count")
        for prediction in members(member(response, "predictions"))
    ]
    if not counts or not all(isinstance(each, int | float) for each in counts):
        return None
    tokens = sum(count({"tokens": each}, "tokens") for each in counts)
    return Reading(Usage(tokens, 0), provider_format=FORMAT)
