"""Guards chat models of LangChain by its callbacks: each call is admitted when it starts, and booked when it ends.

Callbacks see a call and can stop it, and they can't change it. A cancellation is not told to callbacks of the model
itself, so that a call also ends with its task, or with an error of the chain that it is a part of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler

from ..adapters.langchain_answers import (
    WatchedMessages,
    check_caller_async,
    finish_reason_of,
    is_from_cache,
    messages_of,
    reading_of_message,
    text_of_message,
)
from ..adapters.langchain_calls import ask_of_model, provider_of
from ..guard.attempts import Received
from ..request_tokens import characters_of
from ..text_tokens import count_text, is_quick
from ..waiting_async import at_task_end_async, computed_async
from .guard import AsyncGuard
from .guarded_call import AsyncGuardedCall, uncovered

is_guarded_inside: ContextVar[bool] = ContextVar("token_ledger_langchain_inside", default=False)
"""Whether the model that is called here has a wrapped client inside, which middleware has put there."""


@dataclass(frozen=True, slots=True)
class _Open:
    call: AsyncGuardedCall
    answer: WatchedMessages
    parent: UUID | None
    params: Mapping[str, Any]
    call_off: Callable[[], None]


class AsyncLangChainHandler(AsyncCallbackHandler):
    """A callback handler that holds before each call of a chat model, and books after it; a denial is raised."""

    raise_error = True
    run_inline = True  # so that the model's own code runs in the context that is set here

    def __init__(self, guard: AsyncGuard, provider: str | None = None) -> None:
        self._guard = guard
        self._provider = provider
        self._open: dict[UUID, _Open] = {}

    @property
    def on_chat_model_start(self) -> Any:
        """Return what admits a call; raises ConfigurationError where LangChain would not wait for it."""
        check_caller_async()
        return self._start

    async def _start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **said: Any,
    ) -> None:
        if is_guarded_inside.get():
            return
        params: Mapping[str, Any] = said.get("invocation_params") or {}
        try:
            call = await self._admit(serialized, messages[0], params, metadata or {})
        except BaseException:
            await self._give_back(params)
            raise
        call.cover_until_sent()
        self._watch(call, run_id, parent_run_id, params)

    async def _admit(
        self, serialized: dict[str, Any], messages: list[Any], params: Mapping[str, Any], metadata: dict[str, Any]
    ) -> AsyncGuardedCall:
        provider = self._provider or provider_of(serialized, metadata)
        ask = partial(ask_of_model, messages, params, metadata, count_text, provider=provider)
        characters = characters_of([each.content for each in messages])
        asked = await computed_async(ask, is_quick=is_quick(characters, str(metadata.get("ls_model_name"))))
        # Another prompt of the same `generate` is another call.
        is_next = any(opened.params is params for opened in self._open.values())
        with uncovered() if is_next else nullcontext():
            return await self._guard.admit(asked)

    def _watch(self, call: AsyncGuardedCall, run_id: UUID, parent: UUID | None, params: Mapping[str, Any]) -> None:
        call_off = at_task_end_async(partial(self._abandon, run_id))
        self._open[run_id] = _Open(call, WatchedMessages(), parent, params, call_off)

    def _close(self, run_id: UUID) -> _Open | None:
        opened = self._open.pop(run_id, None)
        if opened is not None:
            opened.call_off()
        return opened

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **said: Any) -> None:
        """Note a part of the answer."""
        opened = self._open.get(run_id)
        if opened is None:
            return
        opened.call.answering()
        if opened.answer.feed(chunk):
            opened.call.first_token()
        opened.call.go_on()

    async def on_llm_end(self, response: Any, *, run_id: UUID, **said: Any) -> None:
        """Book a call."""
        opened = self._close(run_id)
        messages = messages_of(response)
        if opened is None:
            return
        call, first = opened.call, messages[0] if messages else None
        reading = reading_of_message(first)
        if is_from_cache(first):
            await call.end(None)
        elif reading is not None:
            await call.settle(reading, finish_reason=finish_reason_of(first))
        else:
            call.answering()
            told = opened.answer.received().told
            await call.end(None, Received(told, "".join(map(text_of_message, messages))))

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **said: Any) -> None:
        """End a call that has failed."""
        opened = self._close(run_id)
        if opened is not None:
            opened.call.failed_unseen(error)
            await opened.call.end(error, opened.answer.received())

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **said: Any) -> None:
        """End the calls of a chain that has failed without a word from its model, as it does when it is canceled."""
        for part in [each for each, opened in self._open.items() if opened.parent == run_id]:
            await self.on_llm_error(error, run_id=part)

    async def failed(self, call: AsyncGuardedCall, error: BaseException) -> None:
        """End a call that has left its middleware with an exception; released if no model has begun with it."""
        for part in [each for each, opened in self._open.items() if opened.call is call]:
            await self.on_llm_error(error, run_id=part)
        await call.end(error)

    async def _abandon(self, run_id: UUID, error: BaseException) -> None:
        await self.on_llm_error(error, run_id=run_id)

    async def _give_back(self, params: Mapping[str, Any]) -> None:
        """Release the calls that one `generate` has started together with one that was denied: none is sent."""
        for part in [each for each, opened in self._open.items() if opened.params is params]:
            opened = self._close(part)
            if opened is not None:
                await opened.call.end(None)
