"""What stands in the place of a part of a client that is not guarded."""

from __future__ import annotations

from typing import Any, NoReturn

from .unguarded import SESSION, refuse


def other_side(guarded: str) -> str:
    """Say which of the ledger's clients would guard the other side of a client, one side of which is `guarded`."""
    is_async = guarded.startswith("Async")
    side, other = ("synchronous", "TokenLedger") if is_async else ("asynchronous", "AsyncTokenLedger")
    return f"for {side} calls, wrap the client with the ledger's {other}"


class Withheld:
    """Says, whatever is asked of it, what to do instead; `but` names what may be asked of the part all the same."""

    def __init__(self, advice: str, *, within: str = "", part: object = None, but: tuple[str, ...] = ()) -> None:
        self._advice = advice
        self._within = within
        self._part = part
        self._but = but

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # those who look whether it can be copied, or awaited, ask for these
            raise AttributeError(name)
        if name in self._but:
            return getattr(self._part, name)
        return self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        refuse(f"{self._within}{name}", self._advice)


def without_connections(resource: Any, name: str, *parts: str) -> Any:
    """Return a resource of the openai library; its method `connect`, and those of its parts, say what to do instead."""

    def connect(*_: object, **__: object) -> NoReturn:
        refuse(f"{name}.connect", SESSION)

    resource.connect = connect
    for part in parts:
        without_connections(getattr(resource, part), f"{name}.{part}")
    return resource
