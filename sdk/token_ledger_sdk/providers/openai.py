"""Reads the usage of OpenAI's chat, completions and embeddings, and of the many providers that copy their format.

`prompt_tokens` includes cached tokens and cache writes, `completion_tokens` includes reasoning. What others add:

* The compatible endpoints of Gemini and xAI count reasoning only in `total_tokens`; whatever the total has beyond
  prompt and completion is therefore output, and reasoning.
* LiteLLM repeats Anthropic's names beside OpenAI's, at the top or in the details; its prompt includes them.
* DeepSeek says at the top how much was a cache hit, Moonshot and Hugging Face have `cached_tokens` there.
* Mistral counts audio in seconds, and its tokens in the total only.
* Perplexity's deep research counts citations (charged as input) and reasoning outside of prompt and completion.

Figures that contradict each other are passed on: the service clamps and flags them.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import UsageMissing
from . import openai_responses
from .bodies import count, either, has_count, member, members, text, whole_seconds
from .missing import usage_missing
from .reading import STANDARD, Reading, tier_named, valid_id
from .streams import StreamUsage
from .usage import Usage

FORMAT = "openai_chat"


def usage_from_openai(response: object) -> Usage:
    """Read the usage of an OpenAI chat, completion, embedding or Responses response.

    Raises UsageMissing if it has no token counts.
    """
    reading = read_openai(response) or openai_responses.read_responses(response)
    if reading is None:
        raise usage_missing(response)
    return reading.usage


def read_openai(response: object) -> Reading | None:
    """Read a response in the format of OpenAI's chat, completions or embeddings."""
    usage = member(response, "usage")
    if usage is None:
        usage = member(member(response, "x_groq"), "usage")
    if usage is None:
        usage = response
    if not has_count(usage, "prompt_tokens") or _is_running(response):
        return None
    return _reading(response, usage)


class OpenAIStreamUsage(StreamUsage):
    """The usage of an OpenAI stream: chat chunks (ask for `include_usage`), Responses or Realtime events.

    Of a chat stream, the figures are final once every choice has ended. A Realtime session has many responses, each of
    which is a call of its own: settle after each `response.done`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._latest: Reading | None = None
        self._model: str | None = None
        self._tier = STANDARD
        self._begun: set[object] = set()
        self._ended: set[object] = set()

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        all_ended = bool(self._begun) and self._begun <= self._ended
        return self._latest is not None and (self._finished or all_ended)

    def add(self, event: object) -> None:
        """Take in one chunk or event, as an SDK object or a dict."""
        kind = text(event, "type")
        response = member(event, "response")
        # The chat helper of the openai SDK wraps its chunks.
        chunk = member(event, "chunk") or event
        if response is not None:
            self._begin(response)
            self._finished = kind in openai_responses.LAST_EVENTS
            self._take(openai_responses.read_responses(response))
        elif kind in openai_responses.LAST_EVENTS_WITH_USAGE:
            self._finished = True
            self._take(openai_responses.read_responses(event))
        elif member(chunk, "choices") is not None:
            self._begin(chunk)
            self._add_chunk(chunk)

    def reading(self) -> Reading:
        """Return what the stream said; raises UsageMissing if it ended without its final usage."""
        if self._latest is None or not self.complete:
            raise UsageMissing(
                "the OpenAI stream ended without its final usage: it was cut off, or opened without"
                " stream_options={'include_usage': True}"
            )
        latest = self._latest
        tier = self._tier if latest.service_tier == STANDARD else latest.service_tier
        return replace(
            latest, model=latest.model or self._model, service_tier=tier, response_id=valid_id(self.response_id)
        )

    def partial(self) -> Usage | None:
        """Return the latest figures, final or not; None if there are none yet."""
        return None if self._latest is None else self._latest.usage

    def _begin(self, response: object) -> None:
        identifier = text(response, "id")
        # Azure sends chunks about content filters in between, with an empty id.
        if identifier is not None:
            if self.response_id not in (None, identifier):
                self._latest, self._finished, self._begun, self._ended = None, False, set(), set()
                self._model, self._tier = None, STANDARD
            self.response_id = identifier
        self._model = text(response, "model") or self._model
        tier = tier_named(member(response, "service_tier"))
        self._tier = self._tier if tier == STANDARD else tier

    def _add_chunk(self, chunk: object) -> None:
        choices = members(member(chunk, "choices"))
        reading = _chunk_reading(chunk)
        self._take(reading)
        for choice in choices:
            index = member(choice, "index") or 0
            self._begun.add(index)
            # Some send an empty reason in every chunk but the last.
            if member(choice, "finish_reason"):
                self._ended.add(index)
        # Some send the usage so far with every chunk; one without choices has all.
        if not choices and reading is not None:
            self._finished = True
        elif not self._begun <= self._ended:
            self._finished = False

    def _take(self, reading: Reading | None) -> None:
        self._latest = reading or self._latest


def _chunk_reading(chunk: object) -> Reading | None:
    """Read the usage of a chunk: Moonshot puts it inside the last choice, Groq under x_groq."""
    for part in (chunk, *members(member(chunk, "choices"))):
        usage = member(part, "usage")
        if usage is None:
            usage = member(member(part, "x_groq"), "usage")
        if has_count(usage, "prompt_tokens"):
            return _reading(chunk, usage)
    return None


def _is_running(response: object) -> bool:
    """Whether this is a chunk of a stream that goes on, so that its figures are not final."""
    if member(response, "object") != "chat.completion.chunk":
        return False
    choices = members(member(response, "choices"))
    return bool(choices) and not all(member(choice, "finish_reason") for choice in choices)


def _reading(response: object, usage: object) -> Reading:
    return Reading(
        _chat_usage(response, usage),
        text(response, "model"),
        tier_named(member(response, "service_tier"), member(usage, "service_tier")),
        valid_id(member(response, "id")),
        FORMAT,
    )


def _chat_usage(response: object, usage: object) -> Usage:
    # Writer spells both names in the singular.
    prompt = either(usage, "prompt_tokens_details", "prompt_token_details")
    completion = either(usage, "completion_tokens_details", "completion_token_details")
    read = count(prompt, "cached_tokens") or count(
        usage, "cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_prompt_text_tokens"
    )
    write_5m, write_1h = _cache_writes(usage, prompt)
    input_tokens, output_tokens = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    reasoning = count(completion, "reasoning_tokens")
    audio_seconds = whole_seconds(member(usage, "prompt_audio_seconds"))
    is_research = has_count(usage, "citation_tokens")
    beyond = max(0, count(usage, "total_tokens") - input_tokens - output_tokens)
    if is_research:
        reasoning = count(usage, "reasoning_tokens") or reasoning
        input_tokens += count(usage, "citation_tokens")
        output_tokens += reasoning
    elif audio_seconds:
        pass  # the total has tokens of the audio, which is charged by the second
    elif beyond and beyond == read + write_5m + write_1h:
        input_tokens += beyond  # the total shows that this prompt is one without its cached part
    else:
        output_tokens += beyond
        reasoning = max(beyond, reasoning)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=reasoning,
        audio_input_tokens=count(prompt, "audio_tokens"),
        image_input_tokens=count(prompt, "image_tokens"),
        video_input_tokens=count(prompt, "video_tokens"),
        audio_output_tokens=count(completion, "audio_tokens"),
        image_output_tokens=count(completion, "image_tokens"),
        web_searches=openai_responses.web_searches(response, usage),
        audio_seconds=audio_seconds,
    )


def _cache_writes(usage: object, prompt: object) -> tuple[int, int]:
    """Return the tokens written to a cache for 5 minutes, which is the default, and for 1 hour."""
    split = either(prompt, "cache_creation_token_details") or either(
        usage, "cache_creation_token_details", "cache_creation"
    )
    whole = count(prompt, "cache_write_tokens", "cache_creation_tokens") or count(
        usage, "cache_creation_input_tokens", "cache_creation_tokens", "cache_write_tokens"
    )
    write_1h = count(split, "ephemeral_1h_input_tokens")
    return max(count(split, "ephemeral_5m_input_tokens"), whole - write_1h), write_1h
