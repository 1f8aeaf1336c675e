"""Says in one sentence what is wrong with what was given: in a file, as an argument, as a setting."""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from token_ledger.api.wire import Name

_NAME = TypeAdapter[str](Name)


def first_complaint(error: ValidationError) -> str:
    """Return where the first thing is that a value of many parts has wrong, and what would be right."""
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {_what(first)}" if where else _what(first)


def _what(error: Any) -> str:
    given = error["input"]
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "model_type":
            return f"names and values belong here, such as `name: value`, not {_shown(given)}"
        case "string_type" if isinstance(given, int | float):
            return f'{_shown(given)} is no text; write it in quotes, such as "{_shown(given)}"'
    return str(error["msg"])


def _shown(given: Any) -> str:
    if given is None:
        return "nothing"
    return json.dumps(given) if isinstance(given, str | int | float) else f"a {type(given).__name__}"


def checked_name(what: str, text: str) -> str:
    """Return a name as the API takes it; ValueError for any other."""
    try:
        return _NAME.validate_python(text)
    except ValidationError:
        raise ValueError(f"{what} {text!r} must have 1 to 200 characters, all of them printable") from None
