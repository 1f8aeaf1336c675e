"""Writes the table of settings from the fields that read them."""

from collections.abc import Sequence
from typing import Any

from tests.documents.markdown import table
from token_ledger.config import Settings

_DEFAULTS = {"data_dir": "`~/.local/share/token-ledger`"}
"""Defaults that depend on the machine, as they are on most."""


def settings() -> str:
    """Return a row for every setting: its variable, what it means, its default, and what it may be."""
    prefix = Settings.model_config["env_prefix"]
    rows = []
    for name, field in Settings.model_fields.items():
        examples = [f"`{example}`" for example in field.examples or ()]
        rows.append(
            (
                f"`{prefix}{name.upper()}`",
                field.description or "",
                _default(name, field.default),
                _range(field.metadata),
                ", ".join(examples),
            )
        )
    return table(("variable", "meaning", "default", "allowed", "example"), rows)


def _default(name: str, default: Any) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    return "not set" if default is None else f"`{default}`"


def _range(rules: Sequence[Any]) -> str:
    bounds = {
        name: found
        for rule in rules
        for name in ("ge", "le", "pattern")
        if (found := getattr(rule, name, None)) is not None
    }
    if "pattern" in bounds:
        return f"`{bounds['pattern']}`"
    if "le" in bounds:
        return f"{bounds['ge']:,} to {bounds['le']:,}"
    return f"{bounds['ge']:,} or more" if bounds else ""
