"""Chooses how a model of a framework for agents is wrapped. The frameworks are asynchronous only, and so is this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .guard import AsyncGuard
from .inner_clients import AsyncInnerClients

_AGENTS_MODEL = ("agents", "Model")
_AGENTS_MODELS = ("agents", "ModelProvider")
_PYDANTIC_AI_MODEL = ("pydantic_ai", "Model")


def wrap_framework(
    given: object,
    kinds: set[tuple[str, str]],
    guard: AsyncGuard,
    provider: str | None,
    wrap: Callable[[Any], Any],
) -> Any | None:
    """Return a guarded copy of a model, or of what finds models; None for what is neither.

    `kinds` are the library and the name of each class that it is of, and `wrap` wraps a client inside.
    """
    clients = AsyncInnerClients(guard, provider, wrap)
    if _AGENTS_MODEL in kinds:
        from .agents_models import wrap_agents_model

        return wrap_agents_model(given, clients)
    if _AGENTS_MODELS in kinds:
        from .agents_models import wrap_agents_models

        return wrap_agents_models(given, clients)
    if _PYDANTIC_AI_MODEL in kinds:
        from .pydantic_ai_models import wrap_pydantic_ai_model

        return wrap_pydantic_ai_model(given, clients)
    return None
