"""Guards agents of pydantic-ai: a capability that guards whatever model serves a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models import Model
from pydantic_ai.models.wrapper import WrapperModel

from .inner_clients import AsyncInnerClients
from .pydantic_ai_models import wrap_pydantic_ai_model


@dataclass
class PydanticAICapability(AbstractCapability[Any]):
    """Holds before each request of an agent, and books after it.

    The seam is the model that serves an attempt, and not `wrap_model_request`: within that one, an attempt may move to
    another model, and who stands around it neither knows which one, nor sees what each attempt cost.
    """

    clients: AsyncInnerClients = field(repr=False)

    def get_wrapper_model(self, model: Model) -> Model:
        """Return a guarded model, whose connections stay those of the given one."""
        return _Serving(model, wrap_pydantic_ai_model(model, self.clients))


class _Serving(WrapperModel):
    """A model whose requests its guarded copy makes; all else is asked of the model itself."""

    def __init__(self, model: Model, guarded: Any) -> None:
        super().__init__(model)
        self._guarded = guarded

    async def request(self, *given: Any, **named: Any) -> Any:
        return await self._guarded.request(*given, **named)

    def request_stream(self, *given: Any, **named: Any) -> Any:
        return self._guarded.request_stream(*given, **named)
