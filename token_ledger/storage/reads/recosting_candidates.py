"""Reads events that may be re-costed, page by page: those of which a part had no price, or those of a span of time.

It leaves it to `recostings` whether they cost something else by now.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.frozen import value
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.schema.columns import STILL_UNPRICED

# The inner query follows the index to its limit, however few of its rows are wanted, so what it reads is bounded: the
# condition of row-level security makes the planner expect few rows, and sort all there are.
_FOLLOW_THE_INDEX = """
select set_config('enable_sort', 'off', true), sequence, config_version from tenant_ledgers where tenant_id = :tenant
"""


def _is_among(name: str) -> str:
    """Return the condition that another event names this one in a column; looked up only from the first to the last."""
    others = f"from usage_events as c where c.tenant_id = :tenant and c.{name} is not null"
    first, last = (f"(select c.{name} {others} order by c.{name} {way} limit 1)" for way in ("asc", "desc"))
    return (
        f"coalesce(e.event_id between {first} and {last}, false)"
        f" and exists (select {others} and c.{name} = e.event_id) as is_named_by_{name}"
    )


_PAGE = f"""
select {rows.EVENT.select("e")}, e.booked_at, {_is_among("corrects")}, {_is_among("recosts")}
from (
    select * from usage_events as e
    where e.tenant_id = :tenant and {{condition}}
    order by {{order}} limit :limit
) as e
order by {{order}}
"""
_HOLDS = f"""
select {rows.RESERVATION.select("r")} from unnest(cast(:ids as bigint[])) as wanted (reservation_id)
cross join lateral (
    select * from reservations as stored
    where stored.tenant_id = :tenant and stored.reservation_id = wanted.reservation_id
    order by stored.reservation_id limit 1
) as r
"""
_UNPRICED_AFTER = f"{STILL_UNPRICED} and (e.model, e.event_id) > (:model, :after)"
_UNPRICED_OF_MODEL = f"{STILL_UNPRICED} and e.model = :model and e.event_id > :after"

# The index of the span has only the instant, at which many imported calls may stand: an incremental sort orders these.
_OF_SPAN = f"""
    e.corrects is null and e.recosts is null and e.kind is distinct from '{Kind.CACHE_HIT}'
    and e.repetition is distinct from '{Repetition.DUPLICATE}' and (e.price_id <> 0 or e.unpriced)
    and e.posted_at >= :since and e.posted_at < :until and (e.posted_at, e.event_id) > (:since, :after)
"""
_OF_MODELS = " and e.model = any(:models)"
_BOOKED_AT = 1 + len(rows.EVENT.columns)
_NO_PLACE = "there is no such place; give the `next` of another answer"


@value
class Candidate:
    """An event that may be re-costed, with its hold, if it has one."""

    event: UsageEvent
    hold: Reservation | None
    booked_at: datetime
    is_corrected: bool
    is_recosted: bool

    @property
    def follows(self) -> bool:
        """Whether its cost follows from a price: not that of a cache hit or a duplicate, or of what was taken back."""
        event = self.event
        return not self.is_corrected and not event.is_duplicate and event.kind is not Kind.CACHE_HIT

    @property
    def called(self) -> ModelName:
        """The name that its price is found by: what was called, as it was named."""
        event, hold = self.event, self.hold
        named = ModelName(event.facts.provider, event.facts.model)
        if hold is None:
            return event.requested or named
        return event.served or (hold.to_call if self._is_as_held else named)

    @property
    def priced_at(self) -> datetime:
        """The instant whose price it has: that of its hold, unless another model was served on a lease."""
        event, hold = self.event, self.hold
        if hold is None or event.held_at is None or self.called != hold.to_call:
            return event.posted_at
        return event.held_at

    @property
    def _is_as_held(self) -> bool:
        """Whether the model is that of the hold, and has its price: another name of it may have been served."""
        event, hold = self.event, self.hold
        return (
            hold is not None
            and (event.facts.provider, event.facts.model) == (hold.facts.provider, hold.facts.model)
            and (event.price_id, event.discount_id) == (hold.price_id, hold.discount_id)
        )

    @property
    def is_of_parts(self) -> bool:
        """Whether it is a part of a call, or ends one that was booked in parts."""
        hold = self.hold
        return hold is not None and not hold.lease and (self.event.part or bool(hold.drawn_use))


async def follow_the_index(connection: AsyncConnection, tenant: TenantId) -> tuple[int, int]:
    """Prepare a transaction for its pages; return what they will show at least.

    That is the sequence number of the last batch and the version of the set-up.
    """
    row = (await connection.execute(text(_FOLLOW_THE_INDEX), {"tenant": tenant})).one()
    return row.sequence, row.config_version


async def unpriced_page(
    connection: AsyncConnection, tenant: TenantId, after: str | None, limit: int, models: Sequence[str] | None,
    *, newest_first: bool,
) -> list[Candidate]:  # fmt: skip
    """Return the next events of which a part had no price, by their models and ids; of `models`, if they are given.

    There are so many, fewer only at the end.
    """
    event_id, model = (0, "") if after is None else _read_place(after)
    way = "desc" if newest_first else "asc"
    if models is None:
        condition = STILL_UNPRICED if after is None else _UNPRICED_AFTER
        values = {} if after is None else {"model": model, "after": event_id}
        return await _fetch(connection, tenant, condition, f"e.model {way}, e.event_id {way}", limit=limit, **values)
    found: list[Candidate] = []
    for name in models:
        if name >= model and len(found) < limit:
            found += await _fetch(
                connection, tenant, _UNPRICED_OF_MODEL, f"e.event_id {way}", limit=limit - len(found), model=name,
                after=event_id if name == model else 0,
            )  # fmt: skip
    return found


def unpriced_place(event: UsageEvent) -> str:
    """Return the place after an event among those of which a part had no price."""
    return f"{event.event_id}/{event.facts.model}"


async def span_page(
    connection: AsyncConnection, tenant: TenantId, after: str | None, limit: int, models: Sequence[str] | None,
    *, since: datetime, until: datetime,
) -> list[Candidate]:  # fmt: skip
    """Return the next events of a span of time whose cost follows from a price, in the order of their instants and ids.

    There are so many, fewer only at the end.
    """
    event_id = 0
    if after is not None:
        event_id, text = _read_place(after)
        try:
            instant = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(_NO_PLACE) from None
        since, event_id = max((since, 0), (instant, event_id))
    condition = _OF_SPAN if models is None else _OF_SPAN + _OF_MODELS
    values = {} if models is None else {"models": list(models)}
    return await _fetch(
        connection, tenant, condition, "e.posted_at, e.event_id", limit=limit, since=since, until=until, after=event_id,
        **values,
    )  # fmt: skip


def span_place(event: UsageEvent) -> str:
    """Return the place after an event among those of a span of time."""
    return f"{event.event_id}/{event.posted_at.astimezone(UTC).isoformat()}"


async def _fetch(
    connection: AsyncConnection, tenant: TenantId, condition: str, order: str, **values: object
) -> list[Candidate]:  # fmt: skip
    statement = _PAGE.format(condition=condition, order=order)
    # A row of the reader is read by places in twice the time of a tuple.
    found = [tuple(row) for row in await fetch_rows(connection, statement, tenant=tenant, **values)]
    events = [rows.EVENT.read(row) for row in found]
    ids = {event.reservation_id for event in events if event.reservation_id is not None}
    read = await fetch_rows(connection, _HOLDS, tenant=tenant, ids=[*ids]) if ids else ()
    holds = {hold.reservation_id: hold for hold in map(rows.RESERVATION.read, map(tuple, read))}
    return [
        Candidate(event, holds.get(event.reservation_id or 0), *row[_BOOKED_AT:])
        for event, row in zip(events, found, strict=True)
    ]


def _read_place(place: str) -> tuple[int, str]:
    """Return the event and the rest of a place; raises ValueError if it is none."""
    event_id, slash, rest = place.partition("/")
    if not (slash and event_id.isascii() and event_id.isdigit() and int(event_id) < 2**63):
        raise ValueError(_NO_PLACE)
    return int(event_id), rest
