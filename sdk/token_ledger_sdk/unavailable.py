"""What a reserve does while the service can't be reached: whether calls are let through unasked, and how many.

Once the service was found away, it is not asked for every call: one call in `PROBE_SECONDS` tries it, and the others
know at once. Any answer of the service, to whatever request, closes the circuit again.

The outbox notes for itself when one attempt had no answer, and sends less often then. That is no reason to let calls
through unasked, which this decides only after all attempts of a reserve.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from .errors import ApiError, LedgerError, Unavailable, Unreachable
from .providers import Usage
from .wire.amounts import to_nanos

PROBE_SECONDS = 2.0
"""So long after a try without an answer the next call tries again."""


@dataclass(frozen=True, slots=True)
class AllowUpTo:
    """Let calls through unasked until they may have used so much since the service was last reached; None: no limit."""

    tokens: int | None = None
    cost_nanos: int | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.cost_nanos is None:
            raise ValueError("allow_up_to needs a limit: give tokens=…, cost=… or both")
        if self.tokens is not None and self.tokens < 0:
            raise ValueError(f"tokens is {self.tokens}: give 0 or more")
        if self.cost_nanos is not None and self.cost_nanos < 0:
            raise ValueError("cost is negative: give 0 or more dollars")


OnUnavailable: TypeAlias = Literal["deny", "allow"] | AllowUpTo


def allow_up_to(*, tokens: int | None = None, cost: Decimal | str | int | None = None) -> AllowUpTo:
    """Return the policy that lets calls through unasked up to so much, in this process and for each outage.

    Each call counts with the most that it may use: its input and its output limit, and with what these cost by what the
    service has told of the model before: the rates of a lease, or a hold that was no smaller. `cost` is in US dollars.
    Raises ValueError without a limit or for a negative one, TypeError for a float, which is not exact.
    """
    if isinstance(cost, float):
        raise TypeError(f'cost is the float {cost!r}: give Decimal("{cost!r}") or a string, which are exact')
    return AllowUpTo(tokens, None if cost is None else to_nanos(Decimal(cost)))


def check_policy(policy: OnUnavailable) -> OnUnavailable:
    """Return a policy; raises ValueError for what is none."""
    if policy in ("deny", "allow") or isinstance(policy, AllowUpTo):
        return policy
    raise ValueError(f'on_unavailable is {policy!r}: give "deny", "allow" or allow_up_to(tokens=…, cost=…)')


def is_outage(error: LedgerError) -> bool:
    """Whether an error says that the service is away; one that only asks for fewer requests (429) is there."""
    if isinstance(error, Unavailable):
        return error.status != 429
    return isinstance(error, Unreachable) and not isinstance(error, ApiError)


class Circuit:
    """Whether the service is away, and how much was let through since; for any number of threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # never held while waiting
        self._probe_at: float | None = None
        self._tokens = self._nanos = 0

    @property
    def is_open(self) -> bool:
        """Whether the service was away when it was last asked."""
        return self._probe_at is not None

    def may_ask(self) -> bool:
        """Whether this call should ask the service: while it is away, one in `PROBE_SECONDS` should."""
        self._check_process()
        with self._lock:
            if self._probe_at is None:
                return True
            if self._clock() < self._probe_at:
                return False
            self._probe_at = self._clock() + PROBE_SECONDS
            return True

    def failed(self) -> None:
        """Note that the service is away."""
        with self._lock:
            self._probe_at = self._clock() + PROBE_SECONDS

    def reached(self) -> None:
        """Note an answer of the service."""
        if self._probe_at is not None or self._tokens or self._nanos:
            with self._lock:
                self._probe_at, self._tokens, self._nanos = None, 0, 0

    def lets_through(self, policy: OnUnavailable, most: Usage, most_nanos: int | None = None) -> bool:
        """Whether a call that may use so much goes on unasked; it is counted if so.

        One whose cost is not known does not, where a policy limits the cost.
        """
        if policy == "deny":
            return False
        tokens, nanos = most.input_tokens + most.output_tokens, most_nanos or 0
        with self._lock:
            if isinstance(policy, AllowUpTo):
                if policy.tokens is not None and self._tokens + tokens > policy.tokens:
                    return False
                if policy.cost_nanos is not None and (most_nanos is None or self._nanos + nanos > policy.cost_nanos):
                    return False
            self._tokens += tokens
            self._nanos += nanos
            return True

    def _check_process(self) -> None:
        if self._process != os.getpid():
            self._begin()
