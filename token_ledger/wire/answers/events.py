"""Answers about events without a hold: what became of each."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Literal, NotRequired

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Quarantined, Recorded
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.money import format_money
from token_ledger.wire.answers import reservations
from token_ledger.wire.fields import answer, doc, example_of
from token_ledger.wire.problems import ProblemError


@answer
class EventAnswer(TypedDict):
    """What became of one event. Fields that do not apply are left out."""

    status: Annotated[
        Literal["booked", "duplicate", "quarantined", "conflict", "refused"],
        doc(
            "`booked`; `duplicate`: the same call is booked already, as `earlier_event_id`; `quarantined`: kept, "
            "because it cannot be booked as it is; `conflict`: its key was used for another event, and this one is "
            "kept; `refused`: nothing is kept, because it has no usable source and key.",
            "booked",
        ),
    ]
    event_id: NotRequired[Annotated[str, doc("The usage event, if it was booked.", "68419584")]]
    repetition: NotRequired[reservations.FoundRepetition]
    earlier_event_id: NotRequired[reservations.EarlierEvent]
    quarantine_id: NotRequired[Annotated[str, doc("The item in quarantine, if it was kept there.", "68550656")]]
    cost: NotRequired[Annotated[str, doc("Cost in dollars, if it was booked.", "0.006900000")]]
    list_cost: NotRequired[reservations.ListCost]
    price_id: NotRequired[reservations.PriceEntry]
    tokens: NotRequired[Annotated[int, doc("Tokens, input and output, if it was booked.", 1_440)]]
    unpriced: NotRequired[
        Annotated[bool, doc("True if no price of all of it is known. Of a cache hit: of what it saved.", False)]
    ]
    clamped: NotRequired[
        Annotated[bool, doc("True if the reported counts contradicted each other and were cut to fit.", False)]
    ]
    saved: NotRequired[Annotated[str, doc("What a cache hit saved, in dollars.", "0.006900000")]]
    other_models: NotRequired[
        Annotated[
            list[reservations.OtherModelAnswer],
            doc(
                "What was booked of other models within the call, besides `cost` and `tokens`; left out if nothing.",
                [example_of(reservations.OtherModelAnswer)],
            ),
        ]
    ]
    replayed: NotRequired[Annotated[bool, doc("True if its key was used before for the same event.", False)]]
    code: NotRequired[Annotated[str, doc("Code of the problem, if it was not booked.", "invalid_request")]]
    detail: NotRequired[Annotated[str, doc("What is wrong, if it was not booked.", "events.0.model: Field required")]]
    field: NotRequired[Annotated[str, doc("The field at fault, if one is.", "events.0.model")]]


@answer
class EventResults(TypedDict):
    """What became of events."""

    results: Annotated[
        list[EventAnswer],
        doc(
            "One result per event, in their order.",
            [{"status": "booked", "event_id": "68419584", "cost": "0.006900000", "tokens": 1_440, "replayed": False}],
        ),
    ]


def event_answer(
    outcome: Recorded | Quarantined, field: str | None = None, others: Sequence[UsageEvent] = ()
) -> EventAnswer:
    """Return what became of an event that was taken in; `field` is the one that kept it from being booked.

    `others` are the events of other models within it.
    """
    if isinstance(outcome, Recorded):
        booked = _booked_answer(outcome.event, replayed=outcome.replayed)
        if others:
            booked["other_models"] = [reservations.other_model_answer(other) for other in others]
        return booked
    kept: EventAnswer = {
        "status": "quarantined",
        "quarantine_id": str(outcome.quarantine_id),
        "code": outcome.code,
        "detail": outcome.detail,
        "replayed": outcome.replayed,
    }
    return kept if field is None else {**kept, "field": field}


def _booked_answer(event: UsageEvent, *, replayed: bool) -> EventAnswer:
    booked: EventAnswer = {
        "status": "duplicate" if event.is_duplicate else "booked",
        "event_id": str(event.event_id),
        "cost": format_money(event.cost_nanos),
        "tokens": event.usage.total_tokens,
        "unpriced": event.unpriced,
        "clamped": event.clamped,
        "replayed": replayed,
    }
    if (found := reservations.found_repetition(event.repetition)) is not None:
        booked["repetition"] = found
    if event.price_id:
        booked["price_id"] = str(event.price_id)
    if event.list_cost_nanos is not None:
        booked["list_cost"] = format_money(event.list_cost_nanos)
    if event.earlier_event_id is not None:
        booked["earlier_event_id"] = str(event.earlier_event_id)
    if event.details is not None and event.details.saved is not None:
        booked["saved"] = format_money(event.details.saved.nanos)
    return booked


def unbooked_event_answer(problem: ProblemError) -> EventAnswer:
    """Return what became of an event that contradicts another under its key, or of which nothing is kept."""
    unbooked: EventAnswer = {
        "status": "conflict" if problem.status == HTTPStatus.CONFLICT else "refused",
        "code": problem.code,
        "detail": problem.detail,
    }
    if "quarantine_id" in problem.extra:
        unbooked["quarantine_id"] = problem.extra["quarantine_id"]
        unbooked["replayed"] = problem.extra["replayed"]
    return unbooked if problem.field is None else {**unbooked, "field": problem.field}
