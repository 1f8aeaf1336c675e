"""Owns what is known of a model beside its price: limits, capabilities, and the end of its life; None is not known.

A publisher says some of it. A tenant may say what its publisher does not, or what is otherwise for its deployment.
"""

from dataclasses import fields, replace
from datetime import date
from typing import Any

from token_ledger.core.model.frozen import value


@value
class ModelFacts:
    """What is known of a model. `end_of_life` is the day after which its provider no longer serves it."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[str, ...] | None = None
    deprecated: bool | None = None
    end_of_life: date | None = None

    def over(self, published: "ModelFacts") -> "ModelFacts":
        """Return these facts, with what is published where they say nothing; what has an end is deprecated."""
        said = {name: known for name in _NAMES if (known := getattr(self, name)) is not None}
        if self.end_of_life is not None:
            said.setdefault("deprecated", True)
        return replace(published, **said)


@value
class OwnFacts:
    """What a tenant says of a model; of one model the newest counts. Without facts it says nothing any more."""

    facts_id: int
    provider: str
    model: str
    facts: ModelFacts | None


_NAMES = tuple(each.name for each in fields(ModelFacts))
NOTHING_KNOWN = ModelFacts()


def facts_data(facts: ModelFacts | None) -> dict[str, Any] | None:
    """Return what is known as plain data, None for nothing."""
    if facts is None:
        return None
    known = {name: each for name in _NAMES if (each := getattr(facts, name)) is not None}
    if facts.capabilities is not None:
        known["capabilities"] = list(facts.capabilities)
    if facts.end_of_life is not None:
        known["end_of_life"] = facts.end_of_life.isoformat()
    return known


def facts_from(data: dict[str, Any] | None) -> ModelFacts | None:
    """Read back what is known."""
    if data is None:
        return None
    known = dict(data)
    if "capabilities" in known:
        known["capabilities"] = tuple(known["capabilities"])
    if "end_of_life" in known:
        known["end_of_life"] = date.fromisoformat(known["end_of_life"])
    return ModelFacts(**known)
