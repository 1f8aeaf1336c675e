"""Finds calls of which a part had no price that it has now, or that cost another amount by now, and what that changes.

They are looked at in the order of their models and ids, those of a span of time in that of their instants and ids, so
many at a time, from where the look before has ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from token_ledger.core.batch.administration import Recost, RecostedCall
from token_ledger.core.batch.recosting_sums import Gathered
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.name_patterns import ANYTHING, Names, is_pattern
from token_ledger.core.model.price import ModelName, PriceBook
from token_ledger.core.model.recosting import Basis, FoundRecosting, RecostableCall, Recosting, recosting_of
from token_ledger.core.model.reservation import HoldState
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT, Calendar
from token_ledger.storage import rows
from token_ledger.storage.calendars import load_calendar
from token_ledger.storage.reads.query import fetch_rows
from token_ledger.storage.reads.recosting_candidates import (
    Candidate,
    follow_the_index,
    span_page,
    span_place,
    unpriced_page,
    unpriced_place,
)

MOST_LOOKED_AT = 1_000
"""At how many events one look looks, which takes about a tenth of a second."""
MOST_FOUND = 500
"""How many calls one look finds: they are re-costed in one batch, for which the tenant's other calls wait."""
_AT_A_TIME = 50
"""How many calls are priced in one turn of the event loop, which takes less than a millisecond."""

# Parts of a call, and what ends it, are posted at the instant of its hold. Each is a probe of an index: while a whole
# set is wanted in the order of ids, the planner reads all events of the tenant in that order, because sorts are off.
_OF_CALLS = f"""
select {rows.EVENT.select("e")}, e.booked_at, exists (
    select from usage_events as c where c.tenant_id = e.tenant_id and c.corrects = e.event_id and c.corrects is not null
) as is_corrected
from unnest(cast(:ids as bigint[]), cast(:instants as timestamptz[])) as h (id, at)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = :tenant and stored.posted_at = h.at and stored.reservation_id = h.id
    order by stored.posted_at
) as e
"""
_BEFORE = f"""
select {rows.EVENT.select("e")} from unnest(cast(:ids as bigint[])) as wanted (event_id)
cross join lateral (
    select * from usage_events as stored
    where stored.tenant_id = :tenant and stored.recosts = wanted.event_id and stored.recosts is not null
      and stored.corrects is null
    order by stored.recosts
) as e
"""
_SPELLINGS = """
select distinct model from model_names where tenant_id = :tenant and asked_provider = :provider and asked_model = :model
"""
_BOOKED_AT = 1 + len(rows.EVENT.columns)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: of a model or of those that a pattern names, of a provider, and of a span of time.

    With `also_priced` all of each call is re-costed; else only what had no price.
    """

    provider: str | None = None
    model: str | None = None
    since: datetime = FIRST_INSTANT
    until: datetime = LAST_INSTANT
    also_priced: bool = False

    @property
    def target(self) -> str:
        """How the audit log names them."""
        return f"{self.provider or ANYTHING}/{self.model or ANYTHING}"


@dataclass(frozen=True, slots=True)
class Page:
    """Events at which one look looks, before they are priced; `following` is where the next page begins, if any does.

    `parts` are the events of calls that were booked in parts, and `before` what was re-costed before, both by the
    event that would be re-costed. The calendar is that of the basis.
    """

    candidates: list[Candidate]
    parts: Mapping[int, tuple[tuple[UsageEvent, datetime], ...]]
    before: Mapping[int | None, tuple[UsageEvent, ...]]
    wanted: Wanted
    book: PriceBook
    basis: Basis
    calendar: Calendar
    following: str | None

    def price(self, candidate: Candidate) -> RecostedCall | None:
        """Return the call of an event if it costs something else now."""
        event = candidate.event
        events = self.parts.get(event.event_id, ()) if candidate.is_of_parts else ((event, candidate.booked_at),)
        if not events:
            return None
        called, whole_at = candidate.called, candidate.priced_at if self.wanted.also_priced else None
        before = self.before.get(event.event_id, ())
        call = RecostableCall(tuple(part for part, _ in events), called, before, whole_at)
        recosting = recosting_of(self.book, call)
        if recosting is None:
            return None
        named = tuple((part.event_id, booked_at) for part, booked_at in events)
        return RecostedCall(named, called, whole_at, FoundRecosting(call, recosting, self.basis))


class Part:
    """Calls of a page that are re-costed by one command, priced one after the other."""

    def __init__(self, page: Page) -> None:
        self.calls: list[RecostedCall] = []
        self._page = page
        self._gathered = Gathered(page.basis, page.calendar.period)

    def add(self, call: RecostedCall) -> None:
        """Add a call of the page."""
        assert call.found is not None, "it was found in the page"
        self.calls.append(call)
        self._gathered.add(call.found, call.events[-1][1])

    def command(self, key: str, fingerprint: bytes, actor: str, following: str | None) -> Recost:
        """Return the command; `following` is where those that are left begin."""
        target = self._page.wanted.target
        return Recost(key, fingerprint, tuple(self.calls), target, actor, following, self._gathered.decided)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has found in a page; `following` is where the next one begins, None where nothing is left."""

    calls: list[RecostedCall]
    following: str | None
    page: Page

    @property
    def recostings(self) -> list[Recosting]:
        """What re-costs the calls, in their order."""
        return [call.found.recosting for call in self.calls if call.found is not None]

    def command(self, key: str, fingerprint: bytes, actor: str) -> Recost:
        """Return the command that re-costs what was found."""
        part = Part(self.page)
        for call in self.calls:
            part.add(call)
        return part.command(key, fingerprint, actor, self.following)


async def look(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted, after: str | None = None,
    *, newest_first: bool = False, most: int = MOST_FOUND,
) -> Look:  # fmt: skip
    """Return calls that cost something else now, and where to look on.

    Raises ValueError if `after` is not the `following` of another look.
    """
    page = await read_page(connection, tenant, book, wanted, after, newest_first=newest_first, most=most)
    found: list[RecostedCall] = []
    for number, each in enumerate(page.candidates, start=1):
        if number % _AT_A_TIME == 0:
            await asyncio.sleep(0)  # to let others go on
        if (call := page.price(each)) is not None:
            found.append(call)
        if len(found) == most:
            return Look(found, _place_of(wanted, each.event), page)
    return Look(found, page.following, page)


async def read_page(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted, after: str | None = None,
    *, newest_first: bool = False, most: int = MOST_LOOKED_AT, own: list[int] | None = None,
) -> Page:  # fmt: skip
    """Return the next events that may cost something else now, of which at most so many are wanted.

    `own` is where the caller notes its batches (see `Basis`). Raises ValueError if `after` is not the `following` of
    another page or look.
    """
    basis = Basis(book.edition, *await follow_the_index(connection, tenant), [] if own is None else own)
    calendar, _ = await load_calendar(connection, tenant)  # after its version, so that it is not older
    # In a span of time every call may cost something else: more than are wanted are not read.
    limit = min(MOST_LOOKED_AT, most) if wanted.also_priced else MOST_LOOKED_AT
    page = await _page(connection, tenant, book, wanted, after, limit, newest_first=newest_first)
    fits = _filter(book, wanted)
    chosen = [
        each for each in page if each.follows and wanted.since <= each.event.posted_at < wanted.until and fits(each)
    ]  # fmt: skip
    parts = await _parts_of(connection, tenant, [each for each in chosen if each.is_of_parts])
    ids = [each.event.event_id for each in chosen if each.is_recosted]
    before: dict[int | None, tuple[UsageEvent, ...]] = {}
    found_before = await fetch_rows(connection, _BEFORE, tenant=tenant, ids=ids) if ids else ()
    recostings = map(rows.EVENT.read, found_before)
    for recosting in sorted(recostings, key=lambda each: each.event_id):
        before[recosting.recosts] = (*before.get(recosting.recosts, ()), recosting)
    following = _place_of(wanted, page[-1].event) if len(page) == limit else None
    return Page(chosen, parts, before, wanted, book, basis, calendar, following)


def _place_of(wanted: Wanted, event: UsageEvent) -> str:
    return span_place(event) if wanted.also_priced else unpriced_place(event)


async def count_recostable(connection: AsyncConnection, tenant: TenantId, book: PriceBook, name: ModelName) -> int:
    """Return how many calls one look finds among the newest of a model, or of the models of a pattern."""
    if name == (ANYTHING, ANYTHING):
        return 0  # it stands in for prices and is none
    return len((await look(connection, tenant, book, Wanted(*name), newest_first=True)).calls)


async def _page(
    connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted, after: str | None, limit: int,
    *, newest_first: bool,
) -> list[Candidate]:  # fmt: skip
    """Return the next `limit` events that may be wanted, fewer only at the end."""
    is_one = wanted.model is not None and not is_pattern(wanted.model)
    models = await _names(connection, tenant, book, wanted) if is_one else None
    if wanted.also_priced:
        return await span_page(connection, tenant, after, limit, models, since=wanted.since, until=wanted.until)
    return await unpriced_page(connection, tenant, after, limit, models, newest_first=newest_first)


async def _names(connection: AsyncConnection, tenant: TenantId, book: PriceBook, wanted: Wanted) -> list[str]:
    """Return what a model may be called in the books."""
    model, provider = wanted.model or "", wanted.provider or ""
    names = {model, model.strip().casefold(), book.name_of(provider, model).model}
    found = await fetch_rows(connection, _SPELLINGS, tenant=tenant, provider=provider, model=model)
    return sorted(names.union(row.model for row in found))


def _filter(book: PriceBook, wanted: Wanted) -> Callable[[Candidate], bool]:
    """Return what tells whether a call is one of those that are wanted, by its name in the books or as it was called.

    The provider stands for itself, and for the one that the name leads to.
    """
    if wanted.provider is None and wanted.model is None:
        return lambda each: True
    owner = None if wanted.provider is None else book.provider_named(wanted.provider)
    names: Names[bool] = Names()
    names.put("", wanted.model or ANYTHING, True)
    exact = wanted.model is not None and not is_pattern(wanted.model)
    known = book.name_of(wanted.provider or "", wanted.model or "") if exact else None

    def fits(each: Candidate) -> bool:
        booked = ModelName(each.event.facts.provider, each.event.facts.model)
        return booked == known or any(
            owner in (None, ANYTHING, book.provider_named(name.provider))
            and bool(names.find("", name.model.casefold()))
            for name in (booked, each.called)
        )

    return fits


async def _parts_of(
    connection: AsyncConnection, tenant: TenantId, candidates: Sequence[Candidate]
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
    found = await fetch_rows(connection, _OF_CALLS, tenant=tenant, ids=[*holds], instants=[*holds.values()])
    for event, row in sorted(((rows.EVENT.read(row), row) for row in found), key=lambda each: each[0].event_id):
        name = (event.reservation_id, event.facts.provider, event.facts.model)
        calls.setdefault(name, []).append((event, row[_BOOKED_AT]))
        if row.is_corrected:
            reversed_calls.add(name)
    return {events[-1][0].event_id: tuple(events) for name, events in calls.items() if name not in reversed_calls}
