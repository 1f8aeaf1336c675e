"""Reads how spans of traces count tokens: the names that frameworks give the kinds, and which of them is part of which.

The conventions of OpenTelemetry and OpenInference count cached tokens within the input and reasoning within the output.
Langfuse takes parts away from their whole, and so do some frameworks. Where a span has a total, that decides.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from token_ledger_sdk.providers import Usage

from token_ledger.imports.calls import Malformed
from token_ledger.imports.json_lines import kind_of

_PREFIXES = ("gen_ai.usage.", "llm.token_count.", "llm.usage.", "ai.usage.")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[a-z]+|\d+[a-z]+")
_FILLERS = frozenset({"token", "tokens", "count", "usage", "details", "detail"})
_INPUT = frozenset({"input", "prompt"})
_OUTPUT = frozenset({"output", "completion", "candidates"})
_CACHE = frozenset({"cache", "cached", "ephemeral"})
_WRITE = frozenset({"creation", "write", "written", "ephemeral"})
_REASONING = frozenset({"reasoning", "thinking", "thoughts"})
_MEDIA = ("audio", "image", "video")
_BEYOND = 10**15


@dataclass(frozen=True, slots=True)
class SpanUsage:
    """What a span says was used; `is_whole` if it says both input and output."""

    usage: Usage
    is_whole: bool


def usage_of_attributes(attributes: Mapping[str, Any]) -> SpanUsage | None:
    """Return the usage that the attributes of a span have, None for none; raises Malformed for one that is no count."""
    named = ((name, name[len(prefix) :]) for name in attributes for prefix in _PREFIXES if name.startswith(prefix))
    return _usage(_counts((bare, attributes[name]) for name, bare in named), parts_are_apart=False)


def usage_of_details(details: Mapping[str, Any]) -> SpanUsage | None:
    """Return the usage of an observation of Langfuse, by its `usageDetails`; raises Malformed as above."""
    flat: dict[str, Any] = {}
    for name, value in details.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": each for inner, each in value.items()})
        elif not isinstance(value, str):  # the unit of older exports
            flat[name] = value
    # Names such as prompt_details.cache_read were taken over from a framework as they are.
    parts_are_apart = not any("details." in name for name in flat)
    return _usage(_counts(flat.items()), parts_are_apart=parts_are_apart)


def _counts(named: Iterable[tuple[str, object]]) -> dict[str, int]:
    """Return the counts by our kinds; what stands among the details of a span gives way to the span's own."""
    own: dict[str, int] = {}
    detailed: dict[str, int] = {}
    for name, value in named:
        kind = _kind(name)
        if kind is None or value is None:
            continue
        counts = detailed if "details" in name and kind in ("input", "output", "total") else own
        counts[kind] = max(counts.get(kind, 0), _count(name, value))
    return detailed | own


def _kind(name: str) -> str | None:
    """Return what a name counts: input, output, total, or a part of them; None for anything else."""
    words = frozenset(_WORD.findall(_HUMP.sub("_", name).lower())) - _FILLERS
    if words & {"cost", "no"}:  # noCacheTokens: the rest of the input
        return None
    if "total" in words:
        return "total" if not words & (_CACHE | _REASONING | _INPUT | _OUTPUT) else None
    medium = next((each for each in _MEDIA if each in words), None)
    if words & _CACHE:
        if words & _WRITE or words & {"5m", "1h"}:
            return "write_1h" if "1h" in words else "write_5m" if "5m" in words else "write"
        return f"{medium}_read" if medium in ("audio", "image") else "read"
    if words & _REASONING:
        return "reasoning"
    side = "input" if words & _INPUT else "output" if words & _OUTPUT else None
    if side is None:
        return None
    if medium is not None:
        return f"{medium}_{side}"
    return side if words <= _INPUT | _OUTPUT else None  # such as accepted_prediction


def _count(name: str, value: object) -> int:
    if isinstance(value, str):  # some exporters write all attributes as texts
        with suppress(ValueError):
            value = float(value) if not value.isdecimal() or len(value) > 15 else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _BEYOND:
        said = "out of range" if isinstance(value, int | float) and not isinstance(value, bool) else kind_of(value)
        raise Malformed(f"{name} is {said}; it must be a number of 0 or more, below 10^15")
    return int(value)


def _usage(counts: Mapping[str, int], *, parts_are_apart: bool) -> SpanUsage | None:
    if "input" not in counts and "output" not in counts:
        return None
    get = counts.get
    write_5m, write_1h = get("write_5m", 0), get("write_1h", 0)
    write_5m = max(write_5m, get("write", 0) - write_1h)
    media_read = get("audio_read", 0) + get("image_read", 0)
    read, reasoning = max(get("read", 0), media_read), get("reasoning", 0)
    input_tokens, output_tokens, beyond = _wholes(
        get("input", 0), get("output", 0), get("total"), read + write_5m + write_1h, reasoning, parts_are_apart
    )
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens + beyond,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=max(reasoning, beyond),
        audio_input_tokens=get("audio_input", 0),
        image_input_tokens=get("image_input", 0),
        video_input_tokens=get("video_input", 0),
        audio_cache_read_tokens=get("audio_read", 0),
        image_cache_read_tokens=get("image_read", 0),
        audio_output_tokens=get("audio_output", 0),
        image_output_tokens=get("image_output", 0),
        video_output_tokens=get("video_output", 0),
    )
    return SpanUsage(usage, "input" in counts and "output" in counts)


def _wholes(
    input_tokens: int, output_tokens: int, total: int | None, cached: int, reasoning: int, apart: bool
) -> tuple[int, int, int]:
    """Return whole input and output, and what the total has beyond them: Gemini counts its thoughts only there."""
    # No part is larger than its whole.
    usual = (apart or cached > input_tokens, apart or reasoning > output_tokens)
    for cached_apart, reasoning_apart in (usual, (False, False), (True, False), (False, True), (True, True)):
        whole_input = input_tokens + cached * cached_apart
        whole_output = output_tokens + reasoning * reasoning_apart
        if total == whole_input + whole_output:
            return whole_input, whole_output, 0
    whole_input = input_tokens + cached * usual[0]
    whole_output = output_tokens + reasoning * usual[1]
    return whole_input, whole_output, max(0, (total or 0) - whole_input - whole_output)
