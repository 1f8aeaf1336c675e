"""The live stream: every booked call as it happens, as server-sent events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from token_ledger.api.access import FinanceOrUser, key_of
from token_ledger.api.live_feeds import LiveFeeds
from token_ledger.api.service import reading, service_of
from token_ledger.core.batch.books import last_id
from token_ledger.ledger.errors import Unavailable
from token_ledger.reports.formats.json import live_event_answer
from token_ledger.reports.live_feed import LiveEvent
from token_ledger.storage.database import DatabaseAway
from token_ledger.storage.reads.live_feed import current_sequence
from token_ledger.storage.tenants import tenant_name

router = APIRouter(prefix="/v1", tags=["reports"])


async def _feeds_with_room(request: Request, watcher: FinanceOrUser) -> AsyncIterator[LiveFeeds]:
    """Return the process's live feeds, with a place for this stream until it has ended."""
    feeds: LiveFeeds = request.app.state.live_feeds
    with feeds.admitted(watcher):
        yield feeds


Feeds = Annotated[LiveFeeds, Depends(_feeds_with_room)]


async def _start_of_stream(
    request: Request,
    watcher: FinanceOrUser,
    _: Feeds,
    after: Annotated[
        int | None,
        Query(
            ge=0, lt=2**47, description="Begin after the batch with this sequence number; by default, now.",
            examples=[1_044],
        ),
    ] = None,
) -> int:  # fmt: skip
    """Return the id of the event that a stream begins after.

    It is found before the response begins, so a stream shows whatever is booked once it is open, and a database that
    can't be read is told with a status.
    """
    async with reading(request, watcher.tenant) as connection:
        now = await current_sequence(connection, watcher.tenant)
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
    service = service_of(request)
    try:
        async with reading(request, watcher.tenant) as connection:
            sent = service.metrics.stream_events(await tenant_name(connection, watcher.tenant))
        async for events in found:
            gone = await request.is_disconnected()
            if gone or await service.authenticator.authenticate(key_of(request)) is None:
                return
            for event in events:
                yield ServerSentEvent(event="usage", id=str(event.event_id), data=live_event_answer(event))
            sent.inc(len(events))
    except (DatabaseAway, Unavailable):
        return  # the client connects again, with the id of the last event that it has seen
