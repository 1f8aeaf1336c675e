# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Asks the service what is known of a model, and keeps the answer."""

from __future__ import annotations

from ..errors import LedgerError
from ..guard.models import NOTHING_KNOWN, ModelCache, ModelFacts
from ..wire.models import model_request
from .sender import Sender


class KnownModels:
    """What is known of models: from this process, from disk, or from the service, if what is kept is old."""

    def __init__(self, sender: Sender, cache: ModelCache) -> None:
        self._sender = sender
        self._cache = cache

    def find(self, provider: str, model: str) -> ModelFacts:
        """Return what is known of a model; what is old, or nothing, if the service does not say it."""
        kept = self._cache.find(provider, model)
        if kept is not None and self._cache.is_fresh(kept):
            return kept.facts()
        if self._sender.circuit.is_open:  # a reserve finds out whether the service is back
            return NOTHING_KNOWN if kept is None else kept.facts()
        try:
            answer, tag = self._sender.fetch(model_request(provider, model, None if kept is None else kept.tag))
        except LedgerError:
            # A reserve follows, which says what is wrong.
            return NOTHING_KNOWN if kept is None else kept.facts()
        body = answer.raw if answer is not None else ({} if kept is None else kept.body)
        return self._cache.keep(provider, model, body, tag).facts()
