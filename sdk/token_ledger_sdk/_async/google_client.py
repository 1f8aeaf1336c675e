"""Guards a client of the google-genai library: a copy of it whose models are asked through a guarded connection.

The seam is what the library calls its API client: `_async_request`, which is called once for each call, and
`_async_request_once`, which that calls for each attempt. Streams are watched as the library has parsed them, because it
may use any of four HTTP clients. One client of the library has a synchronous and an asynchronous side, and a client of
the ledger guards one of them: the models of the other side are taken away, so that nothing is called unguarded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from google.genai.errors import APIError

from ..adapters.answers import finish_reason_of
from ..adapters.google_answers import WatchedChunks, body_of_answer
from ..adapters.google_caches import KnownCaches
from ..adapters.google_requests import GoogleCall, ask_of, body_for, call_of, url_for
from ..adapters.google_unguarded import UNSEEN, check
from ..adapters.withheld import Withheld, other_side
from ..guard.ask import Ask
from ..guard.attempts import reading_or_none
from ..providers import Reading
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_async import computed_async
from .copied_client import guarded_copy
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall

PROVIDER = "google"
_MODELS = "AsyncModels"


@dataclass(slots=True)
class _Running:
    call: AsyncGuardedCall
    needs_token: bool


_opened: ContextVar[list[AsyncWatchedSegments] | None] = ContextVar("token_ledger_google_stream", default=None)
_running: ContextVar[_Running | None] = ContextVar("token_ledger_google_call", default=None)


def wrap_google(client: Any, guard: AsyncGuard, provider: str | None) -> Any:
    """Return a copy of a client of the google-genai library whose calls of models are guarded."""
    connection = guarded_copy(client._api_client, AsyncGoogleCalls)
    connection._ledger_guard = guard
    connection._ledger_provider = provider or PROVIDER
    connection._ledger_caches = KnownCaches()
    # When a client of the library is forgotten, it closes the connections, which are shared.
    connection._ledger_original = client
    return _copied(client, client._api_client, connection)


def _copied(part: Any, original: Any, connection: Any) -> Any:
    """Return a copy of a client, or of a part of one, that works through another connection."""
    # Only a client closes what it works through when it is forgotten.
    copied = guarded_copy(part, _Forgettable) if hasattr(type(part), "__del__") else copy.copy(part)
    copied._api_client = connection
    for name, value in vars(part).items():
        if name[1:] in UNSEEN and name != "_batches":  # the library makes most of these when they are first used
            setattr(copied, name, _withheld(name[1:]))
        elif getattr(value, "__dict__", {}).get("_api_client") is original:
            setattr(copied, name, _copied_part(name, value, original, connection))
    return copied


def _copied_part(name: str, part: Any, original: Any, connection: Any) -> Any:
    """Return a copy of a part, or what says that it is not guarded."""
    kind = type(part).__name__
    if kind.endswith("Models") and kind != _MODELS:
        return Withheld(other_side(_MODELS))
    made = _copied(part, original, connection)
    return _withheld("batches", made) if name == "_batches" else made


def _withheld(name: str, part: Any = None) -> Withheld:
    advice, but = UNSEEN[name]
    return Withheld(advice, within=f"{name}.", part=part, but=but)


class _Forgettable:
    """What is copied closes nothing when it is forgotten: the caller's own client does."""

    __slots__ = ()

    def __del__(self) -> None:
        """Do nothing."""


class AsyncGoogleCalls(_Forgettable):
    """What a guarded connection does in place of the library's own."""

    __slots__ = ()  # else an object of the library's class could not become one of a class with this base
    _ledger_guard: AsyncGuard
    _ledger_provider: str
    _ledger_caches: KnownCaches
    _ledger_original: Any

    async def _async_request(self, http_request: Any, http_options: Any = None, stream: bool = False) -> Any:
        """Make one call, with all of its attempts, under one hold."""
        send = partial(cast(Any, super())._async_request, http_options=http_options, stream=stream)
        asked = call_of(http_request.url, http_request.method, http_request.data)
        if asked is None:
            check(http_request.method, http_request.url)
            return self._noted(http_request.url, await send(http_request))
        call = await self._ledger_guard.admit(await self._ask(asked))
        try:
            changed = replace(http_request, url=url_for(asked, call.model), data={**body_for(asked, call.output_limit)})
            was = _running.set(_Running(call, self._needs_token()))
            try:
                response = await send(changed)
            finally:
                _running.reset(was)
            if stream:
                watched = AsyncWatchedSegments(call, response, partial(self._ledger_caches.note_use, asked.body))
                opened = _opened.get()
                if opened is not None:
                    opened.append(watched)
            else:
                await self._settle(call, asked, response)
        except BaseException as error:
            await call.end(error)
            raise
        return response

    async def async_request_streamed(self, *request: Any, **how: Any) -> Any:
        """Begin a stream, whose call ends with it also if the library leaves the response lying, in a cycle."""
        opened: list[AsyncWatchedSegments] = []
        was = _opened.set(opened)
        try:
            stream = await cast(Any, super()).async_request_streamed(*request, **how)
        finally:
            _opened.reset(was)
        return _ended(stream, opened)

    async def _ask(self, asked: GoogleCall) -> Ask:
        ask = partial(ask_of, asked, self._ledger_provider, self._ledger_caches, count_text)
        return await computed_async(ask, is_quick=is_quick(characters_of(asked.body), asked.model))

    def _needs_token(self) -> bool:
        """Whether the library fetches a token before it sends a request."""
        api = cast(Any, self)
        return bool(api.vertexai and (api.project or api.location) and not api.api_key)

    def _noted(self, url: str, response: Any) -> Any:
        """Return an answer to what calls no model, when what it says of cached contents was noted."""
        if self._ledger_caches.is_about(url):
            self._ledger_caches.note(_answer(response))
        return response

    async def _settle(self, call: AsyncGuardedCall, asked: GoogleCall, response: Any) -> None:
        answer = _answer(response)
        self._ledger_caches.note_use(asked.body, reading_or_none(answer))
        await call.settle(answer, finish_reason=finish_reason_of(answer))

    async def _async_request_once(self, *request: Any, **how: Any) -> Any:
        """Make one attempt."""
        send = cast(Any, super())._async_request_once
        running = _running.get()
        if running is None:
            return await send(*request, **how)
        if not running.needs_token:
            running.call.sending()
        try:
            return await send(*request, **how)
        except APIError as error:
            running.call.refused(error.code)
            raise
        except BaseException as error:
            running.call.failed(error)
            raise

    async def _async_access_token(self) -> Any:
        """Fetch a token: what is raised before it is there has cost nothing."""
        token = await cast(Any, super())._async_access_token()
        running = _running.get()
        if running is not None:
            running.call.sending()
        return token


class AsyncWatchedSegments:
    """An answer of which the caller reads chunk by chunk: when it has ended, or is left, its call is booked.

    The method of the response that yields its chunks is replaced on this one object.
    """

    def __init__(self, call: AsyncGuardedCall, response: Any, note: Callable[[Reading | None], None]) -> None:
        self._call = call
        self._note = note
        self._watched = WatchedChunks()
        self._read = response.async_segments
        call.answering()
        response.async_segments = self.async_segments

    async def async_segments(self) -> Any:
        """Yield the chunks as they are."""
        error: BaseException | None = None
        watched, is_timed = self._watched, False
        try:
            async with aclosing(self._read()) as chunks:
                async for chunk in chunks:
                    watched.add(chunk)
                    if not is_timed and watched.has_text:
                        is_timed = True
                        self._call.first_token()
                    self._call.go_on()
                    yield chunk
        except BaseException as failure:
            error = failure
            raise
        finally:
            await self.finish(error)

    async def finish(self, error: BaseException | None) -> None:
        """Book the call, with what came of it so far; only the first time counts."""
        if self._call.is_over:
            return
        reading = self._watched.reading()
        if reading is not None:
            self._note(reading)
            await self._call.settle(reading, finish_reason=self._watched.finish_reason())
        else:
            error_kind = self._watched.error_kind
            # The library raises what such an event says, and leaves the stream: that is no end of the caller's.
            await self._call.end(None if error_kind else error, self._watched.received(), error_kind=error_kind)


def _answer(response: Any) -> object:
    parts = response.response_stream
    return body_of_answer(parts[0] if isinstance(parts, list) and parts else None)


async def _ended(stream: Any, opened: list[AsyncWatchedSegments]) -> Any:
    async with aclosing(stream) as chunks:
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            for watched in opened:
                await watched.finish(None)
