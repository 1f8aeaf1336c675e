"""Selects the calls of a span, with what they are grouped by: from a roll-up if one has all of that, else from events.

Hours or days that lie wholly in the span are read from the roll-up, and what is left at both ends from usage events.
So the same calls have the same total, whatever they are grouped by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Figures
from token_ledger.core.model.window import INSTANT, Calendar
from token_ledger.reports.dimensions import HOUR, OF_DAY, TAG, Dimension, tag_bind
from token_ledger.reports.span import Span, WholePeriods, whole_days, whole_hours
from token_ledger.reports.sums import EVENT_FIGURES
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


_HOURLY: Final = Rollup(
    "hourly_usage", "hour", _columns(rollup_tables.hourly_usage), frozenset({HOUR}), whole_hours, Calendar.hour
)
_DAILY: Final = Rollup(
    "daily_usage", "day", _columns(rollup_tables.daily_usage), frozenset(OF_DAY), whole_days, Calendar.day
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which calls are selected, and what they are grouped by. The span does not end before it begins."""

    tenant: TenantId
    calendar: Calendar
    span: Span
    group_by: tuple[Dimension, ...] = ()
    filters: Filters = ()

    @property
    def keys(self) -> list[str]:
        """What the values of the dimensions are called in a query."""
        return [f"k{place}" for place in range(len(self.group_by))]

    @property
    def rollup(self) -> Rollup | None:
        """The roll-up that has all that is asked for, that of days first; None if only events have it."""
        times = {each.name for each in self._asked if each.is_time}
        columns = {each.column for each in self._asked if not each.is_time}
        return next((each for each in (_DAILY, _HOURLY) if columns <= each.columns and times <= each.times), None)

    @property
    def edges(self) -> tuple[Span, ...]:
        """The spans whose events are read: what the roll-up's whole hours or days leave, or all."""
        if self.rollup is None:
            return (self.span,)
        whole = self.rollup.whole(self.calendar, self.span)
        return (self.span[0], whole.begin), (whole.end, self.span[1])

    @property
    def _asked(self) -> tuple[Dimension, ...]:
        return (*self.group_by, *(dimension for dimension, _ in self.filters))

    def key(self, found: Sequence[str | None]) -> Key:
        """Return the values that a query has found, hours as local times."""
        return tuple(
            self.calendar.local(datetime.fromtimestamp(int(text), UTC)).isoformat(timespec="minutes")
            if dimension.name == HOUR and text is not None
            else text
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
        figures = EVENT_FIGURES if sign == 1 else ", ".join(f"-({each})" for each in EVENT_FIGURES.split(", "))
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

    @property
    def values(self) -> dict[str, Any]:
        """What the queries bind."""
        since, until = self.span
        values: dict[str, Any] = {"tenant": self.tenant, "since": since, "until": until}
        for place, edge in enumerate(self.edges):
            values[f"since{place}"], values[f"until{place}"] = edge
        if self.rollup is not None:
            whole = self.rollup.whole(self.calendar, self.span)
            values |= {"first": whole.first, "last": whole.last}
        if any(each.is_time for each in self._asked):
            periods = periods_between(self.calendar, since, max(until, since + INSTANT))
            values |= periods.values
            for name in {each.name for each in self._asked} & OF_DAY.keys():
                values[f"names_of_{name}"] = [OF_DAY[name](self.calendar, day) for day in periods.day_starts]
        for place, (_, chosen) in enumerate(self.filters):
            values[f"chosen{place}"] = [*chosen]
        tags = (each.name for each in self._asked if each.name.startswith(TAG))
        return values | {tag_bind(name): name.removeprefix(TAG) for name in tags}


def _text(dimension: Dimension, rollup: Rollup | None) -> str:
    """Return the value of a dimension, as SQL on usage events or on the rows of a roll-up."""
    at = "posted_at" if rollup is None else rollup.period
    if dimension.name in OF_DAY:
        return f"(cast(:names_of_{dimension.name} as text[]))[{DAY_NUMBER.format(at)}]"
    if dimension.name == HOUR:
        return f"extract(epoch from {HOUR_OF_POST if rollup is None else at})::bigint::text"
    return dimension.event if rollup is None or dimension.column is None else dimension.column
