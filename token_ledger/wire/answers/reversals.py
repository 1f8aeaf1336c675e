"""The answer to a reversal."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Reversed
from token_ledger.wire.fields import Replayed, answer, doc, example_of


@answer
class CorrectionAnswer(TypedDict):
    """An event that takes another one back."""

    event_id: Annotated[str, doc("The correction: an event of the opposite amounts.", "68943872")]
    corrects: Annotated[str, doc("The event that it takes back.", "68419584")]


@answer
class ReversalAnswer(TypedDict):
    """What was taken back, as the audit log has it."""

    audit_id: Annotated[str, doc("The entry in the audit log.", "68943873")]
    actor: Annotated[str, doc("Who took it back.", "key:1kQ8vR2mZx0a")]
    key: Annotated[str, doc("The key that it was booked under.", "call-1")]
    source: Annotated[str | None, doc("The source of a recorded event; null for a call with a hold.", None)]
    reason: Annotated[str, doc("Why it was wrong.", "booked on the wrong user")]
    corrections: Annotated[
        list[CorrectionAnswer], doc("One for each event that was booked.", [example_of(CorrectionAnswer)])
    ]
    calls: Annotated[int, doc("What was added to the calls.", -1)]
    tokens: Annotated[int, doc("What was added to the tokens.", -1_440)]
    cost: Annotated[str, doc("What was added to the cost, in dollars.", "-0.006900000")]
    replayed: Replayed


def reversal_answer(outcome: Reversed) -> ReversalAnswer:
    """Return what was taken back."""
    entry, after = outcome.entry, outcome.entry.after
    return {
        "audit_id": str(entry.audit_id),
        "actor": entry.actor,
        "key": entry.target,
        "source": after["source"],
        "reason": after["reason"],
        "corrections": [
            {"event_id": event_id, "corrects": corrected} for event_id, corrected in after["corrections"].items()
        ],
        "calls": after["calls"],
        "tokens": after["tokens"],
        "cost": after["cost"],
        "replayed": outcome.replayed,
    }
