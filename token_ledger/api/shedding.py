"""Tells how much a request asks for, from what is known before its body is parsed, so that a flood is refused cheaply.

What reports spend or gives room back is never refused as early as what asks for something new: of a list with any of
it, each operation is decided for itself.
"""

import re
from typing import Final

from token_ledger.api.routes import leases, reservations

OPERATIONS: Final = "/v1/operations"
BYTES_OF_AN_OPERATION: Final = 160
"""The least bytes that an operation in a list usually has."""
BYTES_OF_AN_EVENT: Final = 200
"""The same of an event, which says all of its call."""
_LISTS: Final = {OPERATIONS: BYTES_OF_AN_OPERATION, "/v1/events": BYTES_OF_AN_EVENT, "/v1/usage": BYTES_OF_AN_EVENT}
_ASKING: Final = frozenset({reservations.RESERVE.path, leases.LEASE.path, "/v1/preflight", "/v1/runs"})
_REPORT: Final = re.compile(rb'"op"\s*:\s*"(?!reserve"|lease")')
"""The start of an operation that may report something."""
_ONLY_ASKS: Final = re.compile(rb'\{"operations": ?\[(?:\{"op": ?"(?:reserve|lease)"[^{]*+)*+')
"""A list that only asks, as most clients write it: this tells in two thirds of the time."""


def operations_in(path: str, body_bytes: int) -> int:
    """Return about how many operations a body of a size has."""
    bytes_of_one = _LISTS.get(path)
    return 1 if bytes_of_one is None else max(1, body_bytes // bytes_of_one)


def only_asks(path: str, body: bytes) -> bool:
    """Return whether a request asks for new holds, plans or runs and reports nothing."""
    if path == OPERATIONS:
        return _ONLY_ASKS.fullmatch(body) is not None or _REPORT.search(body) is None
    return path in _ASKING
