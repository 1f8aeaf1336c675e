"""Decides whether a key sends more requests than it may. What reports spend or gives room back never counts."""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from token_ledger.core.model.principal import Principal
from token_ledger.wire.problems import ProblemError, RequestCode

WINDOW_SECONDS: Final = 10
"""Over how long the rate is an average: a key that was quiet may send as much at once."""
MOST_REMEMBERED: Final = 10_000
_NEVER_COUNTS: Final = re.compile(r"/v1/(reservations/[^/]+/(settle|release)|events|operations)")
"""Of lists of operations, those count that ask for room, each for itself."""

_Caller = tuple[object, ...]


def counts(path: str) -> bool:
    """Return whether a request to a path counts."""
    return _NEVER_COUNTS.fullmatch(path) is None


class RateLimits:
    """How much of their rate callers have used. `per_second` is None where there is no limit."""

    def __init__(self, per_second: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._paid_until: OrderedDict[_Caller, float] = OrderedDict()
        """When each caller will have used nothing again."""

    @property
    def are_set(self) -> bool:
        """Whether there is a limit."""
        return self._per_second is not None

    def take(self, principal: Principal) -> None:
        """Count one request; raise 429 if it is one too many."""
        if self._per_second is None:
            return
        # Not by token, because whoever may make tokens may make many.
        caller = principal.tenant, principal.key_id, principal.person, principal.user, principal.run_id
        now = self._clock()
        paid_until = max(self._paid_until.get(caller, now), now) + 1 / self._per_second
        wait = paid_until - now - WINDOW_SECONDS
        if wait > 0:
            raise _too_many(self._per_second, math.ceil(wait))
        self._paid_until[caller] = paid_until
        self._paid_until.move_to_end(caller)
        while len(self._paid_until) > MOST_REMEMBERED:
            self._paid_until.popitem(last=False)


def _too_many(per_second: int, wait_seconds: int) -> ProblemError:
    """Return the problem, with the headers of draft-ietf-httpapi-ratelimit-headers."""
    headers = {
        "Retry-After": str(wait_seconds),
        "RateLimit-Policy": f'"key";q={per_second * WINDOW_SECONDS};w={WINDOW_SECONDS}',
        "RateLimit": f'"key";r=0;t={wait_seconds}',
    }
    detail = f"this key may send {per_second} requests per second; send this one again in {wait_seconds} s"
    return ProblemError(RequestCode.RATE_LIMITED, detail, headers=headers)
