"""Answers of the list of events."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NotRequired

from typing_extensions import TypedDict

from token_ledger.core.model.money import format_money
from token_ledger.reports.event_list import COLUMNS, As, EventList, Place
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant


@answer
class ListedEvent(TypedDict):
    """A usage event: a call, or what else was reported or booked. Fields that do not apply are left out."""

    event_id: Annotated[str, doc("The event.", "68419584")]
    posted_at: Annotated[InstantText, doc("The instant that it counts at.", "2026-11-21T09:30:00.123456+00:00")]
    day: Annotated[str, doc("The day of that in the tenant's calendar.", "2026-11-21")]
    occurred_at: Annotated[
        InstantText, doc("When it happened, as its caller says.", "2026-11-21T09:30:00.123456+00:00")
    ]
    booked_at: Annotated[InstantText, doc("When it was booked.", "2026-11-21T09:30:00.123456+00:00")]
    kind: Annotated[str, doc("`llm_call`, `tool_call`, `cache_hit`, or `other_model`: one within a call.", "llm_call")]
    outcome: Annotated[str, doc("`ok` or `error`.", "ok")]
    user: NotRequired[Annotated[str, doc("The user.", "ada")]]
    cost_center: Annotated[str, doc("The cost center; `unassigned` where there is none.", "research")]
    agent_type: Annotated[str, doc("The agent type.", "data_agent")]
    request_type: Annotated[str, doc("The request type.", "chat")]
    provider: Annotated[str, doc("The provider.", "openai")]
    model: Annotated[str, doc("The model, by its name in the books; empty for a tool that used none.", "gpt-5.4")]
    requested_model: NotRequired[Annotated[str, doc("The model that was asked for, if another was called.", "gpt-5.4")]]
    served_model: NotRequired[Annotated[str, doc("What the provider calls the model that answered.", "gpt-5.4-1106")]]
    tool: NotRequired[Annotated[str, doc("The tool.", "search")]]
    run_id: NotRequired[Annotated[str, doc("The run.", "68288512")]]
    tags: NotRequired[Annotated[dict[str, str], doc("The tags.", {"team": "search"})]]
    calls: Annotated[int, doc("How many calls of models it counts for; -1 where one is taken back.", 1)]
    input_tokens: Annotated[int, doc("Input tokens, those of caches included.", 1_200)]
    cache_read_tokens: Annotated[int, doc("Input tokens read from a cache.", 800)]
    cache_write_5m_tokens: Annotated[int, doc("Input tokens written to a cache for five minutes.", 0)]
    cache_write_1h_tokens: Annotated[int, doc("Input tokens written to a cache for an hour.", 0)]
    output_tokens: Annotated[int, doc("Output tokens, those of reasoning included.", 240)]
    reasoning_tokens: Annotated[int, doc("Output tokens of reasoning.", 0)]
    cost: Annotated[str, doc("Cost in dollars.", "0.006900000")]
    list_cost: Annotated[str, doc("Cost in dollars without the tenant's discounts.", "0.006900000")]
    price_id: NotRequired[Annotated[str, doc("The price entry.", "73138176")]]
    service_tier: NotRequired[Annotated[str, doc("The way of serving, if it is not the usual one.", "batch")]]
    estimated: Annotated[bool, doc("Whether its caller has estimated it.", False)]
    unpriced: Annotated[bool, doc("Whether no price of all of it was known when it was booked.", False)]
    late: Annotated[bool, doc("Whether it was reported after its hold had expired.", False)]
    latency_ms: NotRequired[Annotated[int, doc("How long it took, in milliseconds.", 1_830)]]
    first_token_ms: NotRequired[Annotated[int, doc("When its first token came, in milliseconds.", 310)]]
    retries: NotRequired[Annotated[int, doc("How often it was tried again.", 1)]]
    error_kind: NotRequired[Annotated[str, doc("What kind of error it ended with.", "rate_limit")]]
    finish_reason: NotRequired[Annotated[str, doc("Why the model has ended.", "stop")]]
    saved: NotRequired[Annotated[str, doc("What a cache hit saved, in dollars.", "0.006900000")]]
    reservation_id: NotRequired[Annotated[str, doc("Its hold or lease.", "68354048")]]
    response_id: NotRequired[Annotated[str, doc("The provider's id of the response.", "chatcmpl-9")]]
    corrects: NotRequired[Annotated[str, doc("The event that it takes back.", "68419584")]]
    recosts: NotRequired[Annotated[str, doc("The event whose cost it corrects.", "68419584")]]


# `from` is a keyword of Python, so this type cannot be written as a class.
EventListAnswer = TypedDict(
    "EventListAnswer",
    {
        "from": Annotated[InstantText, doc("Start of the span, included.", "2026-11-01T00:00:00+00:00")],
        "to": Annotated[InstantText, doc("End of the span, excluded.", "2026-12-01T00:00:00+00:00")],
        "time_zone": Annotated[str, doc("The tenant's time zone at the start of the span.", "Europe/Berlin")],
        "booked_until": Annotated[
            InstantText, doc("Whatever was booked until then is in the list.", "2026-11-21T09:30:00.123456+00:00")
        ],
        "events": Annotated[list[ListedEvent], doc("The events, the newest first.", [example_of(ListedEvent)])],
        "next": Annotated[
            str | None,
            doc("The `after` of the next page, in which nothing newer is; null where this is the last one.", None),
        ],
    },
)
EventListAnswer.__doc__ = "A page of the events of a span."

_SHOWN: Final[Mapping[As, Callable[[Any], Any]]] = {As.ID: str, As.MONEY: format_money, As.INSTANT: instant}


def event_list_answer(
    listed: EventList, events: Sequence[Mapping[str, Any]], following: Place | None
) -> dict[str, Any]:
    """Return a page of events."""
    since, until = listed.selection.span
    kinds = {column.name: _SHOWN.get(column.kind) for column in COLUMNS}
    return {
        "from": instant(since),
        "to": instant(until),
        "time_zone": str(listed.selection.calendar.local(since).tzinfo),
        "booked_until": instant(listed.booked_until),
        "events": [
            {name: value if (show := kinds[name]) is None else show(value) for name, value in event.items()}
            for event in events
        ],
        "next": None if following is None else str(following),
    }
