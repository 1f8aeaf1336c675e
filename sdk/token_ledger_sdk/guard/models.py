"""What the service knows of models, kept on disk with the tag of each answer, so that asking again takes few bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from ..cache_home import cache_directory, write_whole
from ..errors import InvalidAnswer
from ..wire.fields import Fields

FRESH_SECONDS = 300.0
"""For how long what is kept is believed without asking whether it has changed."""
_MOST_KEPT = 500


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model; None where nobody says it."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[str, ...] = ()


NOTHING_KNOWN = ModelFacts()


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The service's answer about one model, with its tag and when it was last confirmed."""

    body: Mapping[str, Any]
    tag: str | None
    confirmed: float

    def facts(self) -> ModelFacts:
        """Read the facts; a model that is not on the list has none."""
        try:
            models = Fields(self.body, "models").children("models")
            return models[0].read(ModelFacts) if models else NOTHING_KNOWN
        except InvalidAnswer:
            return NOTHING_KNOWN


class ModelCache:
    """Answers about models of one tenant, in a file that processes share; a file that can't be read is an empty one.

    `owner` tells tenants and services apart; only its hash is in the name of the file.
    """

    def __init__(self, owner: str, *, directory: Path | None = None, clock: Callable[[], float] = time) -> None:
        self._owner = owner
        self._directory = directory
        self._clock = clock
        self._kept: dict[str, KeptAnswer] | None = None

    def find(self, provider: str, model: str) -> KeptAnswer | None:
        """Return what is kept of a model, however old it is."""
        return self._all().get(f"{provider}/{model}")

    def is_fresh(self, kept: KeptAnswer | None) -> bool:
        """Whether an answer was confirmed a short while ago."""
        return kept is not None and 0 <= self._clock() - kept.confirmed < FRESH_SECONDS

    def keep(self, provider: str, model: str, body: Mapping[str, Any], tag: str | None) -> KeptAnswer:
        """Keep an answer that came now, also on disk."""
        answer = KeptAnswer(body, tag, self._clock())
        kept = self._all()
        kept.pop(f"{provider}/{model}", None)
        kept[f"{provider}/{model}"] = answer
        for name in [*kept][:-_MOST_KEPT]:
            del kept[name]
        self._write(kept)
        return answer

    def _all(self) -> dict[str, KeptAnswer]:
        if self._kept is None:
            self._kept = self._read()
        return self._kept

    def _path(self) -> Path:
        if self._directory is None:
            self._directory = cache_directory("models")
        return self._directory / f"{hashlib.sha256(self._owner.encode()).hexdigest()[:32]}.json"

    def _read(self) -> dict[str, KeptAnswer]:
        try:
            stored = json.loads(self._path().read_bytes())
            return {name: KeptAnswer(each["body"], each["tag"], each["confirmed"]) for name, each in stored.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _write(self, kept: Mapping[str, KeptAnswer]) -> None:
        stored = {
            name: {"body": each.body, "tag": each.tag, "confirmed": each.confirmed} for name, each in kept.items()
        }
        try:
            write_whole(self._path(), json.dumps(stored).encode())
        except OSError:
            return  # a full disk costs a question to the service, not the call
