"""Guards a client of the openai library: a copy of it, of a class of its own that is a subclass of the caller's.

The seam is `request`, which every resource calls once for each call, and `_send_request`, which that calls for each
attempt. A transport of httpx2 was weighed: it would see attempts and not calls, so that retries could only be told by a
header, would get the body as bytes, and a transport of the caller's own would have to be opened. Patched methods of the
resources would miss those that a later version adds. Here the library itself writes the request, from the
caller's own arguments, so it is the same to the byte; what we change is a field of the body.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property, partial
from inspect import getattr_static
from typing import Any, cast

from ..adapters.earlier_responses import EarlierResponses
from ..adapters.openai_answers import Watched, watch_answer
from ..adapters.openai_requests import adds_usage, ask_of, body_of, changes_for, provider_at
from ..guard.ask import Ask
from ..guard.attempts import reading_or_none
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting import computed_async
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall


@dataclass(frozen=True, slots=True)
class _Running:
    call: AsyncGuardedCall
    earlier: EarlierResponses
    hides_usage: bool


_running: ContextVar[_Running | None] = ContextVar("token_ledger_openai_call", default=None)


def wrap_openai(client: Any, guard: AsyncGuard, provider: str | None) -> Any:
    """Return a copy of a client of the openai library whose calls of models are guarded; it shares the connections."""
    kind: Any = type(client)
    guarded: Any = object.__new__(_guarded_class(kind))
    # Resources that the client has made already call the client that made them, so the copy makes its own.
    made = {name for name in vars(client) if isinstance(getattr_static(kind, name, None), cached_property)}
    vars(guarded).update({name: value for name, value in vars(client).items() if name not in made})
    guarded._ledger_guard = guard
    guarded._ledger_earlier = EarlierResponses()
    guarded._ledger_provider = provider or provider_at(str(client.base_url), kind.__name__)
    return guarded


@cache
def _guarded_class(kind: Any) -> type:
    return type(kind.__name__, (AsyncOpenAICalls, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def _changed(options: Any, changes: Mapping[str, object]) -> Any:
    """Return the options of a request with other fields in its body, each where the caller's stands."""
    changed = copy.copy(options)
    changed.json_data = {**options.json_data, **changes}
    if options.extra_json is not None:
        changed.extra_json = {name: changes.get(name, value) for name, value in options.extra_json.items()}
    return changed


class AsyncOpenAICalls:
    """What a guarded client does in place of the library's own."""

    __slots__ = ()  # else an object of the library's class could not become one of a class with this base
    _ledger_guard: AsyncGuard
    _ledger_earlier: EarlierResponses
    _ledger_provider: str

    async def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Make one call, with all of its attempts, under one hold."""
        send = cast(Any, super()).request
        body = body_of(options.url, options.method, options.json_data, options.extra_json)
        if body is None:
            return await send(cast_to, options, stream=stream, stream_cls=stream_cls)
        url = options.url
        call = await self._ledger_guard.admit(await self._ask(url, body))
        try:
            changes = changes_for(url, body, self._ledger_provider, model=call.model, output_limit=call.output_limit)
            if changes:
                options = _changed(options, changes)
            running = _running.set(_Running(call, self._ledger_earlier, adds_usage(url, body)))
            try:
                return await send(cast_to, options, stream=stream, stream_cls=stream_cls)
            finally:
                _running.reset(running)
        except BaseException as error:
            await call.end(error)
            raise

    async def _ask(self, url: str, body: dict[str, Any]) -> Ask:
        ask = partial(ask_of, url, body, self._ledger_provider, self._ledger_earlier, count_text)
        return await computed_async(ask, is_quick=is_quick(characters_of(body), body["model"]))

    async def _send_request(self, request: Any, *, stream: bool, **options: Any) -> Any:
        """Make one attempt."""
        send = cast(Any, super())._send_request
        running = _running.get()
        if running is None:
            return await send(request, stream=stream, **options)
        call = running.call
        call.sending()
        try:
            response = await send(request, stream=stream, **options)
        except BaseException as error:
            call.failed(error)
            raise
        if response.status_code >= 400:
            call.refused(response.status_code)
            return response
        watched = watch_answer(response.headers.get("content-type", ""), hides_usage=running.hides_usage)
        if stream:
            _WatchedResponse(running, response, watched)
        else:
            watched.feed(response.content)
            answer = watched.reading()
            running.earlier.note(reading_or_none(answer))
            await call.settle(answer, finish_reason=watched.finish_reason())
        return response

    def copy(self, **changes: Any) -> Any:
        """Return a copy with other options, which is guarded as well."""
        made = cast(Any, super()).copy(**changes)
        made._ledger_guard, made._ledger_provider = self._ledger_guard, self._ledger_provider
        made._ledger_earlier = self._ledger_earlier
        return made

    with_options = copy


class _WatchedResponse:
    """An answer that the caller reads bit by bit: when it has ended, or is closed, its call is booked.

    The methods of the response are replaced on this one object, so that whoever holds it reads through the watch. Its
    class stays the one that the library knows, also where it comes from the older httpx.
    """

    def __init__(self, running: _Running, response: Any, watched: Watched) -> None:
        self._call = running.call
        self._earlier = running.earlier
        self._watched = watched
        self._read = response.aiter_bytes
        self._close = response.aclose
        self._is_reading = False
        if watched.has_begun:
            self._call.answering()
        response.aiter_bytes = self.aiter_bytes
        response.aclose = self.aclose

    async def aiter_bytes(self, chunk_size: int | None = None) -> Any:
        """Yield the bytes of the answer without the chunk that the caller has not asked for."""
        error: BaseException | None = None
        feed, is_timed = self._watched.feed, False
        self._is_reading = True
        try:
            async with aclosing(self._read(chunk_size)) as parts:
                async for data in parts:
                    passed = feed(data)
                    if not is_timed and self._watched.has_text:
                        is_timed = True
                        self._call.first_token()
                    if passed:
                        self._is_reading = False
                        yield passed
                        self._is_reading = True
            rest = self._watched.rest()
            if rest:
                yield rest
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._is_reading = False
            await self._finish(error)

    async def aclose(self) -> None:
        """Close the response."""
        try:
            await self._close()
        finally:
            # While it is being read, the reader knows better why it is closed.
            if not self._is_reading:
                await self._finish(None)

    async def _finish(self, error: BaseException | None) -> None:
        if self._call.is_over:
            return
        watched = self._watched
        reading = watched.reading()
        if reading is not None:
            self._earlier.note(reading_or_none(reading))
            await self._call.settle(reading, finish_reason=watched.finish_reason())
        else:
            await self._call.end(error, watched.received(), error_kind=watched.error_kind)
