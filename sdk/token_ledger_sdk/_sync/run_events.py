# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Listens to what the service tells of a run, in the background, as long as the run's block is open."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import httpx2

from ..errors import ClientClosed, LedgerError
from ..outage import is_unavailable
from ..unsettled import retry_pause_seconds
from ..waiting_sync import SignalSync, background_sync
from ..wire.events_of_runs import EventLines
from ..wire.requests import path_to
from ..wire.runs import RunNews
from .sender import Sender

_log = logging.getLogger("token_ledger_sdk")


class RunEvents:
    """The stream of one run's news; `hear` is told each, from the task or thread that listens.

    A stream that is cut begins again with how the run stands then, so nothing is missed. Nothing is raised: what is not
    heard here comes with the next answer. On trio, where nothing runs in the background, nobody listens.
    """

    def __init__(self, sender: Sender, run_id: str, hear: Callable[[RunNews], None]) -> None:
        self._sender = sender
        self._path = f"{path_to('runs', run_id, 'events')}?usage=false"
        self._hear = hear
        self._over = SignalSync()
        self._is_over = False
        self._response: httpx2.Response | None = None
        self._end = background_sync(self._listen, f"token-ledger-run-{run_id}")

    def close(self) -> None:
        """Listen no more."""
        self._is_over = True
        self._over.set()
        self._end()
        self._hang_up()

    def _listen(self) -> None:
        rounds = 0
        while not self._is_over:
            has_heard = False
            try:
                with self._sender.stream(self._path) as response:
                    self._response = response
                    if response.status_code >= 400:
                        if not is_unavailable(response.status_code):
                            _log.warning("Token Ledger tells nothing of a run: status %d", response.status_code)
                            return
                    else:
                        has_heard = True
                        self._follow(response)
            except ClientClosed:
                return
            except (httpx2.HTTPError, httpx2.StreamError, LedgerError, OSError, RuntimeError) as error:
                # A client that is closed meanwhile raises a RuntimeError.
                if not self._is_over:
                    _log.info("the stream of a run was cut: %s", error)
            finally:
                self._response = None
            rounds = 0 if has_heard else rounds + 1
            self._over.wait(retry_pause_seconds(rounds))

    def _follow(self, response: httpx2.Response) -> None:
        lines = EventLines()
        for line in response.iter_lines():
            if self._is_over:
                return
            news = lines.add(line)
            if news is not None:
                self._hear(news)

    def _hang_up(self) -> None:
        """Wake a thread that waits for the next line: closing what it reads from would not."""
        response = self._response
        stream = None if response is None else response.extensions.get("network_stream")
        connection = None if stream is None else stream.get_extra_info("socket")
        if isinstance(connection, socket.socket):
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
