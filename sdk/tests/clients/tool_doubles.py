"""What tests of tools need: a toolbox whose clock and pauses are the test's, and what was booked, in short."""

from __future__ import annotations

import json
from typing import Any

from token_ledger_sdk import AsyncToolbox, Toolbox
from token_ledger_sdk.testing import FakeService

from ..conftest import Clock

OURS: Any = {"user": "ada", "agent_type": "data_agent"}


class Waits:
    """How long was waited before retries; no test really waits."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def pause(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def pause_async(self, seconds: float) -> None:
        self.seconds.append(seconds)


def toolbox_of(clock: Clock, waits: Waits) -> Toolbox:
    return Toolbox(clock=clock, pause=waits.pause, draw=lambda: 0.5)


def async_toolbox_of(clock: Clock, waits: Waits) -> AsyncToolbox:
    return AsyncToolbox(clock=clock, pause=waits.pause_async, draw=lambda: 0.5)


def events(service: FakeService) -> list[dict[str, Any]]:
    """Return the events that were sent, without what each has alone."""
    sent = [json.loads(each.content) for each in service.requests if each.url.path.endswith("/operations")]
    told = [event for each in sent for event in each["operations"] if event["op"] == "event"]
    return [{name: value for name, value in event.items() if name not in UNSAID} for event in told]


UNSAID = {"op", "idempotency_key", "source", "user", "run_id", "agent_type", "type", "tool"}


def outcomes(service: FakeService) -> list[tuple[str, str | None, int | None, bool]]:
    """Return outcome, kind of error, retries, and whether it came from the cache, of each event."""
    return [
        (each.get("outcome", "ok"), each["measured"].get("error_kind"), each["measured"].get("retries"),
         each.get("from_cache", False))
        for each in events(service)
    ]  # fmt: skip


OK = ("ok", None, None, False)
CACHED = ("ok", None, None, True)
