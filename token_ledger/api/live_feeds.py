"""Owns the live streams of a process: how many there may be, and one reader per tenant that reads for all of them.

A stream that begins further back than the reader remembers catches up with reads of its own, a few streams at a time.
"""

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from token_ledger.core.batch.books import last_id
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.errors import Unavailable
from token_ledger.reports import live_feed
from token_ledger.reports.live_feed import LiveEvent
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.reads.live_feed import current_sequence
from token_ledger.storage.reads.run_news import RunNews, find_run_news
from token_ledger.wire.problems import ProblemError, RequestCode

log = logging.getLogger(__name__)

MOST_STREAMS = 1_000
"""How many streams a process has at a time."""
MOST_STREAMS_EACH = 20
"""How many of them a key, a person, or all tokens of a user or a run have; those of single runs count for each run."""
MOST_RUN_STREAMS = 500
"""How many streams of single runs they have: less than all, so that others find room."""
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
    """The newest events of a tenant: all that come after the id `begins_after`, up to `last`; the runs watched now."""

    begins_after: int
    last: int
    events: deque[LiveEvent] = field(default_factory=deque)
    runs: dict[int, RunNews] = field(default_factory=dict)
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
        self._open = 0
        self._streams: Counter[tuple[object, ...]] = Counter()
        self._readers: dict[TenantId, asyncio.Task[None]] = {}
        self._feeds: dict[TenantId, asyncio.Future[_Feed]] = {}
        self._following: Counter[TenantId] = Counter()
        self._watched: defaultdict[TenantId, Counter[int]] = defaultdict(Counter)
        self._catching_up = asyncio.Semaphore(MOST_CATCHING_UP)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return self._open

    @property
    def readers(self) -> int:
        """How many tenants are read for them."""
        return len(self._readers)

    def watched_runs(self, tenant: TenantId) -> int:
        """How many of a tenant's runs are read for them."""
        return len(self._watched[tenant])

    @contextmanager
    def admitted(self, watcher: Principal, run_id: int | None = None) -> Iterator[None]:
        """Count a stream, of one run if it is named, while it is open; raise the problem if there are too many."""
        whose = _whose(watcher)
        counted = [(*whose, run_id)] if run_id is None else [(*whose, run_id), (*whose, "runs")]
        for each, most in zip(counted, (MOST_STREAMS_EACH, MOST_RUN_STREAMS), strict=False):
            if self._streams[each] >= most:
                which = "live streams" if run_id is None else "live streams of runs"
                detail = f"{most} {which} are open with this key or for this user; close one of them first"
                raise ProblemError(RequestCode.TOO_MANY_STREAMS, detail, headers=_RETRY)
        if self.open_streams >= MOST_STREAMS:
            detail = "this process has as many live streams as it can serve; try again later"
            raise ProblemError(RequestCode.UNAVAILABLE, detail, headers=_RETRY)
        self._streams.update(counted)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._streams.subtract(counted)
            for each in counted:
                if not self._streams[each]:
                    del self._streams[each]

    async def follow(
        self, watcher: Principal, event_id: int, run_id: int | None = None
    ) -> AsyncGenerator[list[LiveEvent], None]:
        """Yield the events after one that a principal may see, without end; also none, now and then.

        With `run_id`, only those of that run and its sub-runs. Raises DatabaseAway while older events can't be read.
        """
        self._following[watcher.tenant] += 1
        try:
            feed = await self._feed(watcher.tenant)
            while not self._stopping.is_set():
                woken = feed.woken
                if event_id < feed.begins_after:
                    events, event_id = await self._catch_up(watcher, event_id, feed.last, run_id)
                else:
                    events = [event for event in feed.after(event_id) if _may_see(watcher, event, run_id)]
                    event_id = max(event_id, feed.last)
                yield events
                if not events and event_id >= feed.last:
                    await woken.wait()
        finally:
            self._following[watcher.tenant] -= 1

    async def follow_run(
        self, watcher: Principal, run_id: int, event_id: int
    ) -> AsyncGenerator[list[LiveEvent | RunNews], None]:
        """Yield how a run stands, and again whenever that has changed, and its events after one, without end.

        Of changes that follow one another quickly only the last is told, so a slow reader is never behind.
        """
        watched = self._watched[watcher.tenant]
        watched[run_id] += 1
        try:
            async with self._catching_up, self._database.reading(watcher.tenant) as connection:
                shown = (await find_run_news(connection, watcher.tenant, [run_id]))[run_id]
            yield [shown]
            async with aclosing(self.follow(watcher, event_id, run_id)) as found:
                async for events in found:
                    news = self._news_of(watcher.tenant, run_id)
                    if news is None or not news.tells_more_than(shown):
                        yield [*events]
                        continue
                    shown = news
                    yield [*events, shown]
        finally:
            watched[run_id] -= 1
            if not watched[run_id]:
                del watched[run_id]

    def _news_of(self, tenant: TenantId, run_id: int) -> RunNews | None:
        feed = self._feeds.get(tenant)
        return feed.result().runs.get(run_id) if feed is not None and feed.done() and not feed.exception() else None

    async def _catch_up(
        self, watcher: Principal, event_id: int, known: int, run_id: int | None
    ) -> tuple[list[LiveEvent], int]:
        """Return what comes after an event, and the id up to which that is all; `known` is one that is committed."""
        async with self._catching_up, self._database.reading(watcher.tenant) as connection:
            events = await live_feed.events_after(
                connection, watcher.tenant, event_id, MOST_READ, user=watcher.user, run_id=run_id or watcher.run_id
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
            has_news = bool(events) | await self._look_at_runs(tenant, feed)
            rounds = 0 if has_news else rounds + 1
            if has_news or rounds % CHECK_ROUNDS == 0:
                feed.wake()
            if len(events) < MOST_READ:
                await _pause(self._stopping)
        feed.wake()
        self._forget(tenant, started)

    def _forget(self, tenant: TenantId, started: "asyncio.Future[_Feed]") -> None:
        """Forget a reader that has ended, unless another one has taken its place."""
        if self._feeds.get(tenant) is started:
            del self._feeds[tenant], self._readers[tenant]

    async def _look_at_runs(self, tenant: TenantId, feed: _Feed) -> bool:
        """Read the runs that somebody watches; return whether any has changed."""
        watched = [*self._watched[tenant]]
        if not watched:
            feed.runs = {}
            return False
        try:
            async with self._database.reading(tenant) as connection:
                found = await find_run_news(connection, tenant, watched)
        except DatabaseAway:
            return False  # what has changed is told when it is back
        except Exception:
            log.exception("could not read watched runs")
            return False
        before, feed.runs = feed.runs, found
        return any(run not in before or news.tells_more_than(before[run]) for run, news in found.items())

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


def _may_see(watcher: Principal, event: LiveEvent, run_id: int | None) -> bool:
    if watcher.user is not None and event.user != watcher.user:
        return False
    return all(run is None or run == event.run_id or run in event.ancestors for run in (watcher.run_id, run_id))


async def _pause(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), LIVE_SECONDS)
    except TimeoutError:
        return
