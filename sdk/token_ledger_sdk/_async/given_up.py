"""Gives back, in the background, what callers were granted who had gone before the answer came."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable

from ..errors import InvalidAnswer
from ..outage import is_retryable
from ..unsettled import retry_pause_seconds
from ..waiting_async import run_later_async
from ..wire.answers import Answer, NoAnswer
from ..wire.requests import ApiRequest
from ..wire.reservations import Reservation, release_request

_REASON = "its caller had gone"
_USUAL_SECONDS = 300
_MOST_KEPT = 10_000


class AsyncGivenUp:
    """Releases holds that nobody uses; a reserve without an answer is sent again, with its key, to learn of its hold.

    Nothing is spent, so it is only tried until such a hold has expired by itself, and of 10,000 at a time. On trio,
    where nothing runs in the background, all of it waits for `close`.
    """

    def __init__(
        self,
        exchange: Callable[[ApiRequest], Awaitable[Answer | NoAnswer]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._lock = threading.Lock()  # never held while waiting
        self._kept: dict[str, tuple[ApiRequest, float]] = {}
        self._call_off: Callable[[], None] | None = None
        self._rounds = 0
        self._is_closed = False

    def keep(self, request: ApiRequest, outcome: Answer | NoAnswer | None) -> None:
        """Give back what a reserve was granted, by its outcome, None if that is not known; any other needs nothing."""
        if request.operation is None or request.operation.op != "reserve" or request.idempotency_key is None:
            return
        following = _following(request, outcome)
        if following is None:
            return
        lasts = json.loads(request.content or b"{}").get("ttl_seconds", _USUAL_SECONDS)
        with self._lock:
            if len(self._kept) < _MOST_KEPT:
                self._kept[request.idempotency_key] = following, self._clock() + lasts
        is_known = following is not request
        self._send_later(0.0 if is_known else retry_pause_seconds(1))

    async def close(self) -> None:
        """Give back what is kept, as far as the service answers now."""
        with self._lock:
            self._is_closed = True
            call_off, self._call_off = self._call_off, None
        if call_off is not None:
            call_off()
        await self._send_all()

    def _send_later(self, seconds: float) -> None:
        with self._lock:
            if self._call_off is None and not self._is_closed and self._kept:
                self._call_off = run_later_async(seconds, self._send_now)

    async def _send_now(self) -> None:
        await self._send_all()
        with self._lock:
            self._call_off = None
        self._send_later(retry_pause_seconds(self._rounds))

    async def _send_all(self) -> None:
        """Send what is kept until one gets no answer: then the others would get none either."""
        with self._lock:
            kept = [*self._kept.items()]
        for key, (request, until) in kept:
            following: ApiRequest | None = request
            while following is not None and self._clock() < until:
                outcome = await self._exchange(following)
                if is_retryable(outcome):
                    self._rounds += 1
                    with self._lock:
                        self._kept[key] = following, until
                    return
                self._rounds = 0
                following = _following(following, outcome)
            with self._lock:
                self._kept.pop(key, None)


def _following(request: ApiRequest, outcome: Answer | NoAnswer | None) -> ApiRequest | None:
    """Return what is to be sent so that nothing stays held: the same again, a release, or None."""
    if outcome is None or is_retryable(outcome):
        return request
    if not isinstance(outcome, Answer) or not outcome.is_good or request.operation is None:
        return None
    if request.operation.op != "reserve":
        return None
    try:
        granted = outcome.read().read(Reservation)
    except InvalidAnswer:
        return None
    return release_request(granted.reservation_id, _REASON) if granted.state == "held" else None
