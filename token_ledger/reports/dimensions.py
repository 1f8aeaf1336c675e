"""Owns by what reports group calls and choose among them, and where each of it is found in events and roll-ups.

To report by something new, add it to `_FACTS` or `TIMES`. If no roll-up has its column, events are read; if
that is too slow, begin in `storage.schema.rollup_tables`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from token_ledger.core.model.window import Calendar
from token_ledger.reports.periods import fiscal_period_name, fiscal_year_name, month_name, week_name

TAG: Final = "tag:"
"""What the name of a tag begins with as a dimension."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """What calls are grouped by: `event` is its text, as SQL on usage events, and null where a call has none.

    `column` is that of the roll-ups that have it. A tag has the name `tag:team`.
    """

    name: str
    event: str
    column: str | None = None

    @property
    def is_time(self) -> bool:
        """Whether it is a unit of the tenant's calendar, of which each call has one."""
        return self.name in TIMES


_FACTS: Final[Mapping[str, Dimension]] = {
    each.name: each
    for each in (
        Dimension("user", "user_id", "user_id"),
        Dimension("cost_center", "cost_center", "cost_center"),
        Dimension("agent_type", "agent_type", "agent_type"),
        Dimension("model", "model", "model"),
        Dimension("request_type", "request_type", "request_type"),
        Dimension("provider", "provider"),
        Dimension("kind", "coalesce(kind, 'llm_call')"),
        Dimension("run", "run_id::text"),
        Dimension("tool", "nullif(tool, '')"),
        Dimension("price_entry", "nullif(price_id, 0)::text"),
        Dimension("outcome", "case when failed then 'failed' else 'ok' end"),
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

TIMES: Final = (HOUR, *OF_DAY)
NAMES: Final = (*_FACTS, *TIMES)


def dimension_named(name: str) -> Dimension:
    """Return the dimension of a name; raises ValueError if there is none."""
    if name.startswith(TAG) and name != TAG:
        return Dimension(name, f"(tags ->> cast(:{tag_bind(name)} as text))")
    if name in TIMES:
        return Dimension(name, "")
    if name not in _FACTS:
        raise ValueError(f"there is no dimension {name!r}; use one of {', '.join(NAMES)}, or {TAG} with a tag's name")
    return _FACTS[name]


def tag_bind(name: str) -> str:
    """Return what the tag of a dimension is bound as in its SQL."""
    return f"tag_{name.removeprefix(TAG).encode().hex()}"
