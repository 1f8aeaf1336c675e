"""Owns what the readers of logs and traces have in common: how what they found becomes the fields of an event.

Logs are written for other purposes, so a name, a tag or an id that the ledger does not take is left out where the call
can do without it.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from token_ledger_sdk.providers import STANDARD

from token_ledger.core.model.name import MOST_CHARACTERS, clean_name
from token_ledger.imports.json_lines import kind_of
from token_ledger.imports.row_keys import key_of_id
from token_ledger.imports.rows import Defaults

_PATH = re.compile(r"[/\\]")
_IN_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
"""What JavaScript writes, which is most instants of logs. The ledger takes it as it is."""
_NUMBERS = (int, float)
_BEYOND = 10**15
_PROVIDERS = (
    ("claude", "anthropic"), ("gpt", "openai"), ("chatgpt", "openai"), ("o1", "openai"), ("o3", "openai"),
    ("o4", "openai"), ("codex", "openai"), ("text-embedding-", "openai"), ("gemini", "google"), ("gemma", "google"),
    ("grok", "x-ai"), ("deepseek", "deepseek"), ("mistral", "mistral"), ("codestral", "mistral"),
    ("magistral", "mistral"), ("devstral", "mistral"), ("glm", "zhipuai"), ("kimi", "moonshotai"),
    ("command", "cohere"), ("sonar", "perplexity"), ("minimax", "minimax"), ("voyage", "voyageai"),
)  # fmt: skip
"""What the names of a provider's models begin with, and the provider by its name in the price data."""


class Malformed(Exception):
    """What was read is not what its kind says; the reader, who knows where, makes an UnreadableFile of it."""


@lru_cache(maxsize=1_000)
def provider_of_model(model: str) -> str | None:
    """Return the provider whose model it is by its name, None if the name does not say it."""
    name = model.lower()
    if "publishers/" in name or "@" in name:  # Vertex AI: claude-opus-4-5@20251101
        return "google"
    if "bedrock" in name or any(f"{vendor}." in name for vendor in ("anthropic", "amazon", "meta", "cohere", "ai21")):
        return "aws"  # Bedrock: eu.anthropic.claude-opus-4-5-20251101-v1:0
    bare = name.rpartition("/")[2]
    return next((provider for begin, provider in _PROVIDERS if bare.startswith(begin)), None)


def key_of(*parts: str) -> str:
    """Return the idempotency key of a call: the ids it is known by, where the ledger takes them as they are."""
    return key_of_id("/".join(parts))


_cleaned = lru_cache(maxsize=1_000)(clean_name)


@lru_cache(maxsize=10_000)
def name_of(text: str | None) -> str | None:
    """Return a text as a name, cut if it is too long; None if it can't be one."""
    if not text:
        return None
    try:
        return clean_name(text[:MOST_CHARACTERS])
    except ValueError:
        return None


def instant_of(text: object, field: str, time_zone: ZoneInfo | None) -> str:
    """Return an instant as an event has it; raises Malformed for none, and for one whose time zone is not known."""
    if not isinstance(text, str):
        raise Malformed(f"{field} is {kind_of(text)}; a call needs an instant such as 2026-11-21T09:30:00Z")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(f"{field} is {text[:40]!r}; write an instant such as 2026-11-21T09:30:00Z") from None
    if at.tzinfo is None:
        if time_zone is None:
            raise Malformed(f"{field} is {text[:40]!r}, without a time zone; say which one is meant")
        at = at.replace(tzinfo=time_zone)
    return text if _IN_UTC.fullmatch(text) else at.isoformat()


def required_name(text: str | None, field: str, advice: str) -> str:
    """Return a name that a call must have; raises Malformed with what would be right."""
    if not text:
        raise Malformed(f"{field} is missing; {advice}")
    try:
        return _cleaned(text)
    except ValueError as error:
        raise Malformed(f"{field} is {text[:40]!r}: {error}; {advice}") from None


def text_in(value: Mapping[str, Any], name: str) -> str | None:
    """Return a text of an object, None for none and for an empty one; raises Malformed for anything else."""
    found = value.get(name)
    if found is None or isinstance(found, str):
        return found or None
    raise Malformed(f"{name} is {kind_of(found)}; it must be a text")


def object_in(value: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return an object within another one, None for none; raises Malformed for anything else."""
    found = value.get(name)
    if type(found) is dict or found is None:
        return found
    raise Malformed(f"{name} is {kind_of(found)}; it must be an object, {{…}}")


def check_counts(usage: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Raise Malformed for a count that is no number, below zero or beyond anything; null is none."""
    for name in names:
        count = usage.get(name)
        if count is not None and not (type(count) in _NUMBERS and 0 <= count < _BEYOND):
            said = "out of range" if type(count) in _NUMBERS else kind_of(count)
            raise Malformed(f"{name} is {said}; it must be a number of 0 or more, below 10^15")


def add_owner(event: dict[str, Any], defaults: Defaults, user: str | None = None) -> None:
    """Add to an event whose call it is: the user that the file names, or the one that was given."""
    if user:
        event["user"] = required_name(user, "the user", "it must be a name")
    elif defaults.user is not None:
        event["user"] = defaults.user
    else:
        raise Malformed("the file does not say for which user this call was made; name one for all of it")
    if defaults.cost_center is not None:
        event["cost_center"] = defaults.cost_center


def add_rare(event: dict[str, Any], *, tier: str, estimated: bool, finish_reason: str | None) -> None:
    """Add to an event what most calls do not have."""
    if tier != STANDARD:
        event["service_tier"] = tier
    if estimated:
        event["estimated"] = True
    if finish_reason and len(finish_reason) <= 64 and finish_reason.isprintable():
        event["measured"] = {"finish_reason": finish_reason}


def tags_of(**tags: str | None) -> dict[str, str]:
    """Return those tags that have a value which can be one."""
    return {name: value for name, text in tags.items() if (value := name_of(text)) is not None}


def folder_name(path: str | None) -> str | None:
    """Return the last name of a path, as either kind of system writes it."""
    return _PATH.split((path or "").rstrip("/\\"))[-1] or None
