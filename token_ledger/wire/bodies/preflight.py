"""The body of a preflight: planned calls."""

from typing import Annotated

from pydantic import Field, StrictInt

from token_ledger.wire.bodies.reservations import A_CALL, CallBody
from token_ledger.wire.fields import Body, doc


class PlannedCallBody(CallBody):
    """One kind of planned call, and how many of it."""

    count: Annotated[StrictInt, Field(ge=1, le=1_000), doc("How many calls of this kind are planned.", 10)] = 1


class PreflightBody(Body):
    """Ask whether planned calls would fit, one after the other. Nothing is held."""

    calls: Annotated[
        tuple[PlannedCallBody, ...],
        Field(min_length=1, max_length=64),
        doc("Planned calls in their order, at most 1,000 in all.", [{**A_CALL, "count": 10}]),
    ]
