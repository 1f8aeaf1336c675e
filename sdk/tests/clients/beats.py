"""What runs in the background of a client, by a clock that tests set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Beats:
    """The background, which a test makes run: it keeps what is to be done later, and when."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.later: list[tuple[float, Callable[[], Any]]] = []

    def __call__(self) -> float:
        return self.now

    def run_later(self, seconds: float, do: Callable[[], Any]) -> Callable[[], None]:
        entry = (self.now + seconds, do)
        self.later.append(entry)
        return lambda: self.later.remove(entry) if entry in self.later else None

    def _due(self, seconds: float) -> list[Callable[[], Any]]:
        self.now += seconds
        due = [do for at, do in self.later if at <= self.now]
        self.later = [entry for entry in self.later if entry[0] > self.now]
        return due

    def pass_seconds(self, seconds: float) -> None:
        for do in self._due(seconds):
            do()

    async def pass_seconds_async(self, seconds: float) -> None:
        for do in self._due(seconds):
            await do()
