"""Lists the events of a span, the newest first, in pages.

All pages are of one state, although each is read in a transaction of its own: an event never changes, and its id tells
which batch has booked it, so what was booked after the first page is left out. Nobody who reads slowly keeps the
database from anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.books import last_id
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import Calendar
from token_ledger.reports.calls import Filters, Selection, select_calls
from token_ledger.reports.dimensions import dimension_named
from token_ledger.reports.kept_calls import check_events_kept
from token_ledger.reports.measured import detail
from token_ledger.reports.span import Span
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.wire.problems import invalid_field

FOLLOW_THE_INDEX: Final = "set local enable_sort = off"
"""Lets a page be read in the order of the index: the planner takes the policy of the rows of a tenant to choose few of
them, and would read and sort all that are left of the span for every page."""
_BOOKED: Final = "select sequence, booked_at from tenant_ledgers where tenant_id = :tenant"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE: Final = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,19})\.([0-9]{1,19})")


class As(StrEnum):
    """What kind of value a column has."""

    ID = "id"
    WORD = "word"  # one of ours
    NAME = "name"  # anything that somebody has written
    COUNT = "count"
    MONEY = "money"  # nano-dollars
    FLAG = "flag"
    INSTANT = "instant"
    OBJECT = "object"


AS_THEY_ARE: Final[Mapping[As, str]] = dict.fromkeys(As, "{0}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the list: its name, what it is as SQL on usage events, and what kind of value that is."""

    name: str
    sql: str
    kind: As


DAY: Final = Column("day", "", As.WORD)
"""The day of the tenant's calendar; its SQL is that of the dimension."""

COLUMNS: Final = (
    Column("event_id", "event_id", As.ID),
    Column("posted_at", "posted_at", As.INSTANT),
    DAY,
    Column("occurred_at", "occurred_at", As.INSTANT),
    Column("booked_at", "booked_at", As.INSTANT),
    Column("kind", "coalesce(kind, 'llm_call')", As.WORD),
    Column("outcome", "case when failed then 'error' else 'ok' end", As.WORD),
    Column("user", "nullif(user_id, '')", As.NAME),
    Column("cost_center", "cost_center", As.NAME),
    Column("agent_type", "agent_type", As.NAME),
    Column("request_type", "request_type", As.NAME),
    Column("provider", "provider", As.NAME),
    Column("model", "model", As.NAME),
    Column("requested_model", "requested_model", As.NAME),
    Column("served_model", "served_model", As.NAME),
    Column("tool", "nullif(tool, '')", As.NAME),
    Column("run_id", "run_id", As.ID),
    Column("tags", "tags", As.OBJECT),
    Column("calls", "calls", As.COUNT),
    Column("input_tokens", "input_tokens", As.COUNT),
    Column("cache_read_tokens", "cache_read_tokens", As.COUNT),
    Column("cache_write_5m_tokens", "cache_write_5m_tokens", As.COUNT),
    Column("cache_write_1h_tokens", "cache_write_1h_tokens", As.COUNT),
    Column("output_tokens", "output_tokens", As.COUNT),
    Column("reasoning_tokens", "reasoning_tokens", As.COUNT),
    Column("cost", "cost_nanos", As.MONEY),
    Column("list_cost", "coalesce(list_cost_nanos, cost_nanos)", As.MONEY),
    Column("price_id", "nullif(price_id, 0)", As.ID),
    Column("service_tier", "service_tier", As.NAME),
    Column("estimated", "estimated", As.FLAG),
    Column("unpriced", "unpriced", As.FLAG),
    Column("late", "late", As.FLAG),
    Column("latency_ms", detail("latency_ms"), As.COUNT),
    Column("first_token_ms", detail("first_token_ms"), As.COUNT),
    Column("retries", detail("retries"), As.COUNT),
    Column("error_kind", "(details ->> 'error_kind')", As.NAME),
    Column("finish_reason", "(details ->> 'finish_reason')", As.NAME),
    Column("saved", "(details -> 'saved' ->> 'nanos')::bigint", As.MONEY),
    Column("reservation_id", "reservation_id", As.ID),
    Column("response_id", "nullif(response_id, '')", As.NAME),
    Column("corrects", "corrects", As.ID),
    Column("recosts", "recosts", As.ID),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: before an event, by its instant and id, of those with ids up to `as_of`."""

    posted_at: datetime
    event_id: int
    as_of: int

    def __str__(self) -> str:
        microseconds = (self.posted_at - _EPOCH) // timedelta(microseconds=1)
        return f"{microseconds}.{self.event_id}.{self.as_of}"


def parse_place(text: str) -> Place:
    """Read a place back. Raises ProblemError if it is none."""
    found = _PLACE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        microseconds, event_id, as_of = map(int, found.groups())
        if max(event_id, as_of) >= 2**63:
            raise ValueError
        return Place(_EPOCH + timedelta(microseconds=microseconds), event_id, as_of)
    except (ValueError, OverflowError):
        raise invalid_field(
            "after", f"{text!r} is no `next` of this list; send the `next` of the page before"
        ) from None


@dataclass(frozen=True, slots=True)
class EventList:
    """The events of a selection from a place on; `booked_until` is the instant of the last batch that it has."""

    selection: Selection
    place: Place
    booked_until: datetime

    def query(self, written: Mapping[As, str] = AS_THEY_ARE) -> str:
        """Return the query for the page that begins at the place, `:most` events at most.

        `written` is how the values of each kind are written, as SQL with `{0}` in place of the value.
        """
        day = self.selection.texts()[0]
        values = [written[each.kind].format(day if each is DAY else each.sql) for each in COLUMNS]
        where = self.selection.where(
            "posted_at >= :since and posted_at <= :place_at and (posted_at < :place_at or event_id < :place_id)"
            " and event_id <= :as_of"
        )
        listed = ", ".join(f"{value} as c{number}" for number, value in enumerate(values))
        return f"select {listed} from usage_events {where} order by posted_at desc, event_id desc limit :most"

    def values(self, most: int) -> dict[str, Any]:
        """Return what the query binds."""
        place = {"place_at": self.place.posted_at, "place_id": self.place.event_id, "as_of": self.place.as_of}
        return {**self.selection.values, **place, "most": most}


async def list_events(
    connection: AsyncConnection, tenant: TenantId, calendar: Calendar, span: Span, filters: Filters,
    after: Place | None,
) -> EventList:  # fmt: skip
    """Return the list of the events that are posted in a span, from its newest one on, or from a place.

    Raises ProblemError if the place is outside the span, or events of the span may no longer be kept.
    """
    selection = await select_calls(connection, tenant, calendar, span, (dimension_named(DAY.name),), filters)
    since, until = selection.span
    await check_events_kept(connection, selection)
    [(sequence, booked_until)] = await fetch_rows(connection, _BOOKED, tenant=tenant)
    place = Place(until, 0, last_id(sequence))
    if after is None:
        return EventList(selection, place, booked_until)
    if not since <= after.posted_at <= until:
        raise invalid_field("after", "this is the `next` of a list of another span; leave the span as it was")
    return EventList(selection, replace(after, as_of=min(after.as_of, place.as_of)), booked_until)


async def read_events(
    connection: AsyncConnection, listed: EventList, most: int
) -> tuple[list[dict[str, Any]], Place | None]:
    """Return a page of events, each by the names of the columns that it has, and where the next page begins."""
    await connection.exec_driver_sql(FOLLOW_THE_INDEX)
    found = await fetch_rows(connection, listed.query(), **listed.values(most + 1))
    names = [column.name for column in COLUMNS]
    events = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in found[:most]
    ]
    if len(found) <= most:
        return events, None
    return events, replace(listed.place, posted_at=events[-1]["posted_at"], event_id=events[-1]["event_id"])
