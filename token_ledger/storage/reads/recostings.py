"""Finds calls of which a part had no price that it has now, and what re-costing them would change.

They are looked at in the order of their models and ids, so many at a time, from where the look before has ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.administration import RecostedCall
from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.name_patterns import ANYTHING, Names, is_pattern
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.recosting import Recosting, UnpricedCall, recosting_of
from token_ledger.core.model.reservation import HoldState, Reservation
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT
from token_ledger.storage import rows
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.schema.columns import STILL_UNPRICED

MOST_LOOKED_AT = 1_000
"""At how many events one look looks, which takes about a tenth of a second."""
MOST_FOUND = 500
"""How many calls one look finds: they are re-costed in one batch, for which the tenant's other calls wait."""

# The inner query follows the index to its limit, however few of its rows are wanted, so what it reads is bounded: the
# condition of row-level security makes the planner expect few rows, and sort all there are. The outer `limit 1` makes a
# probe of every look-up, also with a plan for a small table.
_FOLLOW_THE_INDEX = "set local enable_sort = off"
_PAGE = f"""
select {rows.EVENT.select("e")}, {rows.RESERVATION.select("r")}, e.booked_at, exists (
    select from usage_events as c where c.tenant_id = e.tenant_id and c.corrects = e.event_id and c.corrects is not null
) as is_corrected
from (
    select * from usage_events as e
    where e.tenant_id = :tenant and {STILL_UNPRICED} and {{place}}
    order by {{order}} limit :limit
) as e
left join lateral (
    select * from reservations as stored
    where stored.tenant_id = e.tenant_id and stored.reservation_id = e.reservation_id limit 1
) as r on true
order by {{order}}
"""
_FROM_THE_BEGIN = "true"
_AFTER = "(e.model, e.event_id) > (:model, :after)"
_OF_MODEL = "e.model = :model and e.event_id > :after"

# Parts of a call, and what ends it, are posted at the instant of its hold.
_OF_CALLS = f"""
select {rows.EVENT.select("e")}, e.booked_at, exists (
    select from usage_events as c where c.tenant_id = e.tenant_id and c.corrects = e.event_id and c.corrects is not null
) as is_corrected
from unnest(cast(:ids as bigint[]), cast(:instants as timestamptz[])) as h (id, at)
join usage_events as e on e.tenant_id = :tenant and e.posted_at = h.at and e.reservation_id = h.id
order by e.event_id
"""
_BEFORE = f"""
select {rows.EVENT.select("e")} from usage_events as e
where e.tenant_id = :tenant and e.recosts = any(cast(:ids as bigint[])) and e.recosts is not null and e.corrects is null
order by e.event_id
"""
_SPELLINGS = """
select distinct model from model_names where tenant_id = :tenant and asked_provider = :provider and asked_model = :model
"""
_HOLD_AT = 1 + len(rows.EVENT.columns)
_BOOKED_AT = _HOLD_AT + 1 + len(rows.RESERVATION.columns)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: of a model or of those that a pattern names, of a provider, and of a span of time."""

    provider: str | None = None
    model: str | None = None
    since: datetime = FIRST_INSTANT
    until: datetime = LAST_INSTANT

    @property
    def target(self) -> str:
        """How the audit log names them."""
        return f"{self.provider or ANYTHING}/{self.model or ANYTHING}"


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has found; `following` is where the next one begins, None where nothing is left."""

    calls: list[tuple[RecostedCall, Recosting]]
    following: str | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    event: UsageEvent
    hold: Reservation | None
    booked_at: datetime
    is_corrected: bool

    def is_in(self, wanted: Wanted) -> bool:
        """Whether it is of the span of time, and its cost follows from a price: not of a cache hit or a duplicate."""
        event = self.event
        follows = not self.is_corrected and not event.is_duplicate and event.kind is not Kind.CACHE_HIT
        return follows and wanted.since <= event.posted_at < wanted.until

    @property
    def called(self) -> ModelName:
        """The name that its price is found by: what was called, as it was named."""
        event, hold = self.event, self.hold
        named = ModelName(event.facts.provider, event.facts.model)
        if hold is None:
            return event.requested or named
        is_held = named == (hold.facts.provider, hold.facts.model)
        return event.served or (hold.to_call if is_held else named)

    @property
    def is_of_parts(self) -> bool:
        """Whether it is a part of a call, or ends one that was booked in parts."""
        hold = self.hold
        return hold is not None and not hold.lease and (self.event.part or bool(hold.drawn_use))


async def look(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted, after: str | None = None,
    *, newest_first: bool = False, most: int = MOST_FOUND,
) -> Look:  # fmt: skip
    """Return calls that have a price now for what had none, and where to look on.

    Raises ValueError if `after` is not the `following` of another look.
    """
    await connection.execute(text(_FOLLOW_THE_INDEX))
    page = await _page(connection, tenant, book, wanted, after, newest_first=newest_first)
    fits = _filter(book, wanted)
    chosen = [each for each in page if each.is_in(wanted) and fits(each)]
    parts = await _parts_of(connection, tenant, [each for each in chosen if each.is_of_parts])
    ids = [each.event.event_id for each in chosen]
    before: dict[int | None, tuple[UsageEvent, ...]] = {}
    for row in await fetch_rows(connection, _BEFORE, tenant=tenant, ids=ids):
        recosting = rows.EVENT.read(row)
        before[recosting.recosts] = (*before.get(recosting.recosts, ()), recosting)
    found: list[tuple[RecostedCall, Recosting]] = []
    for each in chosen:
        event = each.event
        events = parts.get(event.event_id, ()) if each.is_of_parts else ((event, each.booked_at),)
        if not events:
            continue
        recosting_of_it = recosting_of(
            book, UnpricedCall(tuple(part for part, _ in events), each.called, before.get(event.event_id, ()))
        )
        if recosting_of_it is not None:
            named = tuple((part.event_id, booked_at) for part, booked_at in events)
            found.append((RecostedCall(named, each.called), recosting_of_it))
        if len(found) == most:
            return Look(found, _place(event))
    return Look(found, _place(page[-1].event) if len(page) == MOST_LOOKED_AT else None)


async def count_recostable(connection: AsyncConnection, tenant: TenantId, book: PriceBook, name: ModelName) -> int:
    """Return how many calls one look finds among the newest of a model, or of the models of a pattern."""
    if name == (ANYTHING, ANYTHING):
        return 0  # it stands in for prices and is none
    return len((await look(connection, tenant, book, Wanted(*name), newest_first=True)).calls)


async def _page(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted, after: str | None,
    *, newest_first: bool,
) -> list[_Candidate]:  # fmt: skip
    """Return the next events of which a part had no price, by their models and ids, those of one model if it is named.

    There are `MOST_LOOKED_AT`, fewer only at the end.
    """
    event_id, model = (0, "") if after is None else _read_place(after)
    way = "desc" if newest_first else "asc"
    if wanted.model is None or is_pattern(wanted.model):
        place = _FROM_THE_BEGIN if after is None else _AFTER
        order = f"e.model {way}, e.event_id {way}"
        return await _fetch(connection, tenant, place, order, MOST_LOOKED_AT, model=model, after=event_id)
    found: list[_Candidate] = []
    for name in await _names(connection, tenant, book, wanted):
        if name >= model and len(found) < MOST_LOOKED_AT:
            since = event_id if name == model else 0
            left = MOST_LOOKED_AT - len(found)
            found += await _fetch(connection, tenant, _OF_MODEL, f"e.event_id {way}", left, model=name, after=since)
    return found


async def _fetch(
    connection: AsyncConnection, tenant: TenantId, place: str, order: str, limit: int, *, model: str, after: int
) -> list[_Candidate]:
    values = {} if place == _FROM_THE_BEGIN else {"model": model, "after": after}
    statement = _PAGE.format(place=place, order=order)
    return [
        _Candidate(
            rows.EVENT.read(row),
            None if row[_HOLD_AT] is None else rows.RESERVATION.read(row[_HOLD_AT:]),
            row[_BOOKED_AT],
            row.is_corrected,
        )
        for row in await fetch_rows(connection, statement, tenant=tenant, limit=limit, **values)
    ]


def _place(event: UsageEvent) -> str:
    return f"{event.event_id}/{event.facts.model}"


def _read_place(place: str) -> tuple[int, str]:
    """Return the event and the model of a place; raises ValueError if it is none."""
    event_id, slash, model = place.partition("/")
    if not (slash and event_id.isascii() and event_id.isdigit() and int(event_id) < 2**63):
        raise ValueError("there is no such place; give the `next` of another answer")
    return int(event_id), model


async def _names(connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted) -> list[str]:
    """Return what a model may be called in the books."""
    model, provider = wanted.model or "", wanted.provider or ""
    names = {model, model.strip().casefold(), book.name_of(provider, model).model}
    found = await fetch_rows(connection, _SPELLINGS, tenant=tenant, provider=provider, model=model)
    return sorted(names.union(row.model for row in found))


def _filter(book: PriceBook, wanted: Wanted) -> Callable[[_Candidate], bool]:
    """Return what tells whether a call is one of those that are wanted, by its name in the books or as it was called.

    The provider stands for itself, and for the one that the name leads to.
    """
    owner = None if wanted.provider is None else book.provider_named(wanted.provider)
    names: Names[bool] = Names()
    names.put("", wanted.model or ANYTHING, True)
    exact = wanted.model is not None and not is_pattern(wanted.model)
    known = book.name_of(wanted.provider or "", wanted.model or "") if exact else None

    def fits(each: _Candidate) -> bool:
        booked = ModelName(each.event.facts.provider, each.event.facts.model)
        return booked == known or any(
            owner in (None, ANYTHING, book.provider_named(name.provider))
            and bool(names.find("", name.model.casefold()))
            for name in (booked, each.called)
        )

    return fits


async def _parts_of(
    connection: AsyncConnection, tenant: TenantId, candidates: Sequence[_Candidate]
) -> dict[int, tuple[tuple[UsageEvent, datetime], ...]]:
    """Return by the last event of a call in parts all its events by the same model, with the instants of their booking.

    A call that may have more parts is left out, because these are priced with those before as one call; so is one of
    which a part was taken back.
    """
    ended = {HoldState.SETTLED, HoldState.RELEASED}
    holds = {
        each.hold.reservation_id: each.hold.created_at
        for each in candidates
        if each.hold is not None and each.hold.state in ended
    }
    if not holds:
        return {}
    calls: dict[tuple[int | None, str, str], list[tuple[UsageEvent, datetime]]] = {}
    reversed_calls = set()
    for row in await fetch_rows(
        connection, _OF_CALLS, tenant=tenant, ids=[*holds], instants=[*holds.values()]
    ):  # fmt: skip
        event = rows.EVENT.read(row)
        name = (event.reservation_id, event.facts.provider, event.facts.model)
        calls.setdefault(name, []).append((event, row[_HOLD_AT]))
        if row.is_corrected:
            reversed_calls.add(name)
    return {events[-1][0].event_id: tuple(events) for name, events in calls.items() if name not in reversed_calls}
