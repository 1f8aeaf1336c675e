"""Watches the results of a batch while they are fetched: each line that has a usage is a call that was made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from ..guard.attempts import reading_or_none
from ..guard.context import CallContext
from ..providers import Reading
from ..providers.bodies import text
from ..providers.served import valid_model
from ..wire.events import UsageEvent

SOURCE = "token-ledger-sdk"


@dataclass(frozen=True, slots=True)
class Result:
    """What one line says: the caller's id of the request, and what it used."""

    custom_id: str
    reading: Reading


class WatchedResults:
    """The lines of a file of results, as their bytes pass; what failed in a batch is not charged, and passed over."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._found: list[Result] = []

    def feed(self, data: bytes) -> None:
        """Take in bytes; the library reads them in small pieces."""
        first, *others = data.split(b"\n")
        self._line.append(first)
        for other in others:
            self.end()
            self._line = [other]

    def end(self) -> None:
        """Take in the end of a line, which the last one of a file need not have."""
        self._add(b"".join(self._line))
        self._line = []

    def take(self, at_least: int = 0) -> list[Result]:
        """Return the results that were not taken yet, none if they are fewer."""
        if len(self._found) < at_least:
            return []
        found, self._found = self._found, []
        return found

    def _add(self, line: bytes) -> None:
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError):
            return
        reading = reading_or_none(parsed)
        custom_id = text(parsed, "custom_id")
        if reading is not None and custom_id is not None:
            self._found.append(Result(custom_id, reading))


@dataclass(frozen=True, slots=True)
class ResultEvents:
    """How the results of one batch are reported: whose they are, and of which provider.

    Raises ConfigurationError if nobody has said whose they are.
    """

    context: CallContext
    provider: str
    batch: str

    def __post_init__(self) -> None:
        self.context.scope()
        self.context.required_agent_type()

    def of(self, result: Result) -> list[UsageEvent]:
        """Return the events of one result: its own, and one for each other model that was called within it.

        Their keys are made of the batch and the caller's id, so that results that are fetched again are booked once.
        """
        reading = result.reading
        parts = [reading, *(replace(other, response_id=None) for other in reading.others)]
        return [self._event(part, f"{result.custom_id} {number}") for number, part in enumerate(parts)]

    def _event(self, reading: Reading, name: str) -> UsageEvent:
        scope, said = self.context.scope(), self.context
        key = hashlib.sha256(f"{self.provider} {self.batch} {name}".encode()).hexdigest()[:40]
        return UsageEvent(
            source=SOURCE,
            idempotency_key=f"batch-{key}",
            agent_type=said.required_agent_type(),
            run_id=scope.run_id,
            user=scope.user,
            cost_center=scope.cost_center,
            request_type=said.request_type,
            tags=said.tags or None,
            provider=self.provider,
            model=valid_model(reading.model) or "unknown",
            usage=reading.usage,
            response_id=reading.response_id,
            service_tier="batch",
        )
