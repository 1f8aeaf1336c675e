"""Lists what genai-prices publishes and the price book does not take over, with why."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from token_ledger.storage.published_prices import (
    PUBLISHED,
    PUBLISHED_OTHERS,
    is_service_tier,
    published_entries,
    source_name,
)

_NAMES = {kind: name for kind, (name, _) in (PUBLISHED | PUBLISHED_OTHERS).items()}
"""What the publisher calls every kind that the price book has rates for."""


class Untaken(NamedTuple):
    """A model of which something published is not taken over."""

    provider: str
    model: str
    why: str


def find_untaken() -> list[Untaken]:
    """Return every model of which a published rate is not in the price book, by name."""
    from genai_prices.data_snapshot import get_snapshot

    taken: dict[tuple[str, str], list[Any]] = {}
    for provider, model, _, rates, *_ in published_entries(source_name()):
        taken.setdefault((provider, model), []).append(json.loads(rates))
    found = []
    for owner in get_snapshot().providers:
        for model in owner.models:
            words = _why(model, taken.get((owner.id, model.id)))
            if words:
                found.append(Untaken(owner.id, model.id, words))
    return sorted(found)


def _why(model: Any, taken: list[Any] | None) -> str:
    """Return what is not taken over of a model, nothing where all is."""
    entries = model.prices if isinstance(model.prices, list) else [model.prices]
    published = {name: rate for each in entries for name, rate in vars(getattr(each, "prices", each)).items()}
    if not published:
        return "" if taken else "no price is published"
    kinds = {kind for rates in taken or () for kind in _keys(rates)}
    taken_over = {name for kind, name in _NAMES.items() if kind in kinds}
    if "audio_seconds" in kinds:  # the rate of all audio stands in where audio that is taken in has none
        taken_over.add("audio_hours")
    left = sorted(published.keys() - taken_over)
    parts = [f"{', '.join(f'{name} {published[name]}' for name in left)}: no rates of this kind"] if left else []
    if taken is None:
        parts = [f"not taken over at all: it is priced by {', '.join(left)}"]
    variants = {
        " and ".join(f"{name} {value}" for name, value in each.when.items())
        for each in model.price_variants or ()
        if not (is_service_tier(each) or _says_nothing_new(each, model))
    }
    if variants:
        parts.append(f"{', '.join(sorted(variants))}: no rates of this way of serving")
    return "; ".join(parts)


def _says_nothing_new(variant: Any, model: Any) -> bool:
    """Whether a variant only has rates that the model has without it, as that of the default tier has."""
    standard = vars(model.prices) if not isinstance(model.prices, list) else {}
    return all(rate is None or standard.get(name) == rate for name, rate in vars(variant.prices).items())


def _keys(value: Any) -> Iterator[str]:
    """Yield the names in nested JSON."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)
