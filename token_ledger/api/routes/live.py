"""The live streams: every booked call as it happens, or a run with its calls, as server-sent events."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from token_ledger.api.access import FinanceOrUser, ReaderOrUser, key_of
from token_ledger.api.live_feeds import LiveFeeds
from token_ledger.api.ownership import find_own_run
from token_ledger.api.parameters import RunId
from token_ledger.api.service import reading, service_of
from token_ledger.core.batch.books import last_id
from token_ledger.core.model.principal import Principal
from token_ledger.ledger.errors import Unavailable
from token_ledger.reports.formats.json import live_event_answer
from token_ledger.reports.live_feed import LiveEvent
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.reads.live_feed import current_sequence
from token_ledger.storage.reads.run_news import RunNews
from token_ledger.storage.tenants import tenant_name
from token_ledger.wire.answers.run_news import run_news_answer

router = APIRouter(prefix="/v1", tags=["reports"])


async def _feeds_with_room(request: Request, watcher: FinanceOrUser) -> AsyncIterator[LiveFeeds]:
    """Return the process's live feeds, with a place for this stream until it has ended."""
    feeds: LiveFeeds = request.app.state.live_feeds
    with feeds.admitted(watcher):
        yield feeds


Feeds = Annotated[LiveFeeds, Depends(_feeds_with_room)]


After = Annotated[
    int | None,
    Query(
        ge=0, lt=2**47, description="Begin after the batch with this sequence number; by default, now.",
        examples=[1_044],
    ),
]  # fmt: skip


async def _start_of_stream(request: Request, watcher: FinanceOrUser, _: Feeds, after: After = None) -> int:
    """Return the id of the event that a stream begins after.

    It is found before the response begins, so a stream shows whatever is booked once it is open, and a database that
    can't be read is told with a status.
    """
    async with reading(request, watcher.tenant) as connection:
        return _start(request, await current_sequence(connection, watcher.tenant), after)


def _start(request: Request, now: int, after: int | None) -> int:
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit() and len(last) < 19:
        return int(last)
    return last_id(now if after is None else after)


async def _followed(
    watcher: FinanceOrUser, feeds: Feeds, event_id: Annotated[int, Depends(_start_of_stream)]
) -> AsyncIterator[AsyncIterator[list[LiveEvent]]]:
    """Return what a stream shows, and stop following when its request has ended.

    FastAPI does not close the generator of a stream whose client goes away between two events.
    """
    async with aclosing(feeds.follow(watcher, event_id)) as found:
        yield found


async def _run_feeds_with_room(request: Request, watcher: ReaderOrUser, run_id: RunId) -> AsyncIterator[LiveFeeds]:
    """Return the process's live feeds, with a place for this stream of a run until it has ended."""
    feeds: LiveFeeds = request.app.state.live_feeds
    with feeds.admitted(watcher, run_id):
        yield feeds


async def _run_followed(
    request: Request,
    watcher: ReaderOrUser,
    run_id: RunId,
    feeds: Annotated[LiveFeeds, Depends(_run_feeds_with_room)],
    after: After = None,
    usage: Annotated[bool, Query(description="Whether to show the calls, too.", examples=[False])] = True,
) -> AsyncIterator[AsyncIterator[list[LiveEvent | RunNews]]]:
    """Return what a stream of a run shows, which is checked before the response begins, as with `_start_of_stream`."""
    async with reading(request, watcher.tenant) as connection:
        await find_own_run(connection, watcher, run_id)
        start = _start(request, await current_sequence(connection, watcher.tenant), after)
    async with aclosing(feeds.follow_run(watcher, run_id, start if usage else None)) as found:
        yield found


@router.get("/live", response_class=EventSourceResponse)
async def stream_events(
    request: Request, watcher: FinanceOrUser, found: Annotated[AsyncIterator[list[LiveEvent]], Depends(_followed)]
) -> AsyncIterator[ServerSentEvent]:
    """Stream booked calls as they happen.

    Server-sent events of the type `usage`, each a JSON object as `LiveEventAnswer` describes. A client that reconnects
    with `Last-Event-ID` misses nothing, because the ids of a tenant's events rise in the order of their commits. The
    token of a user or run shows only their calls. A stream ends within a second of its key's revocation. A key, a user
    and a run have 20 streams at a time at most: another one is 429 `too_many_streams`.
    """
    async with aclosing(_shown(request, watcher, found)) as events:
        async for event in events:
            yield event


@router.get("/runs/{run_id}/events", response_class=EventSourceResponse)
async def stream_run_events(
    request: Request,
    watcher: ReaderOrUser,
    found: Annotated[AsyncIterator[list[LiveEvent | RunNews]], Depends(_run_followed)],
) -> AsyncIterator[ServerSentEvent]:
    """Stream a run as it goes on.

    Server-sent events of two types, each a JSON object. `run`, as `RunNewsAnswer` describes: at once, and whenever the
    run is cancelled, closed, stepped, split again or given other limits, or the tenant's budgets or triggers change. Of
    changes within a quarter of a second only the last is told, and a client that reconnects is told the present one.
    `usage`, as `LiveEventAnswer` describes: the calls of the run and of its sub-runs; only these have ids, and a client
    that reconnects with `Last-Event-ID` misses none. The token of a user or run sees its own. A stream ends within a
    second of its key's revocation. A key, a user and a run have 20 streams of a run at a time at most, and 500 of all
    runs: another one is 429 `too_many_streams`.
    """
    async with aclosing(_shown(request, watcher, found)) as events:
        async for event in events:
            yield event


async def _shown(
    request: Request, watcher: Principal, found: AsyncIterator[Sequence[LiveEvent | RunNews]]
) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield what is found as it is sent, until the client or its key has gone."""
    service = service_of(request)
    try:
        async with reading(request, watcher.tenant) as connection:
            sent = service.metrics.stream_events(await tenant_name(connection, watcher.tenant))
        async for shown in found:
            gone = await request.is_disconnected()
            if gone or await service.authenticator.authenticate(key_of(request)) is None:
                return
            for each in shown:
                if isinstance(each, RunNews):
                    yield ServerSentEvent(event="run", data=run_news_answer(each))
                else:
                    yield ServerSentEvent(event="usage", id=str(each.event_id), data=live_event_answer(each))
                    sent.inc()
    except (DatabaseAway, Unavailable):
        return  # the client connects again, with the id of the last event that it has seen
