"""Guards the functions of litellm that call a model, and the methods of its router.

The seam is the function, and not a callback: callbacks are told neither of a call that is canceled nor of a stream that
is closed early, and a synchronous call can't be refused by one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial, wraps
from inspect import signature
from typing import Any

from ..adapters.answers import finish_reason_of
from ..adapters.earlier_responses import EarlierResponses
from ..adapters.litellm_requests import (
    WatchedChunks,
    body_of,
    changes_of,
    is_cached,
    is_usage_only,
    named_model,
    route_of,
    user_of_proxy,
)
from ..adapters.openai_requests import adds_usage, ask_of
from ..errors import RunCancelled
from ..guard.attempts import reading_or_none
from ..guard.context import ContextBlock, context_of
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_async import check_function_async, computed_async
from .copied_client import guarded_copy
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall


def wrap_litellm(function: Callable[..., Any], guard: AsyncGuard, provider: str | None) -> Callable[..., Any]:
    """Return a function like this one whose calls are guarded; raises TypeError for one that calls no model."""
    route = route_of(function)
    if route is None:
        raise TypeError(f"{function!r} of litellm can't be wrapped: give completion, embedding or responses")
    check_function_async(function)
    parameters, earlier = signature(function), EarlierResponses()

    @wraps(function)
    async def guarded(*args: Any, **named: Any) -> Any:
        arguments = parameters.bind_partial(*args, **named).arguments
        arguments |= arguments.pop("kwargs", {})
        name = named_model(str(arguments.get("model")), arguments, provider)
        body = body_of(name, arguments)
        ask = partial(ask_of, route, body, name.provider, earlier, count_text)
        asked = await computed_async(ask, is_quick=is_quick(characters_of(body), name.model))
        context = guard.context()
        user = user_of_proxy(arguments) if context.user is None and context.run_id is None else None
        with ContextBlock(context_of({"user": user})):
            call = await guard.admit(asked)
        changes = changes_of(route, body, name, model=call.model, output_limit=call.output_limit)
        try:
            with call.covering():
                result = await function(**{**arguments, **changes})
        except BaseException as error:
            call.failed_unseen(error)
            await call.end(error)
            raise
        if is_cached(result):
            await call.end(None)
            return result
        if body.get("stream"):
            return _watched(result, call, hides_usage=adds_usage(route, body))
        earlier.note(reading_or_none(result))
        await call.settle(result, finish_reason=finish_reason_of(result))
        return result

    return guarded


def _watched(stream: Any, call: AsyncGuardedCall, *, hides_usage: bool) -> Any:
    if isinstance(stream, AsyncLiteLLMStream):
        # The function was wrapped twice: it is one call, and what the outer one has asked for is hidden.
        own: Any = stream
        own._ledger_hides_usage |= hides_usage
        return own
    watched = guarded_copy(stream, AsyncLiteLLMStream)
    watched._ledger_call, watched._ledger_hides_usage = call, hides_usage
    watched._ledger_chunks, watched._ledger_is_reading = WatchedChunks(), False
    return watched


class AsyncLiteLLMStream:
    """What a stream does in place of its own class: when it has ended, or is closed, its call is booked."""

    __slots__ = ()
    _ledger_call: AsyncGuardedCall
    _ledger_chunks: WatchedChunks
    _ledger_hides_usage: bool
    _ledger_is_reading: bool

    def __aiter__(self) -> AsyncIterator[Any]:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Any:
        """Return the next chunk, but for one that the caller has not asked for."""
        stream: Any = super()
        own: Any = self
        while True:
            own._ledger_is_reading = True  # the library closes the stream itself before it raises
            try:
                chunk = await stream.__anext__()
            except StopAsyncIteration:
                await self._finish(None)
                raise
            except BaseException as error:
                await self._finish(error)
                raise
            own._ledger_is_reading = False
            self._ledger_call.answering()
            if self._ledger_chunks.add(chunk):
                self._ledger_call.first_token()
            try:
                self._ledger_call.go_on()
            except RunCancelled as error:
                await self._finish(error)
                raise
            if not (self._ledger_hides_usage and is_usage_only(chunk)):
                return chunk

    async def aclose(self) -> None:
        """Close the stream."""
        stream: Any = super()
        try:
            await stream.aclose()
        finally:
            if not self._ledger_is_reading:
                await self._finish(None)

    async def _finish(self, error: BaseException | None) -> None:
        call, chunks = self._ledger_call, self._ledger_chunks
        reading = chunks.reading()
        if reading is not None and error is None:
            await call.settle(reading, finish_reason=chunks.finish_reason)
            return
        if error is not None:
            call.failed_unseen(error)
        await call.end(error, chunks.received())
