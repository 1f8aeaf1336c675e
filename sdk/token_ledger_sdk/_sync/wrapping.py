# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Chooses how a client of a provider is wrapped, by the library that it comes from."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from ..guard.context import CallContext
from .guard import Guard
from .known_models import KnownModels
from .sender import Sender

Client = TypeVar("Client")

_OPENAI = ("openai", "OpenAI")


def wrap(
    client: Client,
    sender: Sender,
    models: KnownModels,
    defaults: CallContext,
    *,
    provider: str | None,
    limit_output: bool,
    run_id: str | None = None,
) -> Client:
    """Return a guarded copy of a client; raises TypeError for one of a library that is not known."""
    guard = Guard(sender, models, defaults, run_id=run_id, limit_output=limit_output)
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(client).__mro__}
    if _OPENAI in kinds:
        from .openai_client import wrap_openai

        return cast(Client, wrap_openai(cast(Any, client), guard, provider))
    name = f"{type(client).__module__}.{type(client).__name__}"
    raise TypeError(f"{name} can't be wrapped here: give one of {', '.join('.'.join(each) for each in (_OPENAI,))}")
