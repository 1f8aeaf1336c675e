"""An answer that the caller reads bit by bit: when it has ended, or is closed, its call is booked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from ..adapters.answers import Watched
from ..guard.attempts import reading_or_none
from ..providers import Reading
from ..waiting_async import run_later_async
from .guarded_call import AsyncGuardedCall


class AsyncWatchedResponse:
    """Watches a response of httpx2, or of the older httpx, for a call.

    The methods of the response are replaced on this one object, so that whoever holds it reads through the watch. Its
    class stays the one that the library knows. `note` is told what the answer used, if it says it.
    """

    def __init__(
        self,
        call: AsyncGuardedCall,
        response: Any,
        watched: Watched,
        note: Callable[[Reading | None], None] | None = None,
    ) -> None:
        self._call = call
        self._note = note
        self._watched = watched
        self._read = response.aiter_bytes
        self._close = response.aclose
        self._has_reader = False
        self._is_reading = False
        if watched.has_begun:
            self._call.answering()
        response.aiter_bytes = self.aiter_bytes
        response.aclose = self.aclose

    async def aiter_bytes(self, chunk_size: int | None = None) -> Any:
        """Yield the bytes of the answer without the chunk that the caller has not asked for."""
        error: BaseException | None = None
        feed, is_timed = self._watched.feed, False
        self._has_reader = self._is_reading = True
        try:
            async with aclosing(self._read(chunk_size)) as parts:
                async for data in parts:
                    passed = feed(data)
                    if not is_timed and self._watched.has_text:
                        is_timed = True
                        self._call.first_token()
                    self._call.go_on()
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

    def __del__(self) -> None:
        # A reader that is dropped closes what it reads; a response that nobody began to read has none. Its call is
        # ended apart from here, where any lock may be held; that needs a running loop, or a process that goes on.
        if not (self._has_reader or self._call.is_over):
            with suppress(RuntimeError):
                run_later_async(0, partial(self._finish, None))

    async def _finish(self, error: BaseException | None) -> None:
        if self._call.is_over:
            return
        watched = self._watched
        reading = watched.reading()
        if reading is not None:
            if self._note is not None:
                self._note(reading_or_none(reading))
            await self._call.settle(reading, finish_reason=watched.finish_reason())
        else:
            await self._call.end(error, watched.received(), error_kind=watched.error_kind)
