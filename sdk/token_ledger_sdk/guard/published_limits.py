"""How much output models give at most, as their providers publish it: for where the service does not say it.

Compared in November 2026 with the model list of litellm 1.110.2: 282 of its 287 models that are named here have the
same limit there. It has less for `gpt-4` and for `gpt-5-pro` on Azure. The first matching start of a name decides;
vendors before a slash are passed over.
"""

from __future__ import annotations

from ..vocabularies import bare_model

_LIMITS = (
    ("gpt-5-chat", 16_384), ("gpt-5.1-chat", 16_384), ("gpt-5.2-chat", 16_384), ("gpt-5.3-chat", 16_384),
    ("gpt-5-pro", 272_000), ("gpt-5", 128_000), ("gpt-4.1", 32_768), ("gpt-4.5", 16_384), ("chatgpt-4o", 16_384),
    ("gpt-4o-2024-05-13", 4_096), ("gpt-4o", 16_384), ("gpt-4-turbo", 4_096), ("gpt-4-1106", 4_096),
    ("gpt-4-0125", 4_096), ("gpt-4", 8_192), ("gpt-3.5", 4_096), ("gpt-35", 4_096), ("gpt-oss", 131_072),
    ("o1-mini", 65_536), ("o1-preview", 32_768), ("o1", 100_000), ("o3", 100_000), ("o4", 100_000),
    ("claude-3-5", 8_192), ("claude-3-7", 64_000), ("claude-3", 4_096), ("claude-opus-4-5", 64_000),
    ("claude-opus-4-0", 32_000), ("claude-opus-4-1", 32_000), ("claude-opus-4-2", 32_000), ("claude-opus-4", 128_000),
    ("claude-haiku-4", 64_000), ("claude-sonnet-4-6", 128_000), ("claude-sonnet-4", 64_000),
    ("gemini-2.0", 8_192), ("gemini-1.5", 8_192),
    ("gemini-2.5-computer-use", 64_000), ("gemini-2.5-pro-preview-tts", 16_384), ("gemini-2.5", 65_536),
    ("gemini-3", 65_536),
)  # fmt: skip


def published_limit(model: str) -> int | None:
    """Return the most output tokens of a model; None for one that is not known here."""
    name = bare_model(model).removeprefix("ft:")
    return next((limit for begin, limit in _LIMITS if name.startswith(begin)), None)
