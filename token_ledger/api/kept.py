"""Owns the form in which quarantine keeps what could not be read: JSON that PostgreSQL takes and an answer can show.

What is not of that kind is kept as the text that it was sent as.
"""

import json
from collections.abc import Iterable
from typing import Any

DEEPEST = 64
"""Levels of lists and objects. PostgreSQL keeps some thousands, but writing an answer of more than 255 fails."""


def kept_body(value: Any) -> str:
    """Return the JSON of an event that could not be read, cut to what quarantine keeps."""
    text = json.dumps(value)
    if is_deep(value) or not _is_storable(value, text):
        text = json.dumps({"as_sent": text})
    return text if len(text) <= 20_000 else json.dumps({"cut": text[:20_000]})


def shown_body(body: Any) -> Any:
    """Return a kept body as answers show it; those of earlier versions may be nested too deep for one."""
    return {"as_sent": json.dumps(body)} if is_deep(body) else body


def is_deep(value: Any) -> bool:
    """Tell whether JSON has more than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for each in level if isinstance(each, dict | list) for inner in _inside(each)]
    return any(isinstance(each, dict | list) for each in level)


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _is_storable(value: Any, text: str) -> bool:
    """Tell whether PostgreSQL keeps this JSON: it has no NUL, no half of a surrogate pair, no NaN and no Infinity."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return "\\u0000" not in text
