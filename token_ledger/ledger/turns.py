"""Owns whose turn it is to be worked on: between two looks at the network, a process begins a few pieces of work.

A piece is a request, or a part of a long list. Tenants take turns, so one with a thousand requests delays another's by
the pieces of one round and not by all of them.
"""

import asyncio
from collections import deque

from token_ledger.core.model.tenant import TenantId

PIECES_OF_A_ROUND = 8
"""How many pieces begin in one round of the event loop; each takes up to about a millisecond."""


class Turns:
    """The tenants that wait for their turn, the pieces of each in their order."""

    def __init__(self, pieces: int = PIECES_OF_A_ROUND) -> None:
        self._pieces = pieces
        self._left = pieces
        self._waiting: dict[TenantId, deque[asyncio.Future[None]]] = {}
        self._is_counting = False

    async def take(self, tenant: TenantId) -> None:
        """Return when it is this tenant's turn."""
        if self._left and not self._waiting:
            self._left -= 1
            self._count()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._count()
        await turn

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._left = self._pieces
        while self._left and self._waiting:
            tenant = next(iter(self._waiting))
            turns = self._waiting.pop(tenant)
            turn = turns.popleft()
            if turns:
                self._waiting[tenant] = turns  # the next turn is another's
            if not turn.done():  # a caller that went away has cancelled it
                turn.set_result(None)
                self._left -= 1
        self._is_counting = False
        if self._waiting or self._left < self._pieces:
            self._count()
