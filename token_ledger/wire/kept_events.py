"""The form in which quarantine keeps an event that could not be parsed.

JSON that PostgreSQL can store and an answer can show is kept as it is; anything else is kept as text. Neither texts
that the ledger does not ask for, which may be prompts, nor keys and tokens are kept.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

from token_ledger_sdk.providers import chunks_of

from token_ledger.core.model.secrets import without_secrets
from token_ledger.wire.bodies.events import MOST_CHUNKS

DEEPEST = 64
"""Levels of lists and objects. PostgreSQL stores thousands, but FastAPI fails to serialize more than 255."""
LONGEST = 20_000
"""Characters of JSON that are kept of one event."""


LEFT_OUT = "…"
_WRAPPED = ("message", "response", "delta", "metadata")
"""Where the events of Anthropic, of OpenAI's Responses, of Cohere and of Bedrock have their usage."""


def kept_body(event: Any, known: Collection[str]) -> Any:
    """Return an event as quarantine keeps it: as text if it is not storable JSON, and cut if it is too long.

    Of fields that are not `known`, texts are left out; their names and numbers stay, for those who decide on it.
    """
    value = event
    if isinstance(event, dict):
        value = {name: inner if name in known else _without_texts(inner) for name, inner in event.items()}
    text = json.dumps(value)
    if text != (text := without_secrets(text)):
        value = json.loads(text)
    if is_deep(value) or not _is_storable(value, text):
        value = {"as_sent": text}
        text = json.dumps(value)
    return value if len(text) <= LONGEST else {"cut": text[:LONGEST]}


def kept_response(body: Any) -> Any:
    """Return what quarantine keeps of a provider's response, or of the chunks of a stream: what may be its usage."""
    if isinstance(body, dict):
        return _usage_of(body)
    chunks = chunks_of(body, MOST_CHUNKS) if isinstance(body, str) else body
    return [kept for each in chunks if (kept := _usage_of(_object(each)))] if isinstance(chunks, list) else None


def _usage_of(response: dict[str, Any]) -> dict[str, Any]:
    kept = {name: inner for name, inner in response.items() if "usage" in name.lower()}
    # Some events of a stream have their usage in what they wrap.
    inside = {name: _object(response.get(name)).get("usage") for name in _WRAPPED}
    return {**{name: {"usage": usage} for name, usage in inside.items() if usage is not None}, **kept}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _without_texts(value: Any) -> Any:
    """Return JSON with … in place of its texts, and of all of it if it is nested deep."""
    return LEFT_OUT if is_deep(value) else _numbers_of(value)


def _numbers_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers_of(inner) for inner in value]
    return LEFT_OUT if isinstance(value, str) else value


def shown_body(body: Any) -> Any:
    """Return a kept event as answers show it. Earlier versions kept events that are nested too deep for an answer."""
    return {"as_sent": json.dumps(body)} if is_deep(body) else body


def is_deep(value: Any) -> bool:
    """Return whether JSON has more than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for each in level if isinstance(each, dict | list) for inner in _inside(each)]
    return any(isinstance(each, dict | list) for each in level)


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _is_storable(value: Any, text: str) -> bool:
    """Return whether PostgreSQL can store this JSON: no NUL, no unpaired surrogate, no NaN and no Infinity."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return "\\u0000" not in text
