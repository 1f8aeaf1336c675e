"""Parameters of reports: which calls of which span, and by what they are grouped."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import Field, StrictStr

from token_ledger.api.parameters import From, To
from token_ledger.core.model.name import clean_name
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters
from token_ledger.reports.dimensions import NAMES, TAG, Dimension, dimension_named
from token_ledger.reports.periods import NoSuchPeriod, period_before, period_named
from token_ledger.reports.span import Span, span_before, span_of
from token_ledger.wire.fields import Id, Name
from token_ledger.wire.problems import invalid_field

_MOST_DIMENSIONS = 5

GroupBy = Annotated[
    list[str] | None,
    Query(
        description=f"The dimensions of the rows, repeated or with commas between them; by default `user`. There are "
        f"{', '.join(f'`{name}`' for name in NAMES)}, and `{TAG}` with the name of a tag.",
        examples=[["cost_center,model"]],
    ),
]
Period = Annotated[
    str | None,
    Query(
        description="The span by its name, in place of `from` and `to`: `today`, `yesterday`, `this_` or `last_` with "
        "`week`, `month`, `quarter` or `year`, a month such as `2026-10`, a day such as `2026-10-05`, a fiscal year "
        "such as `FY2026`, which ends in 2026, or a quarter of it such as `FY2026-Q3`.",
        examples=["last_month"],
    ),
]
Compare = Annotated[
    Literal["previous"] | None,
    Query(
        description="Whether rows and total say what there was before: with `period`, in the day, week, month, "
        "quarter or year before that one; with dates as `from` and `to`, in as many days before; else in as much time "
        "before. Not where rows are by a time.",
        examples=["previous"],
    ),
]


def _of(what: str, example: object) -> object:
    return Query(description=f"Only calls with this {what}, or one of several if it is repeated.", examples=[[example]])


Names = list[Name] | None
EntryId = Annotated[StrictStr, Field(pattern=r"^-?[0-9]{1,19}$")]
"""The id of an entry of the price book; those of the tenant's own entries are below 0."""


async def _filters(
    user: Annotated[Names, _of("user", "ada")] = None,
    cost_center: Annotated[Names, _of("cost center", "research")] = None,
    agent_type: Annotated[Names, _of("agent type", "data_agent")] = None,
    model: Annotated[Names, _of("model, by its name in the books", "gpt-5.4")] = None,
    request_type: Annotated[Names, _of("request type", "chat")] = None,
    provider: Annotated[Names, _of("provider", "openai")] = None,
    kind: Annotated[Names, _of("kind", "llm_call")] = None,
    run: Annotated[list[Id] | None, _of("run", "68288512")] = None,
    tool: Annotated[Names, _of("tool", "search")] = None,
    price_entry: Annotated[list[EntryId] | None, _of("price entry, below 0 one of the tenant's own", "412")] = None,
    outcome: Annotated[list[Literal["ok", "error"]] | None, _of("outcome", "error")] = None,
    estimated: Annotated[
        list[Literal["true", "false"]] | None, _of("answer to whether it is estimated", "true")
    ] = None,
    tag: Annotated[list[str] | None, _of("tag, as its name, `=` and its value", "team=search")] = None,
) -> Filters:
    chosen = {
        "user": user, "cost_center": cost_center, "agent_type": agent_type, "model": model,
        "request_type": request_type, "provider": provider, "kind": kind, "run": _numbers(run), "tool": tool,
        "price_entry": _numbers(price_entry), "outcome": outcome, "estimated": estimated,
    }  # fmt: skip
    filters = [(dimension_named(name), tuple(map(str, values))) for name, values in chosen.items() if values]
    tags: dict[Dimension, list[str]] = {}
    for each in tag or ():
        dimension, value = _tag(each)
        tags.setdefault(dimension, []).append(value)
    return (*filters, *((dimension, tuple(values)) for dimension, values in tags.items()))


def _numbers(ids: list[str] | None) -> list[int]:
    return [int(each) for each in ids or ()]


def _tag(text: str) -> tuple[Dimension, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise invalid_field("tag", f"{text!r} is no tag; write its name, = and its value, such as team=search")
    try:
        return dimension_named(f"{TAG}{name}"), clean_name(value)
    except ValueError as error:
        raise invalid_field("tag", str(error)) from None


Chosen = Annotated[Filters, Depends(_filters)]


def dimensions_of(given: list[str] | None, field: str = "group_by") -> tuple[Dimension, ...]:
    """Return the dimensions that a field names, with commas between them or one by one. Raises ProblemError."""
    names = ["user"] if given is None else [name for each in given for name in each.split(",")]
    if len(names) > _MOST_DIMENSIONS:
        raise invalid_field(field, f"these are {len(names)} dimensions; name {_MOST_DIMENSIONS} at most")
    try:
        dimensions = tuple(map(dimension_named, names))
    except ValueError as error:
        raise invalid_field(field, str(error)) from None
    if len({each.name for each in dimensions}) < len(dimensions):
        raise invalid_field(field, "a dimension is named twice; name each once")
    return dimensions


def spans_of(
    calendar: Calendar, since: From, until: To, period: Period, *, compare: bool
) -> tuple[Span, Span | None]:  # fmt: skip
    """Return the span that is asked for and, to compare with it, the one before it. Raises ProblemError."""
    now = datetime.now(UTC)
    if period is None:
        span = span_of(calendar, since, until, now)
        return span, span_before(calendar, since, until, now) if compare else None
    if since is not None or until is not None:
        raise invalid_field("period", "give either a period, or from and to")
    try:
        found = period_named(calendar, period, now)
    except NoSuchPeriod as error:
        raise invalid_field("period", str(error)) from None
    return found.span, period_before(calendar, found) if compare else None
