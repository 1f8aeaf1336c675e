"""Reads the usage of OpenAI's responses and streams, and of the many providers that copy their format.

* Chat, completions, embeddings: `prompt_tokens` includes cached tokens and cache writes, `completion_tokens` includes
  reasoning. The compatible endpoints of Gemini and xAI count reasoning only in `total_tokens`; whatever the total has
  beyond prompt and completion is therefore output, and reasoning.
* Responses: the same under other names, except that the total adds nothing.

Figures that contradict each other are passed on: the service clamps and flags them.
"""

from __future__ import annotations

from ..errors import UsageMissing
from .bodies import count, has_count, member, usage_missing, usage_part
from .streams import StreamUsage
from .usage import Usage

_LAST_RESPONSES_EVENTS = ("response.completed", "response.incomplete", "response.failed")


def usage_from_openai(response: object) -> Usage:
    """Read the usage of an OpenAI chat, completion, embedding or Responses response.

    Raises UsageMissing if it has no token counts.
    """
    usage = usage_part(response)
    if has_count(usage, "prompt_tokens"):
        return _chat_usage(usage)
    if has_count(usage, "input_tokens"):
        return _responses_usage(usage)
    raise usage_missing(response)


class OpenAIStreamUsage(StreamUsage):
    """The usage of an OpenAI stream: chat chunks (ask for `include_usage`) or Responses events."""

    def __init__(self) -> None:
        super().__init__()
        self._latest: Usage | None = None

    @property
    def complete(self) -> bool:
        """Whether the final figures have arrived."""
        return self._finished and self._latest is not None

    def add(self, event: object) -> None:
        """Take in one chunk or event, as an SDK object or a dict."""
        # Responses events carry the response; the chat helper of the openai SDK wraps its chunks.
        holder = member(event, "response") or member(event, "chunk") or event
        identifier = member(holder, "id")
        # Azure sends chunks about content filters in between, with an empty id.
        if isinstance(identifier, str) and identifier:
            if self.response_id not in (None, identifier):
                self._latest, self._finished = None, False
            self.response_id = identifier
        # Moonshot puts the usage inside the last choice, Groq under x_groq; most send it in a chunk of its own.
        for part in (holder, *_choices(holder)):
            self._latest = _usage_or_none(part) or self._latest
        self._finished = self._finished or _is_last(event, holder)

    def usage(self) -> Usage:
        """Return the final figures; raises UsageMissing if the stream ended without them."""
        if self._latest is None or not self._finished:
            raise UsageMissing(
                "the OpenAI stream ended without its final usage: it was cut off, or opened without"
                " stream_options={'include_usage': True}"
            )
        return self._latest

    def partial(self) -> Usage | None:
        """Return the latest figures, final or not; None if there are none yet."""
        return self._latest


def _chat_usage(usage: object) -> Usage:
    input_tokens, output_tokens = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    # Writer spells both names in the singular; Moonshot and Hugging Face put the cached count at the top.
    prompt = member(usage, "prompt_tokens_details") or member(usage, "prompt_token_details")
    completion = member(usage, "completion_tokens_details") or member(usage, "completion_token_details")
    beyond = max(0, count(usage, "total_tokens") - input_tokens - output_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens + beyond,
        cache_read_tokens=count(prompt, "cached_tokens") or count(usage, "cached_tokens"),
        cache_write_5m_tokens=count(prompt, "cache_write_tokens"),
        reasoning_tokens=max(beyond, count(completion, "reasoning_tokens")),
    )


def _responses_usage(usage: object) -> Usage:
    prompt = member(usage, "input_tokens_details")
    return Usage(
        input_tokens=count(usage, "input_tokens"),
        output_tokens=count(usage, "output_tokens"),
        cache_read_tokens=count(prompt, "cached_tokens"),
        cache_write_5m_tokens=count(prompt, "cache_write_tokens"),
        reasoning_tokens=count(member(usage, "output_tokens_details"), "reasoning_tokens"),
    )


def _choices(holder: object) -> list[object]:
    choices = member(holder, "choices")
    return choices if isinstance(choices, list) else []


def _usage_or_none(part: object) -> Usage | None:
    try:
        return usage_from_openai(part)
    except UsageMissing:
        return None


def _is_last(event: object, holder: object) -> bool:
    if member(event, "type") in _LAST_RESPONSES_EVENTS:
        return True
    choices = _choices(holder)
    if not choices:
        return _usage_or_none(holder) is not None and member(holder, "choices") is not None
    # Some providers send the usage so far with every chunk; it is final once a choice has finished.
    return any(member(choice, "finish_reason") is not None for choice in choices)
