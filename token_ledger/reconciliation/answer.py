"""Describes a reconciliation as the API answers it: what `tables` makes of it, and what was booked."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.reconciliation.compare import Reconciliation
from token_ledger.reconciliation.tables import data_of
from token_ledger.wire.fields import Replayed, answer, doc, example_of


@answer
class ReasonAnswer(TypedDict):
    """A probable reason why a bill and the ledger differ."""

    cause: Annotated[str, doc("What it is.", "untracked calls")]
    amount: Annotated[str, doc("What of the difference it explains, in dollars.", "1.250000000")]
    detail: Annotated[str, doc("What is known of it; empty if nothing is.", "500,000 tokens")]


@answer
class CellAnswer(TypedDict):
    """A bill and the ledger, on one day, for one model or item that is none, and one project."""

    day: Annotated[str, doc("The day, of UTC.", "2026-11-02")]
    provider: Annotated[str, doc("The provider, by its name in the books.", "openai")]
    model: Annotated[str, doc("The model, by its name in the books; empty for what is none.", "gpt-5.4")]
    item: Annotated[str, doc("What is charged where it is no model; else empty.", "")]
    project: Annotated[str, doc("The project; empty where none is said or asked for.", "")]
    billed: Annotated[str, doc("What the bill says, in dollars.", "4.750000000")]
    ledger: Annotated[str, doc("What the ledger has, in dollars, with what was booked of bills.", "3.500000000")]
    difference: Annotated[str, doc("What the bill has more, in dollars.", "1.250000000")]
    capture_rate: Annotated[
        str, doc("The ledger's part of the bill's tokens, or of its dollars; empty of nothing.", "0.6875")
    ]
    billed_tokens: Annotated[int, doc("Tokens on the bill.", 1_600_000)]
    ledger_tokens: Annotated[int, doc("Tokens in the ledger.", 1_100_000)]
    ledger_at_list_prices: Annotated[str, doc("What the ledger has, at list prices, in dollars.", "3.500000000")]
    events: Annotated[int, doc("Events in the ledger.", 1)]
    unpriced: Annotated[int, doc("How many of them have no known price, or not for all.", 0)]
    corrections: Annotated[int, doc("How many of them take back or re-cost others.", 0)]
    reasons: Annotated[list[ReasonAnswer], doc("Why both differ.", [example_of(ReasonAnswer)])]


@answer
class ReconciliationAnswer(TypedDict):
    """A bill against the ledger; after a booking, with what was booked."""

    billed: Annotated[str, doc("What the bill says, in dollars.", "4.750000000")]
    ledger: Annotated[str, doc("What the ledger has, in dollars.", "3.500000000")]
    difference: Annotated[str, doc("What the bill has more, in dollars.", "1.250000000")]
    reasons: Annotated[
        dict[str, str], doc("What each cause explains in all, in dollars.", {"untracked calls": "1.250000000"})
    ]
    hours_ahead_of_utc: Annotated[
        dict[str, float], doc("By how much the days of the bill are ahead of UTC, by provider.", {"openai": 0.0})
    ]
    cells: Annotated[list[CellAnswer], doc("By day, model and project.", [example_of(CellAnswer)])]
    booked: Annotated[int, doc("How many adjustments were booked.", 0)]
    replayed: Replayed


def reconciliation_answer(found: Reconciliation, booked: int, *, replayed: bool) -> ReconciliationAnswer:
    """Return a reconciliation."""
    said: ReconciliationAnswer = {**data_of(found), "booked": booked, "replayed": replayed}  # type: ignore[typeddict-item]
    return said
