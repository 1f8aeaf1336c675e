"""Reads genai-prices: what is published as rows of the price book, and which entry a name means.

Its names of kinds and tiers stand here beside ours.
"""

import json
import re
from collections.abc import Iterable
from copy import copy
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any

PUBLISHED = {
    "input": ("input_mtok", None),
    "output": ("output_mtok", None),
    "cache_read": ("cache_read_mtok", "input"),
    "cache_write_5m": ("cache_write_mtok", "input"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_5m"),
    "reasoning": ("output_reasoning_mtok", "output"),
}
"""Every kind's name in genai-prices, and the kind whose rate it has where it has none of its own."""
PUBLISHED_OTHERS = {
    "audio_cache_read": ("cache_audio_read_mtok", "cache_read"),
    "image_cache_read": ("cache_image_read_mtok", "cache_read"),
    "audio_input": ("input_audio_mtok", "input"),
    "image_input": ("input_image_mtok", "input"),
    "video_input": ("input_video_mtok", "input"),
    "audio_output": ("output_audio_mtok", "output"),
    "image_output": ("output_image_mtok", "output"),
    "video_output": ("output_video_mtok", "output"),
    "citation": ("output_citation_mtok", "output"),
    "web_searches": ("web_searches_kcount", None),
    "file_searches": ("storage_searches_kcount", None),
    "pages": ("input_document_kpages", None),
    "annotated_pages": ("input_annotated_document_kpages", None),
    "characters": ("input_mchars", None),
    "messages": ("input_text_messages_kcount", None),
    "audio_seconds": ("input_audio_hours", None),
    "requests": ("requests_kcount", None),
}
"""The same for other kinds. The publisher's rule for tokens that have no rate of their own: the rate of their whole."""
PUBLISHED_TIERS = {
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
    ("processing", "batch"): "batch",
}
"""Variants of prices that the publisher has for ways of serving a call."""
PROVIDER_ALIASES = {
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "google-gla": "google",
    "google-vertex": "google",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "aws-bedrock": "aws",
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "mistral_ai": "mistral",
    "openai-codex": "openai",
    "ibm.watsonx.ai": "ibm",
}
"""Provider names of OpenTelemetry, and other common spellings, with the name that the price data uses."""

FINE_TUNED = "ft:"
_DATED = r"(-[0-9]{4}(-?[0-9]{2}-?[0-9]{2})?)?"
"""What OpenAI puts behind a model's name: 0125, 2024-08-06."""

FREE = {"input": "0", "output": "0"}
"""The rates of models that are free by their name: the publisher lists none for some of them."""


def source_name() -> str:
    """Return what entries of the installed price data are marked with."""
    return f"genai-prices {version('genai-prices')}"


def provider_named(provider: str) -> str:
    """Return what the price book calls a provider."""
    name = provider.strip().casefold()
    return PROVIDER_ALIASES.get(name, name)


def deprecated_models() -> frozenset[tuple[str, str]]:
    """Return the models of which their publisher says that they are at the end of their life."""
    from genai_prices.data_snapshot import get_snapshot

    providers = get_snapshot().providers
    return frozenset((owner.id, each.id) for owner in providers for each in owner.models if each.deprecated)


def resolve_alias(provider: str, model: str) -> tuple[str, str] | None:
    """Return the provider and model that the price book lists an alias under, or None if it is unknown.

    Without a provider, the model's name says whose it is.
    Many clients put a vendor, or a kind of thing, before a model's name: openai/gpt-5.4, models/gemini-2.5-pro. If the
    whole name is unknown, the rest is looked up, at the provider and then at that vendor. A response often names the
    day's version of a model, which the publisher may not know yet: then the model without that date is looked up.
    """
    if model.strip().casefold().startswith(FINE_TUNED):
        return _find_fine_tuned(provider_named(provider), model.strip().casefold())
    known = _find_published(provider, model)
    if known is None and (undated := _without_date(model)) is not None:
        known = _find_published(provider, undated)
    vendor, slash, rest = model.partition("/")
    if known is None and slash:
        known = resolve_alias(provider, rest) or resolve_alias(vendor, rest)
    return known


_DATE = re.compile(r"[-@]([0-9]{4})-?([0-9]{2})-?([0-9]{2})$")
"""A date behind a model's name: -2026-03-05, -20260305, @20260305."""


def _without_date(model: str) -> str | None:
    """Return a model's name without the whole date behind it, None if it has none: four digits may be anything."""
    model = model.strip()
    found = _DATE.search(model)
    if found is None:
        return None
    try:
        date(*map(int, found.groups()))
    except ValueError:
        return None
    return model[: found.start()]


def _find_fine_tuned(provider: str, model: str) -> tuple[str, str] | None:
    """Return the entry of fine-tunes of a model (ft:gpt-4o-2024-08-06:acme::1), at the provider or else at OpenAI.

    Without one the name stays unknown: a fine-tune costs more than its base model.
    """
    from genai_prices.data_snapshot import get_snapshot

    base = model.removeprefix(FINE_TUNED).partition(":")[0]
    owners = (owner for wanted in (provider, "openai") for owner in get_snapshot().providers if owner.id == wanted)
    for owner in owners:
        for each in owner.models:
            tuned = each.id.casefold().removeprefix(FINE_TUNED).rstrip("-")
            if each.id.startswith(FINE_TUNED) and re.fullmatch(re.escape(tuned) + _DATED, base):
                return owner.id, each.id
    return None


def _find_published(provider: str, model: str) -> tuple[str, str] | None:
    from genai_prices.data_snapshot import get_snapshot  # takes 0.3 s, and not every process needs it

    model = model.strip()
    provider_id = provider_named(provider) or None
    snapshot = get_snapshot()
    try:
        found, match = snapshot.find_provider_model(model, None, provider_id, None)
    except LookupError:
        return None
    for owner in (found, *snapshot.providers):
        if any(match is candidate for candidate in owner.models):
            return owner.id, match.id
    return None


def published_entries(source: str) -> list[tuple[Any, ...]]:
    """Return the rows of all entries that the installed genai-prices publishes, as `INSERT_PRICES` takes them."""
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import ConditionalPrice, StartDateConstraint

    rows = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            conditional = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
            for ordinal, entry in enumerate(conditional):
                rates = _schedule(entry.prices)
                if rates is None and model.id.endswith(":free"):
                    rates = {"base": dict(FREE)}
                if rates is None:
                    continue
                if served := _service_tiers(entry.prices, model.price_variants or ()):
                    rates["service_tiers"] = served
                starts, daily_from, daily_until = None, None, None
                if ordinal == 0:
                    pass  # the publisher's rule: where no condition holds, the first entry does
                elif isinstance(entry.constraint, StartDateConstraint):
                    starts = datetime.combine(entry.constraint.start_date, time(), UTC)
                elif entry.constraint is not None:
                    daily_from = entry.constraint.start_time.replace(tzinfo=None)
                    daily_until = entry.constraint.end_time.replace(tzinfo=None)
                rows.append(
                    (
                        provider.id, model.id, ordinal, json.dumps(rates), starts, daily_from, daily_until,
                        model.context_window, source,
                    )
                )  # fmt: skip
    return rows


def _schedule(prices: Any) -> dict[str, Any] | None:
    """Return a model's published rates as JSON, decimal strings in dollars, or None if none is published.

    They are for a million tokens or characters, a thousand of what is counted, an hour of audio.
    """
    published = {kind: getattr(prices, name) for kind, (name, _) in (PUBLISHED | PUBLISHED_OTHERS).items()}
    if published["audio_seconds"] is None:  # what models take in has a rate of its own, or that of all audio
        published["audio_seconds"] = prices.audio_hours
    rates = {kind: rate for kind, rate in published.items() if rate is not None}
    if not rates:
        return None
    starts = sorted({tier.start for rate in rates.values() for tier in getattr(rate, "tiers", ())})
    schedule: dict[str, Any] = {"base": {kind: str(_rate_at(rate, None)) for kind, rate in rates.items()}}
    if starts:
        schedule["tiers"] = [
            {"above": start, "rates": {kind: str(_rate_at(rate, start)) for kind, rate in rates.items()}}
            for start in starts
        ]
    return schedule


def _service_tiers(standard: Any, variants: Iterable[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the published rates of ways of serving a call, those from each date on at which one of them changes.

    The publisher's rule: variants are parts, and of those that apply the first one with a rate counts, else `standard`.
    """
    of_tiers: dict[str, list[Any]] = {}
    for variant in variants:
        if is_service_tier(variant):
            [condition] = variant.when.items()
            of_tiers.setdefault(PUBLISHED_TIERS[condition], []).append(variant)
    found: dict[str, list[dict[str, Any]]] = {}
    for tier, of_tier in of_tiers.items():
        for start in sorted({_begins(variant) for variant in of_tier}):
            rates = copy(standard)
            for variant in reversed([variant for variant in of_tier if _begins(variant) <= start]):
                vars(rates).update((name, rate) for name, rate in vars(variant.prices).items() if rate is not None)
            schedule = _schedule(rates)
            if schedule is not None:
                begins = {} if start == date.min else {"valid_from": datetime.combine(start, time(), UTC).isoformat()}
                found.setdefault(tier, []).append({**schedule, **begins})
    return found


def is_service_tier(variant: Any) -> bool:
    """Whether the price book has a variant as rates of a way of serving; what is for some hours only it cannot say."""
    [condition, *more] = variant.when.items()
    return not more and condition in PUBLISHED_TIERS and not hasattr(variant.constraint, "start_time")


def _begins(variant: Any) -> date:
    return date.min if variant.constraint is None else variant.constraint.start_date


def _rate_at(rate: Any, above: int | None) -> Decimal:
    tiers = getattr(rate, "tiers", None)
    if tiers is None:
        return Decimal(rate)
    chosen: Decimal = rate.base
    for tier in tiers:
        if above is not None and tier.start <= above:
            chosen = tier.price
    return chosen
