"""Says in one sentence what is wrong with what was given: in a file, as an argument, as a setting."""

import json
from collections.abc import Container
from typing import Any

from pydantic import TypeAdapter, ValidationError

from token_ledger.api.wire import Name
from token_ledger.storage.database import Refusal, refusal_of

_NAME = TypeAdapter[str](Name)


def first_complaint(error: ValidationError) -> str:
    """Return where the first thing is that a value of many parts has wrong, and what would be right."""
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {_what(first)}" if where else _what(first)


def setting_complaint(error: ValidationError, options: Container[str]) -> str:
    """Return which setting is wrong first, by the name that it was given under, and what would be right."""
    first: Any = error.errors()[0]
    name = str(first["loc"][0])
    given = f"--{name.replace('_', '-')}" if name in options else f"TOKEN_LEDGER_{name.upper()}"
    return f"{given}: {_what(first)}"


def database_complaint(error: Exception) -> str | None:
    """Return why the database does not do what it is asked and what to do about it; None for errors of other kinds."""
    refused = refusal_of(error)
    if refused is None:
        return None
    refusal, words = refused
    words = " ".join(words.split())
    match refusal:
        case Refusal.ADDRESS:
            return f"TOKEN_LEDGER_DATABASE_URL can't be used: {words}"
        case Refusal.LOGIN:
            return f"the database refuses: {words}; correct TOKEN_LEDGER_DATABASE_URL, or what its role may do"
        case Refusal.SCHEMA:
            return f"the database lacks this version's schema ({words}); run token-ledger migrate as its owner"
        case Refusal.BUSY:
            return f"the database is busy ({words}); nothing was changed, try again"
        case Refusal.AWAY:
            return f"the database can't be reached: {words}"


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
