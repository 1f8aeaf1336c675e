"""Owns by what reports group calls and choose among them, and where each of it is found in events and roll-ups.

To report by something new, add it to `_FACTS` or `TIMES`. If no roll-up has its column, events are read; if
that is too slow, begin in `storage.schema.rollup_tables`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from token_ledger.core.model.name import clean_name
from token_ledger.core.model.window import Calendar, Window
from token_ledger.reports.periods import fiscal_period_name, fiscal_year_name, month_name, week_name

TAG: Final = "tag:"
"""What the name of a tag begins with as a dimension."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """What calls are grouped by: `text` is its value, as SQL on usage events, and null where a call has none.

    Where that is a column which a roll-up has, too, it is the value there. A tag has the name `tag:team`.
    """

    name: str
    text: str

    @property
    def is_time(self) -> bool:
        """Whether it is a unit of the tenant's calendar, of which each call has one."""
        return self.name in TIMES


_FACTS: Final[Mapping[str, Dimension]] = {
    each.name: each
    for each in (
        Dimension("user", "user_id"),
        Dimension("cost_center", "cost_center"),
        Dimension("agent_type", "agent_type"),
        Dimension("model", "model"),
        Dimension("request_type", "request_type"),
        Dimension("provider", "provider"),
        Dimension("kind", "coalesce(kind, 'llm_call')"),
        Dimension("run", "run_id::text"),
        Dimension("tool", "nullif(tool, '')"),
        Dimension("price_entry", "nullif(price_id, 0)::text"),
        Dimension("outcome", "case when failed then 'error' else 'ok' end"),
        Dimension("estimated", "estimated::text"),
    )
}

HOUR: Final = "hour"
OF_DAY: Final[Mapping[str, Callable[[Calendar, datetime], str]]] = {
    "day": lambda calendar, start: calendar.local_date(start).isoformat(),
    "week": week_name,
    "month": month_name,
    "fiscal_period": fiscal_period_name,
    "fiscal_year": fiscal_year_name,
}
"""The units that consist of days: what that of a day is called, by when the day began. A day is of the unit in which it
begins."""
_SAME_NAME: Final[Mapping[str, tuple[Window, ...]]] = {
    "fiscal_period": (Window.YEAR, Window.QUARTER),
    "fiscal_year": (Window.YEAR,),
}
"""Windows: days that begin in the same ones are of a unit of the same name, which takes long to find."""

TIMES: Final = (HOUR, *OF_DAY)
NAMES: Final = (*_FACTS, *TIMES)


def dimension_named(name: str) -> Dimension:
    """Return the dimension of a name; raises ValueError if there is none, or none with such a tag's name."""
    if name.startswith(TAG) and name != TAG:
        tag = TAG + clean_name(name.removeprefix(TAG))
        return Dimension(tag, f"(tags ->> cast(:{tag_bind(tag)} as text))")
    if name in TIMES:
        return Dimension(name, "")
    if name not in _FACTS:
        raise ValueError(f"there is no dimension {name!r}; use one of {', '.join(NAMES)}, or {TAG} with a tag's name")
    return _FACTS[name]


def names_of_days(unit: str, calendar: Calendar, starts: Iterable[datetime]) -> list[str]:
    """Return what the unit of each of some days is called, by when the days began."""
    name_of, windows = OF_DAY[unit], _SAME_NAME.get(unit)
    if windows is None:
        return [name_of(calendar, start) for start in starts]
    found: dict[object, str] = {}
    names = []
    for start in starts:
        bounds = tuple(calendar.bounds(each, start) for each in windows)
        if bounds not in found:
            found[bounds] = name_of(calendar, start)
        names.append(found[bounds])
    return names


def tag_bind(name: str) -> str:
    """Return what the tag of a dimension is bound as in its SQL."""
    return f"tag_{name.removeprefix(TAG).encode().hex()}"
