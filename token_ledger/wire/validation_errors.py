"""Says in words what is wrong with a value that somebody sent, or wrote in a file or as a setting."""

import json
from typing import Any

from pydantic import ValidationError


def first_error(error: ValidationError) -> str:
    """Return the first thing that is wrong with a value of several parts: where, and what would be right."""
    first: Any = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {what_is_wrong(first)}" if where else what_is_wrong(first)


def what_is_wrong(error: Any) -> str:
    """Return what is wrong with one value, and what would be right."""
    given = error["input"]
    match error["type"]:
        case "model_type":
            return f"expected names and values, such as `name: value`, not {_shown(given)}"
        case "string_type" if isinstance(given, int | float):
            return f'{_shown(given)} is not text; put it in quotes: "{_shown(given)}"'
    return message_of(error)


def message_of(error: Any) -> str:
    """Return the message of one of pydantic's errors, in our own words where we refused the value ourselves.

    What JSON calls an object or an array is called so, also where the text was decoded before it was checked.
    """
    kind = error["type"]
    return str(error["ctx"]["error"] if kind == "value_error" else _IN_JSON.get(kind, error["msg"]))


_OBJECT = "Input should be an object"
_ARRAY = "Input should be a valid array"
_IN_JSON = {"model_type": _OBJECT, "dict_type": _OBJECT, "list_type": _ARRAY, "tuple_type": _ARRAY}


def _shown(given: Any) -> str:
    if given is None:
        return "nothing"
    return json.dumps(given) if isinstance(given, str | int | float) else f"a {type(given).__name__}"
