"""Says whose a model is, where an export names the model only, perhaps with the provider before it."""

from functools import lru_cache

from token_ledger.storage.published_prices import resolve_alias


@lru_cache(4096)
def provider_and_model(name: str) -> tuple[str | None, str]:
    """Return the provider of a model and its name there: `openai/gpt-5.4` says both, of `gpt-5.4` the price data knows.

    None for a model that nobody knows.
    """
    provider, found, model = name.partition("/")
    if found and provider and model:
        return provider, model
    known = resolve_alias("", name)
    return (None if known is None else known[0]), name
