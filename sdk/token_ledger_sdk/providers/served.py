"""Decides whether the model that a response names is the one whose price counts, in place of the one reserved for."""

from __future__ import annotations

from .reading import Reading

_LONGEST_NAME = 200
_NAME_WHAT_SERVED = frozenset(
    {
        "openai", "openai-codex", "anthropic", "openrouter", "google", "gemini", "google-gla", "google-vertex",
        "gcp.gemini", "gcp.vertex_ai", "gcp.gen_ai", "vertex_ai",
    }
)  # fmt: skip
"""Providers whose responses name the model that served the call, also after a fallback or through an alias.

Others may not: an Azure deployment answers with the name of its base model, whose price is another one, and servers for
open models with a path or a name of their own. What was reserved for counts there."""


def served_model(provider: str, model: str, reading: Reading) -> str | None:
    """Return the model to book a call on, if it is another than the one called; None if that one counts."""
    named = valid_model(reading.model)
    if named is None or provider.strip().lower() not in _NAME_WHAT_SERVED:
        return None
    # Vendors and kinds of things may stand before a name, and need not: openai/gpt-5-mini, models/gemini-2.5-pro.
    return None if _bare(named) == _bare(model) else named


def valid_model(named: str | None) -> str | None:
    """Return a model's name if the service takes it: it refuses other names, and with them the whole settle."""
    if named is None or not named.strip() or not named.isprintable() or len(named.encode()) > _LONGEST_NAME:
        return None
    return named


def _bare(model: str) -> str:
    return model.strip().lower().rpartition("/")[2]
