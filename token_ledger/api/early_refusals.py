"""Refuses lists of operations of a key whose room is full, before anything is done for them that costs much.

Such a list is refused as the door would refuse it, at a fraction of the cost, so that a client that sends lists as fast
as they are refused leaves the processor to those that were let in.
"""

import time
from collections.abc import Sequence
from typing import Final

from token_ledger.api.access import bearer
from token_ledger.api.measuring import UNKNOWN_ROUTE
from token_ledger.api.shedding import OPERATIONS, only_asks, operations_in
from token_ledger.identity.authentication import Authenticator
from token_ledger.ledger.waiting_room import Room
from token_ledger.observability.metrics import Metrics

NO_ROOM_SECONDS: Final = 0.032
"""How long it takes to be told that there is no room. A client that sends again at once, whatever Retry-After says,
does so no more than 31 times a second on each of its connections."""
MOST_BYTES: Final = 131_072
"""The longest list that is refused so: the ledger's largest batch has half of it."""
MOST_BYTES_TOGETHER: Final = 16 * 1_048_576
_PATH: Final = OPERATIONS.encode()


class EarlyRefusals:
    """What is under way of lists that may be refused."""

    def __init__(self, authenticator: Authenticator, room: Room, metrics: Metrics) -> None:
        self._authenticator = authenticator
        self._room = room
        self._metrics = metrics
        self._bytes = 0

    def begin(self, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> int:
        """Return how many bytes of a body to wait for, because it may have to be refused; 0 if it is let pass."""
        if url != _PATH:
            return 0
        found = dict(reversed(headers))  # of a header that comes twice, the first counts
        size = int(found.get(b"content-length", b"0"))
        if not 0 < size <= MOST_BYTES or self._bytes + size > MOST_BYTES_TOGETHER or b"expect" in found:
            return 0
        caller = self._authenticator.remembered(bearer(found.get(b"authorization", b"").decode("latin-1")))
        if caller is None:
            return 0
        operations = operations_in(OPERATIONS, size)
        if self._room.why_full(caller.tenant, caller.key_id, asking=True, operations=operations) is None:
            return 0
        self._bytes += size
        return size

    def end(self, size: int) -> None:
        """Note that a body is waited for no longer."""
        self._bytes -= size

    def refuses(self, body: bytes, began: float) -> bool:
        """Return whether a list that began to come at an instant of `time.perf_counter` is refused, and count it."""
        if not only_asks(OPERATIONS, body):
            return False
        seconds = time.perf_counter() - began
        self._metrics.http_request_seconds(UNKNOWN_ROUTE, "POST", "503").observe(seconds)
        return True
