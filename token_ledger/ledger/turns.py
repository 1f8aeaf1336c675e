"""Owns whose turn it is to be worked on: between two looks at the network, a process begins little work.

Work is a request, or a part of a long list. Tenants take turns, so one with a thousand requests delays another's by the
work of one round and not by all of it.
"""

import asyncio
from collections import OrderedDict, deque
from weakref import WeakValueDictionary

from token_ledger.core.model.tenant import TenantId

PIECES_OF_A_ROUND = 32
"""How much begins in one round of the event loop: so many requests, or one of `PIECES_OF_A_LIST`."""
PIECES_OF_A_LIST = PIECES_OF_A_ROUND
"""What a part of a list counts for: unlike a request, it does all at once what it has to do in the process."""


class Turns:
    """The tenants that wait for their turn, the work of each in its order."""

    def __init__(self, pieces: int = PIECES_OF_A_ROUND) -> None:
        self._pieces = pieces
        self._left = pieces
        self._waiting: OrderedDict[TenantId, deque[tuple[asyncio.Future[None], int]]] = OrderedDict()
        self._is_counting = False
        self._lists: WeakValueDictionary[TenantId, asyncio.Lock] = WeakValueDictionary()

    def one_list(self, tenant: TenantId) -> asyncio.Lock:
        """Return what a list of a tenant holds while its parts begin, so that those of the next one come after them.

        Otherwise lists that come together would also end together, and each would wait for all.
        """
        lock = self._lists.get(tenant)
        if lock is None:
            lock = self._lists[tenant] = asyncio.Lock()
        return lock

    async def take(self, tenant: TenantId, pieces: int = 1) -> None:
        """Return when it is this tenant's turn to begin so many pieces; the last of a round may be too many."""
        if self._left > 0 and not self._waiting:
            self._left -= pieces
            self._count()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append((turn, pieces))
        self._count()
        await turn

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._left = self._pieces
        while self._left > 0 and self._waiting:
            tenant, turns = self._waiting.popitem(last=False)
            turn, pieces = turns.popleft()
            if turns:
                self._waiting[tenant] = turns  # the next turn is another's
            if not turn.done():  # a caller that went away has cancelled it
                turn.set_result(None)
                self._left -= pieces
        self._is_counting = False
        if self._waiting or self._left < self._pieces:
            self._count()
