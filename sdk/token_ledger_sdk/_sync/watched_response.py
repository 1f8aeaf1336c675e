# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""An answer that the caller reads bit by bit: when it has ended, or is closed, its call is booked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any

from ..adapters.answers import Watched
from ..guard.attempts import reading_or_none
from ..providers import Reading
from ..waiting_sync import run_later_sync
from .guarded_call import GuardedCall


class WatchedResponse:
    """Watches a response of httpx2, or of the older httpx, for a call.

    The methods of the response are replaced on this one object, so that whoever holds it reads through the watch. Its
    class stays the one that the library knows. `note` is told what the answer used, if it says it.
    """

    def __init__(
        self,
        call: GuardedCall,
        response: Any,
        watched: Watched,
        note: Callable[[Reading | None], None] | None = None,
    ) -> None:
        self._call = call
        self._note = note
        self._watched = watched
        self._read = response.iter_bytes
        self._close = response.close
        self._has_reader = False
        self._is_reading = False
        if watched.has_begun:
            self._call.answering()
        response.iter_bytes = self.iter_bytes
        response.close = self.close

    def iter_bytes(self, chunk_size: int | None = None) -> Any:
        """Yield the bytes of the answer without the chunk that the caller has not asked for."""
        error: BaseException | None = None
        feed, is_timed = self._watched.feed, False
        self._has_reader = self._is_reading = True
        try:
            with closing(self._read(chunk_size)) as parts:
                for data in parts:
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
            self._finish(error)

    def close(self) -> None:
        """Close the response."""
        try:
            self._close()
        finally:
            # While it is being read, the reader knows better why it is closed.
            if not self._is_reading:
                self._finish(None)

    def __del__(self) -> None:
        # A reader that is dropped closes what it reads; a response that nobody began to read has none. Its call is
        # ended apart from here, where any lock may be held; that needs a running loop, or a process that goes on.
        if not (self._has_reader or self._call.is_over):
            with suppress(RuntimeError):
                run_later_sync(0, partial(self._finish, None))

    def _finish(self, error: BaseException | None) -> None:
        if self._call.is_over:
            return
        watched = self._watched
        reading = watched.reading()
        if reading is not None:
            if self._note is not None:
                self._note(reading_or_none(reading))
            self._call.settle(reading, finish_reason=watched.finish_reason())
        else:
            self._call.end(error, watched.received(), error_kind=watched.error_kind)
