# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""What the tools of a client share: cached answers, breakers, and how retries wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..guard.cache_statistics import CacheStatistics
from ..waiting_sync import event_sync, sleep_sync

if TYPE_CHECKING:
    from ..guard.breakers import Breaker

_MOST_RUNS = 10_000


class Toolbox:
    """What tools share that are made with one client, or with several that are given the same toolbox.

    `most_answers` are kept; the least recently used are forgotten first. Tests replace `clock` (seconds, which cached
    answers and breakers go by), `pause` (waits so many seconds before a retry) and `draw` (a random number from 0 to
    1). Raises ConfigurationError if the extra `tools` is not installed.
    """

    def __init__(
        self,
        *,
        most_answers: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = sleep_sync,
        draw: Callable[[], float] = random.random,
    ) -> None:
        try:
            from ..guard import breakers, tool_cache, tool_retries
        except ImportError as error:
            raise ConfigurationError(
                f"tools need {error.name}, which is not installed here: pip install 'token-ledger-sdk[tools]'"
            ) from error
        self.cache: tool_cache.ToolCache[Any] = tool_cache.ToolCache(event_sync, most_answers=most_answers, clock=clock)
        self.pause = pause
        self.waits = tool_retries.waits(draw)
        self.clock = clock
        self._make_breaker = breakers.Breaker
        self._breakers: dict[str, Breaker] = {}
        self._users: dict[tuple[str, str], str] = {}

    def statistics(self, tool: str | None = None) -> CacheStatistics:
        """Return how often the cache answered, for one tool or for all."""
        return self.cache.statistics(tool)

    def breaker_state(self, tool: str) -> str:
        """Return `closed` for a tool that is called, `open` for one that is not, `half_open` where one call may try."""
        breaker = self._breakers.get(tool)
        return "closed" if breaker is None else breaker.state

    def breaker(self, tool: str, *, failures: int, open_seconds: float) -> Breaker:
        """Return the breaker of a tool, which all functions of this name share; the first one says when it opens."""
        made = self._make_breaker(tool, failures=failures, open_seconds=open_seconds, clock=self.clock)
        return self._breakers.setdefault(tool, made)

    def user_of(self, tenant: str, run_id: str) -> str | None:
        """Return whose run this is, if that is known; it never changes."""
        return self._users.get((tenant, run_id))

    def remember_user(self, tenant: str, run_id: str, user: str) -> None:
        """Remember whose run this is, and forget those that were remembered first where there are many."""
        self._users[tenant, run_id] = user
        if len(self._users) > _MOST_RUNS:
            for each in [*self._users][: _MOST_RUNS // 2]:
                self._users.pop(each, None)
