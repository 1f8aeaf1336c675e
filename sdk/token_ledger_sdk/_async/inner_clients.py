"""Clients of providers that models of a framework have inside: each is guarded once, and none twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .guard import AsyncGuard


class AsyncInnerClients:
    """The guarded copies of the clients that models under one guard call; `wrap` makes one, or raises TypeError."""

    def __init__(self, guard: AsyncGuard, provider: str | None, wrap: Callable[[Any], Any]) -> None:
        self.guard = guard
        self.provider = provider
        self._wrap = wrap
        self._made: dict[int, tuple[Any, Any]] = {}

    def guarded(self, client: object) -> Any | None:
        """Return a client's guarded copy, or itself if it is one; None for one that can't be wrapped."""
        if client is None:
            return None
        if "_ledger_guard" in getattr(client, "__dict__", ()):
            return client
        if id(client) not in self._made:
            try:
                made = self._wrap(client)
            except TypeError:
                return None
            self._made[id(client)] = client, made  # with the client, so that no other one gets its id
        made = self._made[id(client)][1]
        if "_client" in vars(client):
            made._client = vars(client)["_client"]  # a framework gives a client new connections, for another loop
        return made
