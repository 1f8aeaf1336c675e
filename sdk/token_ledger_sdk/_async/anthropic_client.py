"""Guards a client of the anthropic library: a copy of it, of a class of its own that is a subclass of the caller's.

The seam is `_request`, which the library calls once for each call, with a body that it has made plain, and
`_attempt_request`, which that calls for each attempt. The library's public `middleware` was weighed: it is run for each
attempt too, but not around the call, sends another header, and sees the answer only as an object that must be parsed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from ..adapters.announced_auth import AnnouncedAuth
from ..adapters.answers import watch_answer
from ..adapters.anthropic_requests import ask_of, batch_of, body_of, changes_for, provider_at
from ..adapters.anthropic_unguarded import UNGUARDED
from ..adapters.earlier_responses import EarlierResponses
from ..adapters.unguarded import path_of
from ..guard.ask import Ask
from ..guard.attempts import reading_or_none
from ..providers import AnthropicStreamUsage
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_async import computed_async
from .copied_client import guarded_copy
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall
from .watched_response import AsyncWatchedResponse


@dataclass(slots=True)
class _Running:
    call: AsyncGuardedCall
    earlier: EarlierResponses
    is_trying: bool = False
    has_answer: bool = False


_running: ContextVar[_Running | None] = ContextVar("token_ledger_anthropic_call", default=None)


def wrap_anthropic(client: Any, guard: AsyncGuard, provider: str | None) -> Any:
    """Return a copy of a client of the anthropic library whose messages are guarded; it shares the connections."""
    guarded = guarded_copy(client, AsyncAnthropicCalls)
    guarded._ledger_guard = guard
    guarded._ledger_earlier = EarlierResponses()
    kinds = [kind.__name__ for kind in type(client).__mro__]
    guarded._ledger_provider = provider or provider_at(str(client.base_url), kinds)
    for name, resource in vars(client).items():
        if getattr(resource, "_client", None) is client:
            # Clients of clouds make their resources at once, and these call the client that made them.
            setattr(guarded, name, type(resource)(guarded))
    # The chain of the client's middleware was made for that client, and would send through it.
    guarded._middleware_chain = guarded._build_middleware_chain()
    return guarded


class AsyncAnthropicCalls:
    """What a guarded client does in place of the library's own."""

    __slots__ = ()  # else an object of the library's class could not become one of a class with this base
    _ledger_guard: AsyncGuard
    _ledger_earlier: EarlierResponses
    _ledger_provider: str
    base_url: Any

    async def _request(self, cast_to: Any, options: Any, **how: Any) -> Any:
        """Make one call, with all of its attempts, under one hold."""
        send = partial(cast(Any, super())._request, cast_to, **how)
        url = path_of(options.url, str(self.base_url) if "://" in options.url else "")
        body = body_of(url, options.method, options.json_data)
        if body is None:
            UNGUARDED.check(options.method, url)
            return await send(options)
        return await self._guarded(body, options, send)

    async def _guarded(self, body: dict[str, Any], options: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
        call = await self._ledger_guard.admit(await self._ask(body))
        running = _Running(call, self._ledger_earlier)
        try:
            # These options are the library's own copy, so that what is changed in them is not the caller's.
            options.json_data = {**body, **changes_for(body, model=call.model, output_limit=call.output_limit)}
            was = _running.set(running)
            try:
                answer = await send(options)
            finally:
                _running.reset(was)
        except BaseException as error:
            await call.end(error)
            raise
        if not running.has_answer:  # a middleware has answered, and nothing was sent
            await call.end(None)
        return answer

    async def _ask(self, body: dict[str, Any]) -> Ask:
        ask = partial(ask_of, body, self._ledger_provider, self._ledger_earlier, count_text)
        return await computed_async(ask, is_quick=is_quick(characters_of(body), body["model"]))

    async def _attempt_request(self, options: Any, **how: Any) -> Any:
        """Make one attempt."""
        send = partial(cast(Any, super())._attempt_request, **how)
        batch = batch_of(options.url, options.method)
        if batch is not None:
            return await self._fetch_results(batch, options, send)
        body = body_of(options.url, options.method, options.json_data)
        if body is None:
            return await send(options)
        running = _running.get()
        if running is None or running.has_answer:
            # A middleware of the caller's asks again, after an answer: that is a call of its own.
            return await self._guarded(body, options, partial(self._attempt_request, **how))
        return await self._attempt(running, options, send)

    async def _prepare_request(self, request: Any) -> None:
        """Note that the request is about to be sent: what was raised before has cost nothing."""
        await cast(Any, super())._prepare_request(request)
        running = _running.get()
        if running is not None and running.is_trying and cast(Any, super()).custom_auth is None:
            running.call.sending()

    @property
    def custom_auth(self) -> Any:
        """The caller's authentication; one that first gets a token says when it has it."""
        auth = cast(Any, super()).custom_auth
        running = _running.get()
        if auth is None or running is None or not running.is_trying:
            return auth
        return AnnouncedAuth(auth, running.call.sending)

    async def _attempt(self, running: _Running, options: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
        call = running.call
        running.is_trying = True
        try:
            response, sent = await send(options)
        except BaseException as error:
            # The library wraps what the connection raised.
            call.failed(error.__cause__ or error)
            raise
        finally:
            running.is_trying = False
        if not response.is_success:
            call.refused(response.status_code)
            return response, sent
        running.has_answer = True
        watched = watch_answer(response.headers.get("content-type", ""), AnthropicStreamUsage())
        if not response.is_closed:
            AsyncWatchedResponse(call, response, watched, running.earlier.note)
            return response, sent
        watched.feed(response.content)
        answer = watched.reading()
        running.earlier.note(reading_or_none(answer))
        await call.settle(answer, finish_reason=watched.finish_reason())
        return response, sent

    async def _fetch_results(self, batch: str, options: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
        """Fetch the results of a batch; what each of them says it used is booked while they are read."""
        results = self._ledger_guard.watch_results(self._ledger_provider, batch)
        response, sent = await send(options)
        if response.is_success:
            results.watch(response)
        return response, sent

    def copy(self, **changes: Any) -> Any:
        """Return a copy with other options, which is guarded as well."""
        made = cast(Any, super()).copy(**changes)
        made._ledger_guard, made._ledger_provider = self._ledger_guard, self._ledger_provider
        made._ledger_earlier = self._ledger_earlier
        return made

    with_options = copy
