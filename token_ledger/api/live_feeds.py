"""Owns the live streams of a process: how many there may be, and one reader per tenant that reads for all of them.

A stream that begins further back than the reader remembers catches up with reads of its own, a few streams at a time.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from token_ledger.core.batch.books import last_id
from token_ledger.core.model.principal import Principal
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.errors import Unavailable
from token_ledger.reports import live_feed
from token_ledger.reports.live_feed import LiveEvent
from token_ledger.storage.database import Database, DatabaseAway
from token_ledger.storage.reads.live_feed import LedgerState, current_sequence, find_ledger_state
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
    """The newest events of a tenant: all that come after the id `begins_after`, up to `last`; the runs watched now.

    `looked` is the state of the ledger in which these runs were looked at; `is_behind` says that more events wait.
    """

    begins_after: int
    last: int
    events: deque[LiveEvent] = field(default_factory=deque)
    runs: dict[int, RunNews] = field(default_factory=dict)
    looked: tuple[LedgerState, frozenset[int]] | None = None
    is_behind: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, events: list[LiveEvent]) -> None:
        self.is_behind = len(events) == MOST_READ
        if not events:
            return
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
        self._watched: dict[TenantId, Counter[int]] = {}
        self._catching_up = asyncio.Semaphore(MOST_CATCHING_UP)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return self._open

    @property
    def readers(self) -> int:
        """How many tenants are read for them."""
        return len(self._readers)

    @property
    def watched(self) -> Mapping[TenantId, Collection[int]]:
        """The runs that are read for them."""
        return self._watched

    @contextmanager
    def admitted(self, watcher: Principal, run_id: int | None = None) -> Iterator[None]:
        """Count a stream, of one run if it is named, while it is open; raise the problem if there are too many."""
        whose = _whose(watcher)
        limits: list[tuple[object, int, str]] = [(None, MOST_STREAMS_EACH, "")]
        if run_id is not None:
            limits = [(run_id, MOST_STREAMS_EACH, f" of run {run_id}"), ("runs", MOST_RUN_STREAMS, " of runs")]
        counted = [(*whose, of) for of, _, _ in limits]
        for each, (_, most, which) in zip(counted, limits, strict=True):
            if self._streams[each] >= most:
                detail = f"{most} live streams{which} are open with this key or for this user; close one of them first"
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
        async with aclosing(self._rounds(watcher, event_id, run_id)) as rounds:
            async for _, events in rounds:
                yield events

    async def follow_run(
        self, watcher: Principal, run_id: int, event_id: int | None
    ) -> AsyncGenerator[list[LiveEvent | RunNews], None]:
        """Yield how a run stands, and again whenever that has changed, and its events after one, without end.

        Without an event, none of its events. Of changes that follow one another quickly only the last is told, so a
        slow reader is never behind.
        """
        watched = self._watched.setdefault(watcher.tenant, Counter())
        watched[run_id] += 1
        try:
            async with self._catching_up, self._database.reading(watcher.tenant) as connection:
                shown = (await find_run_news(connection, watcher.tenant, [run_id]))[run_id]
            yield [shown]
            async with aclosing(self._rounds(watcher, event_id, run_id)) as rounds:
                async for feed, events in rounds:
                    news = feed.runs.get(run_id)
                    if news is None or not news.tells_more_than(shown):
                        yield [*events]
                        continue
                    shown = news
                    yield [*events, shown]
        finally:
            watched[run_id] -= 1
            if not watched[run_id]:
                del watched[run_id]
            if not watched:
                del self._watched[watcher.tenant]

    async def _rounds(
        self, watcher: Principal, event_id: int | None, run_id: int | None
    ) -> AsyncGenerator[tuple[_Feed, list[LiveEvent]], None]:
        """Yield what is known of a tenant whenever there is news, with the events after one, if one is given."""
        tenant = watcher.tenant
        self._following[tenant] += 1
        try:
            feed = await self._feed(tenant)
            while not self._stopping.is_set():
                woken = feed.woken
                events: list[LiveEvent] = []
                if event_id is not None and event_id < feed.begins_after:
                    events, event_id = await self._catch_up(watcher, event_id, feed.last, run_id)
                elif event_id is not None:
                    events = [event for event in feed.after(event_id) if _may_see(watcher, event, run_id)]
                    event_id = max(event_id, feed.last)
                yield feed, events
                if not events and (event_id is None or event_id >= feed.last):
                    await woken.wait()
        finally:
            self._following[tenant] -= 1
            if not self._following[tenant]:
                del self._following[tenant]

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
            has_news = await self._look(tenant, feed)
            rounds = 0 if has_news else rounds + 1
            if has_news or rounds % CHECK_ROUNDS == 0:
                feed.wake()
            if not feed.is_behind:
                await _pause(self._stopping)
        feed.wake()
        self._forget(tenant, started)

    def _forget(self, tenant: TenantId, started: "asyncio.Future[_Feed]") -> None:
        """Forget a reader that has ended, unless another one has taken its place."""
        if self._feeds.get(tenant) is started:
            del self._feeds[tenant], self._readers[tenant]

    async def _look(self, tenant: TenantId, feed: _Feed) -> bool:
        """Read a tenant's new events and the runs that somebody watches; return whether there is any news."""
        try:
            return await self._read_news(tenant, feed)
        except DatabaseAway:
            return False  # what has changed is told when it is back
        except Exception:
            log.exception("could not read live events")
            return False

    async def _read_news(self, tenant: TenantId, feed: _Feed) -> bool:
        watched = frozenset(self._watched.get(tenant, ()))
        async with self._database.reading(tenant) as connection:
            looked = await find_ledger_state(connection, tenant), watched
            if looked == feed.looked and not feed.is_behind:
                return False
            events = await live_feed.events_after(connection, tenant, feed.last, MOST_READ)
            runs = feed.runs
            if looked != feed.looked:
                runs = await find_run_news(connection, tenant, watched) if watched else {}
        before = feed.runs
        feed.looked, feed.runs = looked, runs
        feed.add(events)
        return bool(events) or any(run not in before or news.tells_more_than(before[run]) for run, news in runs.items())


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
