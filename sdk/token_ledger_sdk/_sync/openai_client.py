# Generated from _async by scripts/generate_sync.py: edit that, and run it.
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
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

from ..adapters.answers import watch_answer
from ..adapters.earlier_responses import EarlierResponses
from ..adapters.openai_requests import adds_usage, ask_of, body_of, changes_for, provider_at
from ..adapters.openai_unguarded import UNGUARDED
from ..adapters.unguarded import path_of
from ..adapters.withheld import without_connections
from ..guard.ask import Ask
from ..guard.attempts import reading_or_none
from ..providers import OpenAIStreamUsage, Usage
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_sync import computed_sync
from .copied_client import guarded_copy
from .guard import Guard
from .guarded_call import GuardedCall
from .watched_response import WatchedResponse


@dataclass(frozen=True, slots=True)
class _Running:
    call: GuardedCall
    earlier: EarlierResponses
    hides_usage: bool
    charged: Usage | None


_running: ContextVar[_Running | None] = ContextVar("token_ledger_openai_call", default=None)


def wrap_openai(client: Any, guard: Guard, provider: str | None) -> Any:
    """Return a copy of a client of the openai library whose calls of models are guarded; it shares the connections."""
    guarded = guarded_copy(client, OpenAICalls)
    guarded._ledger_guard = guard
    guarded._ledger_earlier = EarlierResponses()
    guarded._ledger_provider = provider or provider_at(str(client.base_url), type(client).__name__)
    return guarded


def _changed(options: Any, changes: Mapping[str, object]) -> Any:
    """Return the options of a request with other fields in its body, each where the caller's stands."""
    changed = copy.copy(options)
    changed.json_data = {**options.json_data, **changes}
    if options.extra_json is not None:
        changed.extra_json = {name: changes.get(name, value) for name, value in options.extra_json.items()}
    return changed


class OpenAICalls:
    """What a guarded client does in place of the library's own."""

    __slots__ = ()  # else an object of the library's class could not become one of a class with this base
    _ledger_guard: Guard
    _ledger_earlier: EarlierResponses
    _ledger_provider: str
    base_url: Any

    @cached_property
    def realtime(self) -> Any:
        """The library's own, which can't connect."""
        return without_connections(cast(Any, super()).realtime, "realtime", "translations")

    @cached_property
    def live(self) -> Any:
        """The library's own, which can't connect."""
        return without_connections(cast(Any, super()).live, "live", "forks", "sideband")

    @cached_property
    def responses(self) -> Any:
        """The library's own, which can't connect."""
        return without_connections(cast(Any, super()).responses, "responses")

    @cached_property
    def beta(self) -> Any:
        """The library's own, which can't connect."""
        made = cast(Any, super()).beta
        without_connections(made.realtime, "beta.realtime")
        without_connections(made.responses, "beta.responses")
        return made

    def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Make one call, with all of its attempts, under one hold."""
        send = cast(Any, super()).request
        url = path_of(options.url, str(self.base_url) if "://" in options.url else "")
        body = body_of(url, options.method, options.json_data, options.extra_json)
        if body is None:
            UNGUARDED.check(options.method, url)
            return send(cast_to, options, stream=stream, stream_cls=stream_cls)
        ask = self._ask(url, body, options.files)
        call = self._ledger_guard.admit(ask)
        try:
            changes = changes_for(url, body, self._ledger_provider, model=call.model, output_limit=call.output_limit)
            if changes:
                options = _changed(options, changes)
            running = _running.set(_Running(call, self._ledger_earlier, adds_usage(url, body), ask.charged))
            try:
                return send(cast_to, options, stream=stream, stream_cls=stream_cls)
            finally:
                _running.reset(running)
        except BaseException as error:
            call.end(error)
            raise

    def _ask(self, url: str, body: dict[str, Any], files: object) -> Ask:
        ask = partial(ask_of, url, body, self._ledger_provider, self._ledger_earlier, count_text, files)
        return computed_sync(ask, is_quick=is_quick(characters_of(body), body["model"]))

    def _send_request(self, request: Any, *, stream: bool, **options: Any) -> Any:
        """Make one attempt."""
        send = cast(Any, super())._send_request
        running = _running.get()
        if running is None:
            return send(request, stream=stream, **options)
        call = running.call
        call.sending()
        try:
            response = send(request, stream=stream, **options)
        except BaseException as error:
            call.failed(error)
            raise
        if response.status_code >= 400:
            call.refused(response.status_code)
            return response
        watched = watch_answer(
            response.headers.get("content-type", ""),
            OpenAIStreamUsage(),
            hides_usage=running.hides_usage,
            charged=running.charged,
        )
        if stream:
            WatchedResponse(call, response, watched, running.earlier.note)
        else:
            watched.feed(response.content)
            answer = watched.reading()
            running.earlier.note(reading_or_none(answer))
            call.settle(answer, finish_reason=watched.finish_reason())
        return response

    def copy(self, **changes: Any) -> Any:
        """Return a copy with other options, which is guarded as well."""
        made = cast(Any, super()).copy(**changes)
        made._ledger_guard, made._ledger_provider = self._ledger_guard, self._ledger_provider
        made._ledger_earlier = self._ledger_earlier
        return made

    with_options = copy
