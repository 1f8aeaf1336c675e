"""Guards models of openai-agents, of any provider, and what finds models by their names.

The seam is the model, and not the hooks of a run: hooks see no error, can't change a model or a limit, and are not
called for agents that run as tools. A model that has a client inside which can be wrapped gets the wrapped one, which
sees every attempt. Of any other model, the call of the model is what is guarded.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from ..adapters.agents_turns import ModelName, WatchedTurn, answer_of, ask_of_turn, body_of_turn, model_name
from ..adapters.earlier_responses import EarlierResponses
from ..guard.attempts import reading_or_none
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_async import computed_async
from .copied_client import guarded_copy
from .guarded_call import AsyncGuardedCall
from .inner_clients import AsyncInnerClients

_OVER_A_SOCKET = "OpenAIResponsesWSModel"
"""It takes its client's address and key, and not the client, to a connection of its own."""


def wrap_agents_model(model: Any, clients: AsyncInnerClients) -> Any:
    """Return a copy of a model whose calls are guarded; raises TypeError if it does not say what model it calls."""
    kind: Any = type(model)
    if isinstance(model, AsyncAgentsModel):
        return model
    if not any(base.__name__ == _OVER_A_SOCKET for base in kind.__mro__):
        client = clients.guarded(getattr(model, "_client", None))
        if client is not None:
            made = copy.copy(model)
            made._client = client
            return made
    if not isinstance(getattr(model, "model", None), str):
        raise TypeError(f"{kind.__module__}.{kind.__name__} has no `model`, so what it calls can't be priced: add it")
    guarded = guarded_copy(model, AsyncAgentsModel)
    guarded._ledger_clients = clients
    guarded._ledger_earlier = EarlierResponses()
    return guarded


def wrap_agents_models(models: Any, clients: AsyncInnerClients) -> Any:
    """Return a copy of what finds models by their names, whose models are guarded."""
    guarded = guarded_copy(models, AsyncAgentsModels)
    guarded._ledger_clients = clients
    return guarded


class AsyncAgentsModels:
    """What a guarded provider of models does in place of its own class."""

    __slots__ = ()
    _ledger_clients: AsyncInnerClients

    def get_model(self, name: str | None) -> Any:
        """Find a model; it is guarded."""
        found: Any = super()
        return wrap_agents_model(found.get_model(name), self._ledger_clients)


class AsyncAgentsModel:
    """What a guarded model does in place of its own class."""

    __slots__ = ()
    _ledger_clients: AsyncInnerClients
    _ledger_earlier: EarlierResponses
    model: str

    async def get_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        model_settings: Any,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: Any,
        **more: Any,
    ) -> Any:
        """Make one call under one hold."""
        given = (tools, output_schema, handoffs)
        call, name = await self._admit(system_instructions, input, model_settings, given, more)
        directed: Any = super(AsyncAgentsModel, self._directed(call, name))
        settings = _directed_settings(call, model_settings)
        try:
            with call.covering():
                response = await directed.get_response(system_instructions, input, settings, *given, tracing, **more)
        except BaseException as error:
            call.failed_unseen(error)
            await call.end(error)
            raise
        answer = answer_of(response)
        self._ledger_earlier.note(reading_or_none(answer))
        await call.settle(answer)
        return response

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        model_settings: Any,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """Make one call under one hold, and yield its events."""
        given = (tools, output_schema, handoffs)
        call, name = await self._admit(system_instructions, input, model_settings, given, more)
        directed: Any = super(AsyncAgentsModel, self._directed(call, name))
        settings = _directed_settings(call, model_settings)
        watched, error = WatchedTurn(), None
        try:
            async with aclosing(
                directed.stream_response(system_instructions, input, settings, *given, tracing, **more)
            ) as events:
                async for event in _covered(call, events):
                    call.answering()
                    if watched.add(event):
                        call.first_token()
                    call.go_on()
                    yield event
        except BaseException as failure:
            error = failure
            call.failed_unseen(failure)
            raise
        finally:
            await self._finish(call, watched, error)

    async def _admit(
        self, instructions: Any, given: Any, settings: Any, rest: tuple[Any, Any, Any], more: dict[str, Any]
    ) -> tuple[AsyncGuardedCall, ModelName]:
        name = model_name(self.model, self._ledger_clients.provider)
        tools, output_schema, handoffs = rest
        earlier = more.get("previous_response_id")
        body = body_of_turn(name.model, instructions, given, settings, tools, output_schema, handoffs, earlier)
        ask = partial(ask_of_turn, body, name.provider, self._ledger_earlier, count_text)
        asked = await computed_async(ask, is_quick=is_quick(characters_of(body), name.model))
        return await self._ledger_clients.guard.admit(asked), name

    def _directed(self, call: AsyncGuardedCall, name: ModelName) -> Any:
        """Return this model, or a copy that calls the one that stands in for it."""
        if call.model == name.model:
            return self
        directed: Any = copy.copy(self)
        directed.model = name.of(call.model)
        return directed

    async def _finish(self, call: AsyncGuardedCall, watched: WatchedTurn, error: BaseException | None) -> None:
        reading = watched.reading()
        if reading is not None:
            self._ledger_earlier.note(reading)
            await call.settle(reading)
        else:
            await call.end(error, watched.received())


def _directed_settings(call: AsyncGuardedCall, settings: Any) -> Any:
    return settings if call.output_limit is None else replace(settings, max_tokens=call.output_limit)


async def _covered(call: AsyncGuardedCall, events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    # Between events the caller's own code runs, whose calls are others.
    while True:
        with call.covering():
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
        yield event
