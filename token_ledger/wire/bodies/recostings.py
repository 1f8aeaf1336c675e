"""The body of a re-costing."""

from typing import Annotated

from pydantic import StrictBool

from token_ledger.wire.fields import Body, IdempotencyKey, Instant, Name, Place, doc

PROVIDER = "Only calls of this provider."
MODEL = "Only calls of this model, by its name in the books or as it was called; `*` stands for anything."
SINCE = "Only calls that are posted at this instant or later."
UNTIL = "Only calls that are posted before this instant."
ALSO_PRICED = (
    "Also calls that had a price, as if they were made now: at the price that their model has by now for their instant."
)
AFTER = "Continue where another answer ended: its `next`."


class RecostingBody(Body):
    """Which calls to re-cost; without anything said, all that had no price."""

    idempotency_key: IdempotencyKey
    provider: Annotated[Name | None, doc(PROVIDER, "house")] = None
    model: Annotated[Name | None, doc(MODEL, "summarizer")] = None
    since: Annotated[Instant | None, doc(SINCE, "2026-11-01T00:00:00Z")] = None
    until: Annotated[Instant | None, doc(UNTIL, "2026-12-01T00:00:00Z")] = None
    also_priced: Annotated[StrictBool, doc(ALSO_PRICED, True)] = False
    after: Annotated[Place | None, doc(AFTER, "68419584/summarizer")] = None
