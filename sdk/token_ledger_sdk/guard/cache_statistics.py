"""How often answers of tools came from the cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What became of calls of cached tools.

    `hits` were answered from the cache, `joined` by the same call that was under way, `misses` called the tool. Answers
    that were `stored` were in the cache; `stale` ones were not, as a write had come meanwhile; `invalidated` ones were
    removed by a write.
    """

    hits: int = 0
    joined: int = 0
    misses: int = 0
    stored: int = 0
    stale: int = 0
    invalidated: int = 0

    @property
    def hit_rate(self) -> float:
        """The part of the calls that did not call the tool, from 0 to 1."""
        calls = self.hits + self.joined + self.misses
        return (self.hits + self.joined) / calls if calls else 0.0
