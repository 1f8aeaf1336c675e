"""Guards models of pydantic-ai, of any provider.

A model that has a client inside which can be wrapped gets the wrapped one, which sees every attempt; a model around
others, such as one that falls back, has those guarded. Of any other model, the call of the model is what is guarded.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

from ..adapters.pydantic_ai_requests import (
    ask_of_request,
    body_of_request,
    finish_reason_of,
    provider_of,
    reading_of_response,
    received_of,
)
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_async import computed_async
from .copied_client import guarded_copy
from .guarded_call import AsyncGuardedCall
from .inner_clients import AsyncInnerClients


def wrap_pydantic_ai_model(model: Any, clients: AsyncInnerClients) -> Any:
    """Return a copy of a model whose calls are guarded."""
    if isinstance(model, AsyncPydanticAIModel):
        return model
    inside = vars(model)
    if "wrapped" in inside:
        return _changed(model, "wrapped", wrap_pydantic_ai_model(inside["wrapped"], clients))
    if "models" in inside:
        return _changed(model, "models", [wrap_pydantic_ai_model(each, clients) for each in inside["models"]])
    provider = getattr(model, "_provider", None)
    client = clients.guarded(getattr(provider, "_client", None))
    if client is not None:
        made = _changed(model, "_provider", _changed(provider, "_client", client))
        if getattr(made, "client", None) is client:
            return made
    guarded = guarded_copy(model, AsyncPydanticAIModel)
    guarded._ledger_clients = clients
    return guarded


def _changed(value: Any, name: str, member: Any) -> Any:
    changed = copy.copy(value)
    setattr(changed, name, member)
    return changed


class AsyncPydanticAIModel:
    """What a guarded model does in place of its own class."""

    __slots__ = ()
    _ledger_clients: AsyncInnerClients

    async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> Any:
        """Make one call under one hold."""
        call = await self._admit(messages, model_settings, model_request_parameters)
        directed: Any = super(AsyncPydanticAIModel, self._directed(call))
        settings = _directed_settings(call, model_settings)
        try:
            with call.covering():
                response = await directed.request(messages, settings, model_request_parameters)
        except BaseException as error:
            call.failed_unseen(error)
            await call.end(error)
            raise
        await _finish(call, response, None)
        return response

    @asynccontextmanager
    async def request_stream(
        self, messages: Any, model_settings: Any, model_request_parameters: Any, run_context: Any = None
    ) -> AsyncIterator[Any]:
        """Make one call under one hold, whose answer comes bit by bit."""
        call = await self._admit(messages, model_settings, model_request_parameters)
        directed: Any = super(AsyncPydanticAIModel, self._directed(call))
        settings = _directed_settings(call, model_settings)
        opening = directed.request_stream(messages, settings, model_request_parameters, run_context)
        began, error = perf_counter(), None
        opened: _Opened | None = None
        try:
            with call.covering():
                stream = await opening.__aenter__()
            opened = _Opened(stream, began)
            try:
                yield stream
            except BaseException as failure:
                if not await opening.__aexit__(type(failure), failure, failure.__traceback__):
                    raise
            else:
                await opening.__aexit__(None, None, None)
        except BaseException as failure:
            error = failure
            raise
        finally:
            if opened is not None:
                await opened.finish(call, error)
            elif error is not None:
                call.failed_unseen(error)
                await call.end(error)

    async def _admit(self, messages: Any, settings: Any, parameters: Any) -> AsyncGuardedCall:
        model: Any = self
        settings, parameters = model.prepare_request(settings, parameters)
        body = body_of_request(model.model_name, messages, settings, parameters)
        ask = partial(ask_of_request, body, provider_of(model, self._ledger_clients.provider), count_text)
        asked = await computed_async(ask, is_quick=is_quick(characters_of(body), model.model_name))
        return await self._ledger_clients.guard.admit(asked)

    def _directed(self, call: AsyncGuardedCall) -> Any:
        """Return this model, or a copy that calls the one that stands in for it."""
        model: Any = self
        return self if call.model == model.model_name else _changed(model, "_model_name", call.model)


class _Opened:
    """A stream that was opened. It notes what ended the events: who has opened the stream is not told it."""

    def __init__(self, stream: Any, began: float) -> None:
        self._stream = stream
        self._began = began
        self._error: BaseException | None = None
        # The method of this one stream is replaced, so that its class stays the one that the library knows.
        self._events = stream._get_event_iterator
        stream._get_event_iterator = self._watched

    async def _watched(self) -> AsyncIterator[Any]:
        events = self._events()
        try:
            async for event in events:
                yield event
        except BaseException as error:
            self._error = error
            raise

    async def finish(self, call: AsyncGuardedCall, error: BaseException | None) -> None:
        """Book what came; `error` is what left the block of the stream."""
        response, waited = self._stream.get(), self._stream.time_to_first_chunk(self._began)
        if not self._stream.cancelled:
            error = self._error or error
        if waited is not None:
            call.first_token(after_seconds=waited)
        if response.state == "complete":
            await _finish(call, response, error)
            return
        if response.parts or error is None:
            call.answering()
        else:
            call.failed_unseen(error)
        await call.end(error, received_of(response))


def _directed_settings(call: AsyncGuardedCall, settings: Any) -> Any:
    return settings if call.output_limit is None else {**(settings or {}), "max_tokens": call.output_limit}


async def _finish(call: AsyncGuardedCall, response: Any, error: BaseException | None) -> None:
    reading = reading_of_response(response)
    if reading is not None:
        await call.settle(reading, finish_reason=finish_reason_of(response))
    else:
        call.answering()
        await call.end(error, received_of(response))
