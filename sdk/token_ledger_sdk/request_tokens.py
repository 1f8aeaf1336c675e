"""Counts the input of a request: messages, tools and images, in the shapes of OpenAI's chat and Responses.

Pure: how a text is counted is given. OpenAI does not publish how it writes messages and tools into a prompt; the rules
here are those that its answers show, and a test compares them with recorded ones. Requests of other providers have the
same parts under other names, so they are approximated by the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .image_tokens import image_tokens
from .providers.bodies import member, members

Count = Callable[[str], int]

TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_OF_REPLY = 3
"""What begins the answer; models that reason begin with one token less, and name a channel in each answer."""
TOKENS_OF_A_CHANNEL = 2
TOKENS_OF_TOOLS = 8
"""What frames the list of tools."""
TOKENS_OF_RESPONSES_TOOLS = 210
"""What the Responses API says besides, once there are functions."""
TOKENS_OF_A_CALL = 5
"""What frames an earlier call of a tool, and its result."""
_HOSTED = {"web_search": 10_000, "file_search": 10_000, "code_interpreter": 1_600, "computer": 1_600}
"""What tools that run at the provider usually add to the input, by the start of their type."""
_REASONING = ("gpt-5", "o1", "o3", "o4", "gpt-oss")
_HIDDEN = frozenset({"encrypted_content", "id", "call_id", "tool_call_id", "status", "type", "role", "name"})
_BYTES = frozenset({"data", "file_data", "image_url", "file_id", "url"})
DEEPEST = 20
"""How many objects are read within each other; of what is deeper, the texts are counted, and not what they are for."""
TOKENS_OF_A_FILE = 1_500
"""What a file is taken for, whose pages can't be seen here."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of a request's input, and whether they are surely all and no more."""

    tokens: int
    exact: bool = True

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.tokens + other.tokens, self.exact and other.exact)


NOTHING = Counted(0)


def count_chat(messages: Sequence[object], tools: Sequence[object], count: Count, model: str) -> Counted:
    """Count messages and tools as the chat API takes them."""
    reply = Counted(TOKENS_OF_REPLY - _reasons(model))
    return sum((_count_message(each, count, model) for each in messages), start=reply) + count_tools(tools, count)


def count_responses(given: object, instructions: object, tools: Sequence[object], count: Count, model: str) -> Counted:
    """Count the input, instructions and tools of the Responses API; `given` is a text or a list of items."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else members(given)
    first = [{"role": "developer", "content": instructions}] if isinstance(instructions, str) else []
    more = TOKENS_OF_RESPONSES_TOOLS if any(_function_of(each) is not None for each in tools) else 0
    return count_chat([*first, *items], tools, count, model) + Counted(more, exact=not more)


def characters_of(value: object, depth: int = 0) -> int:
    """Return about how many characters a request has, which says how long it takes to count them."""
    if isinstance(value, str):
        return len(value)
    if depth > DEEPEST:
        return sum(map(len, texts_within(value)))
    return sum(characters_of(each, depth + 1) for each in _parts_of(value))


def texts_within(value: object) -> Iterator[str]:
    """Yield the texts of a value, however deep they are; of one that is within itself, not again.

    It does not call itself: what a tool answers may be deeper than Python's stack.
    """
    path: dict[int, Iterator[object]] = {0: iter((value,))}
    while path:
        for each in path[next(reversed(path))]:
            if isinstance(each, str):
                yield each
            elif id(each) not in path and (parts := _parts_of(each)):
                path[id(each)] = iter(parts)
                break
        else:
            path.popitem()


def _parts_of(value: object) -> Collection[object]:
    if isinstance(value, dict):  # asking whether it is any Mapping takes ten times as long
        return value.values()
    return value.values() if isinstance(value, Mapping) else members(value)


def _reasons(model: str) -> bool:
    return model.lower().rpartition("/")[2].startswith(_REASONING)


def _count_message(message: object, count: Count, model: str) -> Counted:
    kind = member(message, "type")
    if kind == "reasoning":
        return NOTHING  # earlier reasoning is not read again
    counted = Counted(TOKENS_PER_MESSAGE + 1)  # every role is one token
    if member(message, "role") == "assistant" and _reasons(model):
        counted += Counted(TOKENS_OF_A_CHANNEL)
    if isinstance(kind, str) and kind != "message":
        counted += Counted(TOKENS_OF_A_CALL, exact=False)
    name = member(message, "name")
    if isinstance(name, str):
        counted += Counted(count(name) + TOKENS_PER_NAME)
    if isinstance(message, Mapping):
        for key, value in message.items():
            if key not in _HIDDEN:
                counted += _count_part(key, value, count, model)
    return counted


def _count_part(key: str, value: object, count: Count, model: str, depth: int = 0) -> Counted:
    if isinstance(value, str):
        return Counted(TOKENS_OF_A_FILE, exact=False) if key in _BYTES else Counted(count(value))
    if depth > DEEPEST:
        return Counted(count("\n".join(texts_within(value))), exact=False)
    if isinstance(value, Mapping):
        return _count_object(value, count, model, depth + 1)
    return sum((_count_part(key, each, count, model, depth + 1) for each in members(value)), start=NOTHING)


def _count_object(part: Mapping[str, Any], count: Count, model: str, depth: int) -> Counted:
    kind = part.get("type")
    if kind in ("image_url", "input_image", "image"):
        return _count_image(part, model)
    if kind in ("input_audio", "file", "input_file", "document"):
        return Counted(TOKENS_OF_A_FILE, exact=False)
    if kind == "function" and "function" in part:  # a call of a tool, in an earlier answer
        function = part["function"]
        texts = (member(function, "name"), member(function, "arguments"))
        return Counted(sum(count(text) for text in texts if isinstance(text, str)) + TOKENS_PER_MESSAGE, exact=False)
    return sum(
        (_count_part(key, value, count, model, depth) for key, value in part.items() if key not in _HIDDEN),
        start=NOTHING,
    )


def _count_image(part: Mapping[str, Any], model: str) -> Counted:
    image = part.get("image_url") or part.get("source") or part
    detail = member(image, "detail") or part.get("detail") or "auto"
    address = image if isinstance(image, str) else (member(image, "url") or member(image, "data") or "")
    tokens, exact = image_tokens(str(address), str(detail), model)
    return Counted(tokens, exact)


def count_tools(tools: Sequence[object], count: Count) -> Counted:
    """Count the definitions of tools, and what those usually add that run at the provider."""
    functions = [function for each in tools if (function := _function_of(each)) is not None]
    hosted = Counted(sum(map(_hosted, tools)), exact=len(functions) == len(tools))
    if not functions:
        return hosted
    text = "\n\n".join(_declared(function) for function in functions)
    return hosted + Counted(TOKENS_OF_TOOLS + count(f"namespace functions {{\n\n{text}\n\n}} // namespace functions"))


def _function_of(tool: object) -> Mapping[str, Any] | None:
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) and isinstance(function.get("name"), str) else None


def _hosted(tool: object) -> int:
    kind = member(tool, "type")
    return next((more for name, more in _HOSTED.items() if isinstance(kind, str) and kind.startswith(name)), 0)


def _declared(function: Mapping[str, Any]) -> str:
    """Write a tool as the declaration of a type, which is how models see it."""
    lines = _comment(function.get("description"))
    parameters = function.get("parameters") or function.get("input_schema") or {}
    if member(parameters, "properties"):
        body = "\n".join(_properties(parameters, 0))
        lines.append(f"type {function['name']} = (_: {{\n{body}\n}}) => any;")
    else:
        lines.append(f"type {function['name']} = () => any;")
    return "\n".join(lines)


def _properties(schema: Any, depth: int) -> list[str]:
    required = members(member(schema, "required"))
    lines: list[str] = []
    properties = member(schema, "properties")
    for name, each in properties.items() if isinstance(properties, Mapping) else ():
        lines += _comment(member(each, "description"))
        mark = "" if name in required else "?"
        lines.append(f"{name}{mark}: {_type_of(each, depth)},")
    return lines


def _comment(text: object) -> list[str]:
    return [f"// {text.rstrip()}"] if isinstance(text, str) and text else []


def _type_of(schema: object, depth: int) -> str:
    if depth > DEEPEST or not isinstance(schema, Mapping):
        return "any"
    if isinstance(schema.get("enum"), list):
        return " | ".join(json.dumps(each) for each in schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(str(each) for each in kind)
    if kind == "array":
        return f"{_type_of(schema.get('items'), depth + 1)}[]"
    if kind == "object":
        return "\n".join(["{", *_properties(schema, depth + 1), "}"]) if schema.get("properties") else "object"
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(name), list):
            return " | ".join(_type_of(each, depth + 1) for each in schema[name])
    return {"integer": "number", "null": "null"}.get(str(kind), str(kind or "any"))
