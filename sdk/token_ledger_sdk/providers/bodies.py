"""Reads members of a provider's response, whether it is JSON or an object of the provider's SDK."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TypeGuard

from ..errors import UsageMissing


def member(value: object, name: str) -> object:
    """Return a member of a JSON object or an attribute of an SDK object; None if it is absent."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def usage_part(response: object) -> object:
    """Return the usage object inside a response, or the response itself if it has none."""
    usage = member(response, "usage")
    if usage is None:
        usage = member(member(response, "x_groq"), "usage")
    return response if usage is None else usage


def has_count(usage: object, name: str) -> bool:
    """Whether a usage object has a number under this name."""
    return _is_number(member(usage, name))


def count(usage: object, name: str) -> int:
    """Return a token count; 0 if it is absent, negative or not a number. Some gateways send 12.0 for 12."""
    value = member(usage, name)
    return max(0, int(value)) if _is_number(value) else 0


def usage_missing(response: object) -> UsageMissing:
    """Build the error for a response without token counts."""
    if member(response, "error") is not None:
        return UsageMissing(
            "the response is an error of the provider and carries no usage: call release() if nothing was generated,"
            " else settle_estimate()"
        )
    return UsageMissing(
        f"no token counts in this {type(response).__name__}. Supported are responses in the format of OpenAI (`usage`"
        " with prompt_tokens or input_tokens; a chat stream has it only with stream_options={'include_usage': True})"
        " and of Anthropic; for anything else give Usage(input_tokens=..., output_tokens=...)"
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
