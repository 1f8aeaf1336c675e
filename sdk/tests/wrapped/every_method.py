"""Calls every method that a client of a library has, with made-up arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

_MADE_UP: Mapping[str, Any] = {
    "file": b"x", "image": b"x", "video": b"x", "recording": b"x", "audio_sample": b"x", "data": b"x", "files": [b"x"],
    "filename": "x", "bytes": 1, "mime_type": "text/plain", "n": 1, "max_tokens": 9, "messages": [],
}  # fmt: skip
_PASSED_OVER = frozenset(
    {"close", "aclose", "copy", "aio", "poller", "worker", "timeout"}
    | {"get", "post", "put", "patch", "delete", "request", "get_api_list"}
)
"""What ends a client, copies it, is called with a path, works until it is stopped, or is no part but a setting.

Whether a class of httpx2, such as that of `timeout`, says that it is the library's depends on what was imported before.
"""


def methods_of(client: Any, library: tuple[str, ...]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the methods of a client and of all its parts, by their whole names, such as `chat.completions.create`."""
    yield from _methods(client, library, "")


def _methods(part: Any, library: tuple[str, ...], within: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    kind = type(part)
    for name in sorted(dir(kind)):
        if name.startswith(("_", "with_")) or (name in _PASSED_OVER and (not within or name in ("poller", "worker"))):
            continue
        static = inspect.getattr_static(kind, name)
        if inspect.isfunction(static):
            yield within + name, getattr(part, name)
        elif hasattr(static, "__get__"):
            with suppress(Exception):
                value = getattr(part, name)
                if type(value).__module__.startswith(library):
                    yield from _methods(value, library, f"{within}{name}.")


def method_named(client: Any, name: str) -> Callable[..., Any]:
    """Return the method of this whole name; raises what a part raises that is not given."""
    found = client
    for part in name.split("."):
        found = getattr(found, part)
    made: Callable[..., Any] = found
    return made


async def call(method: Callable[..., Any], like: Callable[..., Any], made_up: Mapping[str, Any]) -> Exception | None:
    """Call a method with arguments made up for another that is like it; returns the exception that it raises."""
    given = _MADE_UP | made_up
    parameters = [each for each in inspect.signature(like).parameters.values() if each.kind in (0, 1, 3)]
    needed = [each.name for each in parameters if each.default is each.empty or each.name in ("model", "input")]
    error = await _called(method, needed, given)
    if error is not None and "Missing required arguments" in str(error):
        error = await _called(method, [each.name for each in parameters if not each.name.startswith("extra_")], given)
    return error


async def _called(method: Callable[..., Any], names: list[str], given: Mapping[str, Any]) -> Exception | None:
    try:
        made = method(**{name: given.get(name, "made-up") for name in names})
        if hasattr(made, "__await__"):
            made = await made
        if hasattr(made, "__aenter__"):
            async with made:
                pass
        elif hasattr(made, "__enter__"):
            with made:
                pass
        if hasattr(made, "__anext__"):
            await anext(made)
        elif hasattr(made, "__next__"):
            next(made)
    except Exception as error:
        return error
    return None
