"""Owns the live streams of a process: how many there may be, and one reader per tenant that reads for all of them.

A stream that begins further back than the reader remembers catches up with reads of its own, a few streams at a time.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from token_ledger.core.batch.books import last_id
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.errors import Unavailable
from token_ledger.reports import live_feed
from token_ledger.reports.live_feed import LiveEvent
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.reads.live_feed import current_sequence
from token_ledger.wire.problems import ProblemError, RequestCode

log = logging.getLogger(__name__)

MOST_STREAMS = 1_000
"""How many streams a process has at a time."""
MOST_STREAMS_EACH = 20
"""How many of them a key, a person, or all tokens of a user or a run have."""
LIVE_SECONDS = 0.25
"""How often a tenant's reader looks for new events."""
CHECK_ROUNDS = 2
"""After how many rounds without an event streams are woken, to see whether their key is still in force."""
MOST_READ = 500
"""How many events are read at a time."""
MOST_REMEMBERED = 2_000
"""How many of the newest events of a tenant its reader remembers."""
MOST_CATCHING_UP = 2
"""How many streams read for themselves at a time, so that other reads find a connection."""
_RETRY = {"Retry-After": "10"}


@dataclass
class _Feed:
    """The newest events of a tenant: all that come after the id `begins_after`, up to `last`."""

    begins_after: int
    last: int
    events: deque[LiveEvent] = field(default_factory=deque)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, events: list[LiveEvent]) -> None:
        self.events.extend(events)
        self.last = events[-1].event_id
        while len(self.events) > MOST_REMEMBERED:
            self.begins_after = self.events.popleft().event_id

    def after(self, event_id: int) -> list[LiveEvent]:
        """Return the events after one, oldest first."""
        newest_first = []
        for event in reversed(self.events):
            if event.event_id <= event_id:
                break
            newest_first.append(event)
        return newest_first[::-1]

    def wake(self) -> None:
        """Let every stream that waits look for new events."""
        self.woken.set()
        self.woken = asyncio.Event()


class LiveFeeds:
    """The live streams of a process, and what its readers know of each tenant."""

    def __init__(self, database: Database, stopping: asyncio.Event) -> None:
        self._database = database
        self._stopping = stopping
        self._streams: Counter[tuple[object, ...]] = Counter()
        self._readers: dict[TenantId, asyncio.Task[None]] = {}
        self._feeds: dict[TenantId, asyncio.Future[_Feed]] = {}
        self._following: Counter[TenantId] = Counter()
        self._catching_up = asyncio.Semaphore(MOST_CATCHING_UP)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return self._streams.total()

    @property
    def readers(self) -> int:
        """How many tenants are read for them."""
        return len(self._readers)

    @contextmanager
    def admitted(self, watcher: Principal) -> Iterator[None]:
        """Count a stream while it is open; raise the problem if there are too many."""
        whose = _whose(watcher)
        if self._streams[whose] >= MOST_STREAMS_EACH:
            detail = (
                f"{MOST_STREAMS_EACH} live streams are open with this key or for this user; close one of them first"
            )
            raise ProblemError(RequestCode.TOO_MANY_STREAMS, detail, headers=_RETRY)
        if self.open_streams >= MOST_STREAMS:
            detail = "this process has as many live streams as it can serve; try again later"
            raise ProblemError(RequestCode.UNAVAILABLE, detail, headers=_RETRY)
        self._streams[whose] += 1
        try:
            yield
        finally:
            self._streams[whose] -= 1
            if not self._streams[whose]:
                del self._streams[whose]

    async def follow(self, watcher: Principal, event_id: int) -> AsyncGenerator[list[LiveEvent], None]:
        """Yield the events after one that a principal may see, without end; also none, now and then.

        Raises DatabaseAway while older events can't be read.
        """
        self._following[watcher.tenant] += 1
        try:
            feed = await self._feed(watcher.tenant)
            while not self._stopping.is_set():
                woken = feed.woken
                if event_id < feed.begins_after:
                    events, event_id = await self._catch_up(watcher, event_id, feed.last)
                else:
                    events = [event for event in feed.after(event_id) if _may_see(watcher, event)]
                    event_id = max(event_id, feed.last)
                yield events
                if not events and event_id >= feed.last:
                    await woken.wait()
        finally:
            self._following[watcher.tenant] -= 1

    async def _catch_up(self, watcher: Principal, event_id: int, known: int) -> tuple[list[LiveEvent], int]:
        """Return what comes after an event, and the id up to which that is all; `known` is one that is committed."""
        async with self._catching_up, self._database.reading(watcher.tenant) as connection:
            events = await live_feed.events_after(
                connection, watcher.tenant, event_id, MOST_READ, user=watcher.user, run_id=watcher.run_id
            )
        last = events[-1].event_id if events else event_id
        return events, last if len(events) == MOST_READ else max(last, known)

    async def _feed(self, tenant: TenantId) -> _Feed:
        """Return what is known of a tenant, from a reader that is started if there is none."""
        reader = self._readers.get(tenant)
        if reader is None or reader.done():
            started = self._feeds[tenant] = asyncio.get_running_loop().create_future()
            self._readers[tenant] = asyncio.create_task(self._read(tenant, started))
        return await asyncio.shield(self._feeds[tenant])  # whoever goes away leaves it to the others

    async def _read(self, tenant: TenantId, started: "asyncio.Future[_Feed]") -> None:
        """Read a tenant's new events while somebody follows them."""
        try:
            async with self._database.reading(tenant) as connection:
                last = last_id(await current_sequence(connection, tenant))
        except Exception as error:
            if not isinstance(error, DatabaseAway):
                log.exception("could not start reading live events")
            if not started.done():
                started.set_exception(error if isinstance(error, DatabaseAway) else Unavailable(str(error)))
                started.exception()  # it is raised where somebody waits, if anybody still does
            self._forget(tenant, started)
            return
        feed = _Feed(last, last)
        started.set_result(feed)
        rounds = 0
        while self._following[tenant] and not self._stopping.is_set():
            events = await self._new_events(tenant, feed.last)
            if events:
                feed.add(events)
            rounds = 0 if events else rounds + 1
            if events or rounds % CHECK_ROUNDS == 0:
                feed.wake()
            if len(events) < MOST_READ:
                await _pause(self._stopping)
        feed.wake()
        self._forget(tenant, started)

    def _forget(self, tenant: TenantId, started: "asyncio.Future[_Feed]") -> None:
        """Forget a reader that has ended, unless another one has taken its place."""
        if self._feeds.get(tenant) is started:
            del self._feeds[tenant], self._readers[tenant]

    async def _new_events(self, tenant: TenantId, last: int) -> list[LiveEvent]:
        try:
            async with self._database.reading(tenant) as connection:
                return await live_feed.events_after(connection, tenant, last, MOST_READ)
        except DatabaseAway:
            return []  # the streams go on when it is back
        except Exception:
            log.exception("could not read live events")
            return []


def _whose(watcher: Principal) -> tuple[object, ...]:
    """Return what streams are counted by: a user or run, whichever of its tokens is sent, or the key or person."""
    if watcher.is_limited:
        return watcher.tenant, watcher.user, watcher.run_id
    return watcher.tenant, watcher.key_id, watcher.person


def _may_see(watcher: Principal, event: LiveEvent) -> bool:
    if watcher.user is not None and event.user != watcher.user:
        return False
    return watcher.run_id is None or watcher.run_id == event.run_id or watcher.run_id in event.ancestors


async def _pause(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), LIVE_SECONDS)
    except TimeoutError:
        return
