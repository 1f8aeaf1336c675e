"""Which models a command lists: all, or those that its options name."""

import argparse
from collections.abc import Callable

from token_ledger.cli.command_rows import Argument
from token_ledger.core.model.name_patterns import ANYTHING, Names
from token_ledger.storage.published_prices import provider_named

MODELS = Argument(
    name="models", optional=True, example="openai/gpt-5*",
    help="models of this provider, of this name, or provider/name; `*` in the name stands for anything",
)  # fmt: skip
OF_PROVIDER = Argument(name="--provider", example="openai", help="models of this provider only")
OF_NAME = Argument(
    name="--model", example="gpt-5*", help="models of this name only; `*` stands for anything"
)  # fmt: skip


def model_filter(options: argparse.Namespace) -> Callable[[str, str], bool]:
    """Return what tells whether the options are about a model of a provider."""
    provider = None if options.provider is None else provider_named(options.provider)
    is_named = _names(options.model or ANYTHING)
    if options.models is None:
        return lambda owner, model: provider in (None, owner) and is_named(model)
    owner_asked, slash, rest = options.models.partition("/")
    owner_asked, is_asked_for = provider_named(owner_asked), _names(rest if slash else options.models)

    def is_wanted(owner: str, model: str) -> bool:
        is_asked = (
            owner == owner_asked and is_asked_for(model) if slash else owner == owner_asked or is_asked_for(model)
        )
        return is_asked and provider in (None, owner) and is_named(model)

    return is_wanted


def _names(pattern: str) -> Callable[[str], bool]:
    names: Names[bool] = Names()
    names.put("", pattern, True)
    return lambda model: bool(names.find("", model.casefold()))
