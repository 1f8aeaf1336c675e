"""The body of a list of operations."""

from typing import Annotated, Any

from pydantic import Field

from token_ledger.wire.bodies.reservations import A_RESERVATION
from token_ledger.wire.fields import Body, doc
from token_ledger.wire.token_kinds import AN_USAGE


class OperationsBody(Body):
    """Send several operations in one request. One that is malformed fails alone."""

    # Operations are parsed one by one, so that a bad one does not refuse the others.
    operations: Annotated[
        tuple[Any, ...],
        Field(min_length=1, max_length=256),
        doc(
            "1 to 256 operations. Each is the body of its own route with `op` (`reserve`, `lease`, `settle`, "
            "`extend`, `release`, `step` or `event`) and the id that its route has in the path.",
            [{"op": "reserve", **A_RESERVATION}, {"op": "settle", "reservation_id": "68354048", "usage": AN_USAGE}],
        ),
    ]
