"""Reads what is known of models beside their prices: what is published, and what the tenant says."""

from collections.abc import Iterable

from token_ledger.core.model.model_facts import NOTHING_KNOWN, ModelFacts
from token_ledger.core.model.price_terms import PriceTerms
from token_ledger.storage.published_prices import deprecated_models
from token_ledger.storage.reads.prices import OWN, StoredPrice


class KnownModels:
    """What is known of the models of entries, by the names of these."""

    def __init__(self, entries: Iterable[StoredPrice], terms: PriceTerms) -> None:
        self._deprecated = deprecated_models()
        self._published: dict[tuple[str, str], ModelFacts] = {}
        for each in entries:
            if each.source != OWN:
                name = each.provider, each.model.casefold()
                before = self._published.get(name, NOTHING_KNOWN)
                self._published[name] = ModelFacts(
                    each.context_tokens or before.context_tokens,
                    deprecated=(each.provider, each.model) in self._deprecated,
                )
        self._own = {(each.provider, each.model.casefold()): each.facts for each in terms.facts}

    def of(self, provider: str, model: str) -> ModelFacts:
        """Return what is known of a model: where the tenant says nothing, what is published."""
        name = provider, model.casefold()
        own = self._own.get(name)
        published = self._published.get(name, NOTHING_KNOWN)
        return published if own is None else own.over(published)
