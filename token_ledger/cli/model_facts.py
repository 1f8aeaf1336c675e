"""The command for what is known of models beside their prices: `prices describe`."""

import argparse
import asyncio

from token_ledger.cli.actor import actor
from token_ledger.cli.connections import named_database, new_idempotency_key
from token_ledger.cli.price_texts import facts_change_words
from token_ledger.cli.prices import read_model
from token_ledger.cli.submission import submit
from token_ledger.config import Settings
from token_ledger.wire.bodies.prices import ModelBody
from token_ledger.wire.commands.prices import set_model_command


def describe_model(settings: Settings, options: argparse.Namespace) -> int:
    """Say what is known of a model, for a tenant."""
    said = {
        "context_tokens": _tokens("context-tokens", options.context_tokens),
        "max_output_tokens": _tokens("max-output-tokens", options.max_output_tokens),
        "capabilities": None if options.capabilities is None else _names(options.capabilities),
        "deprecated": True if options.deprecated else None,
        "end_of_life": options.end_of_life,
    }
    if (all(each is None for each in said.values())) != options.remove:
        raise ValueError("say what is known, such as --end-of-life 2027-03-01, or take back what was said: --remove")
    body = ModelBody.model_validate({"idempotency_key": new_idempotency_key(), **said})
    command = set_model_command(read_model("model", options.model), body, actor())
    with named_database(settings) as url:
        for entry in asyncio.run(submit(url, options.tenant, command)):
            print(f"{options.tenant}: {facts_change_words(entry)}")
    return 0


def _tokens(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise ValueError(f"--{option} {text!r}: write a number of tokens, such as 128000")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
