"""Reading token counts from providers' responses, as objects of their SDKs or as the JSON they stand for.

One meaning for all: `input_tokens` is the whole prompt, `output_tokens` everything generated.

* OpenAI chat, completions, embeddings and those who copy them: cached tokens and cache writes are inside
  `prompt_tokens`, reasoning is inside `completion_tokens`. Gemini's and xAI's compatible endpoints leave
  reasoning out of `completion_tokens` but count it in `total_tokens`: what the total has beyond the two is
  output, and reasoning.
* OpenAI Responses: the same under other names; the total adds nothing.
* Anthropic Messages: `input_tokens` excludes cache reads and writes, so both are added. A write without its
  5 minute / 1 hour split is a 5 minute write, which is the default. Of `iterations`, those of a compaction are not in
  the figures above them and are added (docstring of `BetaUsage.iterations` in the anthropic SDK); messages are.

Figures that contradict each other are passed on: the service clamps and flags them. None is ever negative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import TypeGuard

from .errors import UsageMissing

_LONGEST_NAME = 200
_OF_ANTHROPIC = ("cache_read_input_tokens", "cache_creation_input_tokens", "iterations")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, in tokens; the last four are parts of input or output."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{field.name} is {value!r}, not a number of tokens")

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def less(self, booked: Usage) -> Usage:
        """Return what of this use is not booked yet: the difference of each kind, never below zero.

        Where something is booked, a part of input or output is cut to what is new of its whole, as the service would
        do: input that was booked before its provider said that it came from a cache is not booked again.
        """
        if booked == NO_USAGE:
            return self
        new = Usage(*(max(0, getattr(self, field.name) - getattr(booked, field.name)) for field in fields(self)))
        read = min(new.cache_read_tokens, new.input_tokens)
        write_1h = min(new.cache_write_1h_tokens, new.input_tokens - read)
        return Usage(
            input_tokens=new.input_tokens,
            output_tokens=new.output_tokens,
            cache_read_tokens=read,
            cache_write_5m_tokens=min(new.cache_write_5m_tokens, new.input_tokens - read - write_1h),
            cache_write_1h_tokens=write_1h,
            reasoning_tokens=min(new.reasoning_tokens, new.output_tokens),
        )

    def to_json(self) -> dict[str, int]:
        return asdict(self)


NO_USAGE = Usage(0, 0)


class UsageSource(ABC):
    """What can say its usage by itself: the accumulators of `streams.py`."""

    response_id: str | None = None

    @abstractmethod
    def usage(self) -> Usage:
        """Return the final figures; raises UsageMissing if they have not come."""


def usage_from(response: object) -> Usage:
    """Read the usage of a response, whichever of the three shapes it has.

    Takes a `Usage` (returned as it is), a stream's accumulator, a response or its usage part, as an object
    or a dict. Raises UsageMissing if there are no token counts in it.
    """
    if isinstance(response, Usage):
        return response
    if isinstance(response, UsageSource):
        return response.usage()
    usage = _usage_of(response)
    if _has_count(usage, "prompt_tokens"):
        return _from_chat(usage)
    if not _has_count(usage, "input_tokens"):
        raise _missing(response)
    return _from_messages(usage) if _is_anthropic(response, usage) else _from_responses(usage)


def usage_from_openai(response: object) -> Usage:
    """Read the usage of an OpenAI chat, completion, embedding or Responses response.

    Raises UsageMissing if there are no token counts in it.
    """
    usage = _usage_of(response)
    if _has_count(usage, "prompt_tokens"):
        return _from_chat(usage)
    if _has_count(usage, "input_tokens"):
        return _from_responses(usage)
    raise _missing(response)


def usage_from_anthropic(response: object) -> Usage:
    """Read the usage of an Anthropic Messages response.

    Raises UsageMissing if there are no token counts in it.
    """
    usage = _usage_of(response)
    if not _has_count(usage, "input_tokens"):
        raise _missing(response)
    return _from_messages(usage)


def response_id_of(response: object) -> str | None:
    """Read the provider's id of a response, by which a call reported twice can be recognized; None if it is odd.

    The service takes names of 1 to 200 printable characters. Over any other the settle would be refused, and what the
    call used be lost, which matters more than its id.
    """
    identifier = response.response_id if isinstance(response, UsageSource) else member(response, "id")
    if isinstance(identifier, str) and 0 < len(identifier) <= _LONGEST_NAME and identifier.isprintable():
        return identifier
    return None


def member(value: object, name: str) -> object:
    """Read a member of a JSON object or of an SDK's object; None if it is not there."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _usage_of(response: object) -> object:
    usage = member(response, "usage")
    if usage is None:
        usage = member(member(response, "x_groq"), "usage")
    return response if usage is None else usage


def _from_chat(usage: object) -> Usage:
    input_tokens, output_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    # Writer drops the plural of both names; Moonshot and Hugging Face have the cached count at the top.
    prompt = member(usage, "prompt_tokens_details") or member(usage, "prompt_token_details")
    completion = member(usage, "completion_tokens_details") or member(usage, "completion_token_details")
    beyond = max(0, _count(usage, "total_tokens") - input_tokens - output_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens + beyond,
        cache_read_tokens=_count(prompt, "cached_tokens") or _count(usage, "cached_tokens"),
        cache_write_5m_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_tokens=max(beyond, _count(completion, "reasoning_tokens")),
    )


def _from_responses(usage: object) -> Usage:
    prompt = member(usage, "input_tokens_details")
    return Usage(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=_count(prompt, "cached_tokens"),
        cache_write_5m_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_tokens=_count(member(usage, "output_tokens_details"), "reasoning_tokens"),
    )


def _from_messages(usage: object) -> Usage:
    iterations = member(usage, "iterations")
    whole = _from_iteration(usage)
    for iteration in iterations if isinstance(iterations, list) else []:
        if member(iteration, "type") == "compaction":
            whole += _from_iteration(iteration)
    return whole


def _from_iteration(usage: object) -> Usage:
    split = member(usage, "cache_creation")
    write_1h = _count(split, "ephemeral_1h_input_tokens")
    # The split is missing in older responses and in the deltas of streams; the total always counts.
    write_5m = max(_count(split, "ephemeral_5m_input_tokens"), _count(usage, "cache_creation_input_tokens") - write_1h)
    read = _count(usage, "cache_read_input_tokens")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + read + write_5m + write_1h,
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=_count(member(usage, "output_tokens_details"), "thinking_tokens"),
    )


def _is_anthropic(response: object, usage: object) -> bool:
    if member(response, "type") == "message":
        return True
    return any(member(usage, name) is not None for name in _OF_ANTHROPIC)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _has_count(usage: object, name: str) -> bool:
    return _is_number(member(usage, name))


def _count(usage: object, name: str) -> int:
    # Some gateways write whole numbers as 12.0.
    value = member(usage, name)
    return max(0, int(value)) if _is_number(value) else 0


def _missing(response: object) -> UsageMissing:
    if member(response, "error") is not None:
        return UsageMissing("the response is an error of the provider and carries no usage")
    return UsageMissing(
        f"no token counts in this {type(response).__name__}. Understood are responses like those of OpenAI"
        " (`usage` with prompt_tokens or input_tokens; a stream has it only with"
        " stream_options={'include_usage': True}) and of Anthropic; for anything else give"
        " Usage(input_tokens=..., output_tokens=...)"
    )
