# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Sends requests, again where `retry.py` says so."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

import httpx2

from ..answers import Answer, NoAnswer
from ..errors import ClientClosed, Unavailable, Unreachable
from ..fields import Fields
from ..retry import RetryPolicy, retry_after_seconds
from ..waiting import pause_sync
from ..wire import ApiRequest

_NEVER_SENT = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


class Sender:
    """An HTTP client with a retry policy, made by `connect` once in every process; tests give `pause` and `draw`."""

    def __init__(
        self,
        connect: Callable[[], httpx2.Client],
        policy: RetryPolicy,
        *,
        pause: Callable[[float], None] = pause_sync,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._connect = connect
        self._http = connect()
        self._process = os.getpid()
        self._policy = policy
        self._pause = pause
        self._draw = draw

    def send(self, request: ApiRequest, *, again: bool = True) -> Fields:
        """Send a request until there is an answer worth reading, or not `again` but once; raises a LedgerError."""
        if self._process != os.getpid():
            # Connections that a fork has copied are the other process's: each would read the other's answers.
            self._http, self._process = self._connect(), os.getpid()
        # The transport's own error for this is a RuntimeError, which nobody catches.
        if self._http.is_closed:
            raise ClientClosed("the client is closed: nothing was sent")
        for retries in count():
            outcome = self._try(request)
            delay_seconds = self._policy.delay_seconds(outcome, retries=retries, draw=self._draw())
            if delay_seconds is None or not again:
                return _read(outcome, request)
            self._pause(delay_seconds)
            if self._http.is_closed:  # meanwhile, and the attempt before may have been served
                return _read(outcome, request)
        raise AssertionError("count() is endless")

    def _try(self, request: ApiRequest) -> Answer | NoAnswer:
        try:
            response = self._http.request(request.method, request.path, content=request.content)
        except httpx2.RequestError as error:
            return NoAnswer(error, may_retry=not isinstance(error, _NEVER_SENT))
        header = response.headers.get("Retry-After")
        return Answer(response.status_code, response.content, retry_after_seconds(header, datetime.now(UTC)))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _read(outcome: Answer | NoAnswer, request: ApiRequest) -> Fields:
    try:
        return outcome.read()
    except (Unreachable, Unavailable) as error:
        error.idempotency_key = request.idempotency_key
        raise
