# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Sends requests, and sends them again when the retry policy says so."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import count

import httpx2

from ..errors import ApiError, ClientClosed, NotEnded, Unavailable, Unreachable
from ..guard.run_stops import RunStops
from ..guard.stages import RunStages
from ..known_costs import KnownCosts
from ..outage import RetryPolicy, retry_after_seconds
from ..spool.spool import Spool
from ..unavailable import Circuit, OnUnavailable, check_policy
from ..waiting_sync import sleep_sync
from ..wire.answers import Answer, NoAnswer
from ..wire.fields import Fields
from ..wire.requests import ApiRequest
from .heartbeat import Heartbeat
from .outbox import Outbox
from .travel import Travel

_SILENT_SECONDS = 45.0
"""How long a stream may be silent: the service says every 15 s that it is there."""
_NEVER_SENT = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


class Sender:
    """An HTTP client with a retry policy; `connect` makes its connections, once in every process.

    Tests replace `pause` (waits so many seconds) and `draw` (a random number from 0 to 1).
    """

    def __init__(
        self,
        connect: Callable[[], httpx2.Client],
        policy: RetryPolicy,
        *,
        spool: Spool | None = None,
        flush_seconds: float = 1.0,
        pause: Callable[[float], None] = sleep_sync,
        draw: Callable[[], float] = random.random,
        on_unavailable: OnUnavailable = "deny",
    ) -> None:
        self._connect = connect
        self._policy = policy
        self.outbox = Outbox(
            self._send_operations, Spool(None) if spool is None else spool, flush_seconds=flush_seconds
        )
        self.heartbeat = Heartbeat()
        self.on_unavailable = check_policy(on_unavailable)
        self.circuit = Circuit()
        self.stops = RunStops()
        self.stages = RunStages()
        self.costs = KnownCosts()
        self._pause = pause
        self._draw = draw
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._http = self._connect()
        self._listening: httpx2.Client | None = None
        self._travel = Travel(self._exchange, self.outbox)

    def send(self, request: ApiRequest, *, again: bool = True) -> Fields:
        """Send a request until there is an answer to accept, or only once unless `again`; raises a LedgerError."""
        try:
            return _read(self._outcome(request, again=again), request)
        except ApiError as error:
            self.stops.refused(error)
            raise

    def stream(self, path: str) -> AbstractContextManager[httpx2.Response]:
        """Return the block of an answer that goes on; its connection is none of those that requests share."""
        if self._http.is_closed:
            raise ClientClosed("the client is closed: nothing was sent; make the call inside the client's block")
        if self._listening is None:
            self._listening = self._connect()
        timeout = httpx2.Timeout(self._http.timeout.connect, read=_SILENT_SECONDS)
        return self._listening.stream("GET", path, headers={"Accept": "text/event-stream"}, timeout=timeout)

    def _send_operations(self, request: ApiRequest, again: bool) -> Fields:
        return self.send(request, again=again)

    def fetch(self, request: ApiRequest) -> tuple[Fields | None, str | None]:
        """Send a request once; returns the answer with its tag, and None for one with the tag that is known."""
        outcome = self._outcome(request, again=False)
        if isinstance(outcome, Answer) and outcome.is_unchanged:
            return None, request.known_tag
        return _read(outcome, request), outcome.tag if isinstance(outcome, Answer) else None

    def _outcome(self, request: ApiRequest, *, again: bool) -> Answer | NoAnswer:
        if self._process != os.getpid():
            # This is a fork: on the copied connections it would read answers that are for the parent process.
            self._begin()
        # The transport itself would raise a RuntimeError, which nobody catches.
        if self._http.is_closed:
            raise ClientClosed("the client is closed: nothing was sent; make the call inside the client's block")
        outcome: Answer | NoAnswer | None = None
        try:
            for retries in count():
                outcome = self._travel.send(request)
                delay_seconds = self._policy.delay_seconds(outcome, retries=retries, draw=self._draw())
                if delay_seconds is None or not again:
                    return outcome
                self._pause(delay_seconds)
                if self._http.is_closed:  # during the pause; the previous attempt may have been served
                    return outcome
        except BaseException as error:
            if outcome is not None and not isinstance(error, (Exception, GeneratorExit)):
                self.outbox.give_back(request, outcome)
            raise
        raise AssertionError("count() is endless")

    def _exchange(self, request: ApiRequest) -> Answer | NoAnswer:
        headers = None if request.known_tag is None else {"If-None-Match": request.known_tag}
        try:
            response = self._http.request(request.method, request.path, content=request.content, headers=headers)
        except httpx2.RequestError as error:
            return NoAnswer(error, may_retry=not isinstance(error, _NEVER_SENT))
        if response.status_code < 500:
            self.circuit.reached()
            self.outbox.was_heard()
        header = response.headers.get("Retry-After")
        retry_after = retry_after_seconds(header, datetime.now(UTC))
        return Answer(response.status_code, response.content, retry_after, response.headers.get("ETag"))

    def close(self) -> None:
        """Send the ends of holds that got no answer once more, and close the connections; raises NotEnded."""
        if self._http.is_closed:
            return
        self.heartbeat.close()
        try:
            self._travel.close()
            left = self.outbox.close()
        finally:
            self._http.close()
            if self._listening is not None:
                self._listening.close()
        if left.unanswered or left.refused:
            raise NotEnded(left.unanswered, left.refused)


def _read(outcome: Answer | NoAnswer, request: ApiRequest) -> Fields:
    try:
        return outcome.read()
    except (Unreachable, Unavailable) as error:
        error.idempotency_key = request.idempotency_key
        raise
