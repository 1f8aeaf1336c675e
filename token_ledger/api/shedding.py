"""Tells from a body that is not parsed yet how much that is new it asks for, so that a flood is refused cheaply.

What reports spend or gives room back is never refused unparsed: of a list with any of it, each operation is decided for
itself.
"""

from typing import Final

from token_ledger.api.routes import leases, reservations

OPERATIONS: Final = "/v1/operations"
_ASKING: Final = frozenset({reservations.RESERVE.path, leases.LEASE.path, "/v1/preflight", "/v1/runs"})
_REPORTING: Final = tuple(f'"{op}"'.encode() for op in ("settle", "extend", "release", "step", "event"))


def asked_for(path: str, body: bytes) -> int:
    """Return how many new holds, plans or runs a request asks for at least; 0 if it may report something as well."""
    if path in _ASKING:
        return 1
    if path == OPERATIONS and not any(word in body for word in _REPORTING):
        return body.count(b'"op"')
    return 0
