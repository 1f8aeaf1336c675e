# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""The results of a batch that the caller reads: what each says that it used is booked, some hundred at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

from ..adapters.batch_results import Result, ResultEvents, WatchedResults
from ..errors import LedgerError
from ..waiting_sync import shielded_sync
from ..wire.events import reports
from .sender import Sender

_log = logging.getLogger("token_ledger_sdk")
_AT_ONCE = 500


class ResultsBooking:
    """Watches a response with the results of a batch.

    What is not read is not booked: it is once it is read. What is read again is booked only once.
    """

    def __init__(self, sender: Sender, events: ResultEvents) -> None:
        self._sender = sender
        self._events = events
        self._watched = WatchedResults()
        self._is_reading = False

    def watch(self, response: Any) -> None:
        """Replace the methods by which this one response is read and closed."""
        self._read, self._close = response.iter_bytes, response.close
        response.iter_bytes, response.close = self.iter_bytes, self.close

    def iter_bytes(self, chunk_size: int | None = None) -> Any:
        """Yield the bytes as they are."""
        self._is_reading = True
        try:
            with closing(self._read(chunk_size)) as parts:
                for data in parts:
                    self._watched.feed(data)
                    self._book(self._watched.take(_AT_ONCE))
                    self._is_reading = False
                    yield data
                    self._is_reading = True
            self._watched.end()
        finally:
            self._is_reading = False
            self._finish()

    def close(self) -> None:
        """Close the response; what came of a line that is not whole is left."""
        try:
            self._close()
        finally:
            if not self._is_reading:  # else the reader is not done with what came
                self._finish()

    def _finish(self) -> None:
        rest = self._watched.take()
        try:
            shielded_sync(partial(self._book, rest))
        except LedgerError as failure:
            self._warn(len(rest), failure)

    def _book(self, results: Sequence[Result]) -> None:
        try:
            for report in reports(event for result in results for event in self._events.of(result)):
                self._sender.send(report.request)
        except LedgerError as failure:
            self._warn(len(results), failure)

    def _warn(self, results: int, failure: LedgerError) -> None:
        _log.warning(
            "Token Ledger could not book %d results of batch %s: %s. Fetch them again: none is booked twice",
            results,
            self._events.batch,
            failure,
        )
