"""Selects the calls of a span, with what they are grouped by: from a roll-up if one has all of that, else from events.

Hours or days that lie wholly in the span are read from the roll-up, and what is left at both ends from usage events.
So the same calls have the same total, whatever they are grouped by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import INSTANT, Calendar
from token_ledger.reports.dimensions import HOUR, OF_DAY, TAG, Dimension, names_of_days, tag_bind
from token_ledger.reports.span import Span, WholePeriods, whole_days, whole_hours
from token_ledger.reports.sums import EVENT_FIGURES
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.schema import rollup_tables
from token_ledger.storage.upkeep.periods import DAY_NUMBER, HOUR_OF_POST, periods_between

Key = tuple[str | None, ...]
"""A value of each dimension that calls are grouped by; None where they have none."""

Filters = tuple[tuple[Dimension, tuple[str, ...]], ...]
"""Dimensions of which a call has to have one of some values."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """A roll-up: its table, the column with what an hour or day is kept under, and how these are found.

    Of times it has those that consist of whole such hours or days.
    """

    table: str
    period: str
    columns: frozenset[str]
    times: frozenset[str]
    whole: Callable[[Calendar, Span], WholePeriods]
    start: Callable[[Calendar, datetime], datetime]


def _columns(table: Any) -> frozenset[str]:
    return frozenset(rollup_tables.key_of(table))


_DAYS: Final = "select min(day), max(day) from daily_usage where tenant_id = :tenant"
_HOURLY: Final = Rollup(
    "hourly_usage", "hour", _columns(rollup_tables.hourly_usage), frozenset({HOUR}), whole_hours, Calendar.hour
)
_DAILY: Final = Rollup(
    "daily_usage", "day", _columns(rollup_tables.daily_usage), frozenset(OF_DAY), whole_days, Calendar.day
)


@dataclass(frozen=True)  # without slots, because what is found once is kept
class Selection:
    """Which calls are selected, and what they are grouped by; `select_calls` makes one.

    The span does not end before it begins. `booked` is from the first day that has calls to the end of the last one:
    times outside it have no rows, so they are not named.
    """

    tenant: TenantId
    calendar: Calendar
    span: Span
    booked: Span
    group_by: tuple[Dimension, ...] = ()
    filters: Filters = ()

    @property
    def keys(self) -> list[str]:
        """What the values of the dimensions are called in a query."""
        return [f"k{place}" for place in range(len(self.group_by))]

    @cached_property
    def rollup(self) -> Rollup | None:
        """The roll-up that has all that is asked for, that of days first; None if only events have it."""
        times = {each.name for each in self.dimensions if each.is_time}
        columns = {each.text for each in self.dimensions if not each.is_time}
        return next((each for each in (_DAILY, _HOURLY) if columns <= each.columns and times <= each.times), None)

    @cached_property
    def whole(self) -> WholePeriods | None:
        """The whole hours or days that are read from the roll-up."""
        return None if self.rollup is None else self.rollup.whole(self.calendar, self.span)

    @property
    def edges(self) -> tuple[Span, ...]:
        """The spans whose events are read: what the roll-up's whole hours or days leave, or all."""
        if self.whole is None:
            return (self.span,)
        return (self.span[0], self.whole.begin), (self.whole.end, self.span[1])

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All that calls are grouped or chosen by."""
        return (*self.group_by, *(dimension for dimension, _ in self.filters))

    def key(self, found: Sequence[str | None]) -> Key:
        """Return the values that a query has found: hours as local times, and none where a column is empty."""
        return tuple(
            self.calendar.local(datetime.fromtimestamp(int(text), UTC)).isoformat(timespec="minutes")
            if dimension.name == HOUR and text is not None
            else text or None
            for dimension, text in zip(self.group_by, found, strict=True)
        )

    def sums(self) -> str:
        """Return the query for the selected calls: their keys and figures, of each event or sum of a roll-up."""
        queries = [
            self.events(f"posted_at >= :since{place} and posted_at < :until{place}") for place in range(len(self.edges))
        ]
        if (rollup := self.rollup) is not None:
            queries.append(
                f"select {''.join(f'{each}, ' for each in self.texts(rollup))} {', '.join(Figures._fields)}"
                f" from {rollup.table} where tenant_id = :tenant"
                f" and {rollup.period} >= :first and {rollup.period} < :last {self.conditions(rollup)}"
            )
        return " union all ".join(queries)

    def events(self, condition: str, *, sign: int = 1) -> str:
        """Return the query for the keys and figures of events that meet a condition and the filters."""
        figures = ", ".join(EVENT_FIGURES if sign == 1 else (f"-({each})" for each in EVENT_FIGURES))
        listed = "".join(f"{text} as {key}, " for key, text in zip(self.keys, self.texts(), strict=True))
        return f"select {listed} {figures} from usage_events {self.where(condition)}"

    def where(self, condition: str) -> str:
        """Return what chooses usage events that meet a condition and the filters."""
        return f"where tenant_id = :tenant and {condition} {self.conditions()}"

    def conditions(self, rollup: Rollup | None = None) -> str:
        """Return the filters, on usage events or the rows of a roll-up, each with an `and` before it."""
        texts = (_text(dimension, rollup) for dimension, _ in self.filters)
        return "".join(f" and {text} = any(:chosen{place})" for place, text in enumerate(texts))

    def texts(self, rollup: Rollup | None = None) -> list[str]:
        """Return the values of the dimensions, as SQL on usage events or on the rows of a roll-up."""
        return [_text(each, rollup) for each in self.group_by]

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """What the queries bind."""
        since, until = self.span
        values: dict[str, Any] = {"tenant": self.tenant, "since": since, "until": until}
        for place, edge in enumerate(self.edges):
            values[f"since{place}"], values[f"until{place}"] = edge
        if self.whole is not None:
            values |= {"first": self.whole.first, "last": self.whole.last}
        for place, (_, chosen) in enumerate(self.filters):
            values[f"chosen{place}"] = [*chosen]
        tags = (each.name for each in self.dimensions if each.name.startswith(TAG))
        return values | self._periods() | {tag_bind(name): name.removeprefix(TAG) for name in tags}

    def _periods(self) -> dict[str, Any]:
        """Return the hours and days of the span that may have calls, and what their units are called."""
        times = {each.name for each in self.dimensions if each.is_time}
        if not times:
            return {}
        since, until = max(self.span[0], self.booked[0]), min(self.span[1], self.booked[1])
        periods = periods_between(self.calendar, since, max(until, since + INSTANT))
        names = {
            f"names_of_{unit}": names_of_days(unit, self.calendar, periods.day_starts) for unit in times & OF_DAY.keys()
        }
        return periods.values | names


async def select_calls(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, span: Span,
    group_by: tuple[Dimension, ...] = (), filters: Filters = (),
) -> Selection:  # fmt: skip
    """Return a selection of calls; a span that ends before it begins has none."""
    since, until = span
    [(first, last)] = await fetch_rows(connection, _DAYS, tenant=tenant)
    booked = (since, since) if first is None else (first, calendar.next_day(last))
    return Selection(tenant, calendar, (since, max(since, until)), booked, group_by, filters)


def _text(dimension: Dimension, rollup: Rollup | None) -> str:
    """Return the value of a dimension, as SQL on usage events or on the rows of a roll-up."""
    at = "posted_at" if rollup is None else rollup.period
    if dimension.name in OF_DAY:
        return f"(cast(:names_of_{dimension.name} as text[]))[{DAY_NUMBER.format(at)}]"
    if dimension.name == HOUR:
        return f"extract(epoch from {HOUR_OF_POST if rollup is None else at})::bigint::text"
    return dimension.text
