"""Answers about what could not be booked."""

from typing import Annotated, Any

from typing_extensions import TypedDict

from token_ledger.storage.quarantine import QuarantinedItem, State
from token_ledger.wire.fields import InstantText, Replayed, answer, doc, example_of, instant, optional_instant
from token_ledger.wire.kept_events import shown_body


@answer
class QuarantinedAnswer(TypedDict):
    """What could not be booked, why, and what became of it."""

    quarantine_id: Annotated[str, doc("The item.", "68550656")]
    source: Annotated[str, doc("Where it came from.", "event:nightly-import")]
    key: Annotated[str, doc("Its idempotency key.", "line-1")]
    code: Annotated[str, doc("Code of the problem.", "time_out_of_range")]
    detail: Annotated[str, doc("What is wrong.", "occurred_at is older than 35 days")]
    body: Annotated[Any, doc("What was sent.", {"source": "nightly-import", "idempotency_key": "line-1"})]
    kept_at: Annotated[InstantText, doc("When it came.", "2026-11-21T09:30:00+00:00")]
    state: Annotated[
        State, doc("`open`; `resolved`: it is booked now; `dismissed`: there is nothing to book.", "resolved")
    ]
    note: Annotated[str | None, doc("What was done about it; null while it is open.", "sent again with its true time")]
    decided_by: Annotated[str | None, doc("Who decided; null while it is open.", "key:1kQ8vR2mZx0a")]
    decided_at: Annotated[InstantText | None, doc("When; null while it is open.", "2026-11-21T10:05:00+00:00")]


@answer
class QuarantineList(TypedDict):
    """Items in quarantine."""

    quarantine: Annotated[list[QuarantinedAnswer], doc("Items, newest first.", [example_of(QuarantinedAnswer)])]


@answer
class VerdictsAnswer(TypedDict):
    """How many items were decided on, and how many are left."""

    decided: Annotated[int, doc("Items that this request decided on, at most 1,000.", 1_000)]
    left: Annotated[
        int, doc("Open items that fit still. If there are any, send the same with another key to go on.", 240)
    ]
    replayed: Replayed


def quarantined_answer(item: QuarantinedItem) -> QuarantinedAnswer:
    """Return an item in quarantine."""
    return {
        "quarantine_id": str(item.quarantine_id),
        "source": item.source,
        "key": item.key,
        "code": item.code,
        "detail": item.detail,
        "body": shown_body(item.body),
        "kept_at": instant(item.kept_at),
        "state": item.state,
        "note": item.note,
        "decided_by": item.decided_by,
        "decided_at": optional_instant(item.decided_at),
    }
