"""Routes of those who read: spend, denials, triggers, the live stream."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from token_ledger.analytics.spend import (
    denials_by_account,
    events_after,
    firings_by_trigger,
    spend_by,
    would_have_denied,
)  # fmt: skip
from token_ledger.api.access import FINANCE, USERS, Needs, authenticated, key_of, service_of
from token_ledger.api.wire import Group, Instant
from token_ledger.core.books import ORDINAL_BITS, last_id
from token_ledger.core.money import format_money
from token_ledger.storage.api_keys import Principal
from token_ledger.storage.reads import current_sequence

router = APIRouter(prefix="/v1")
Finance = Annotated[Principal, Depends(Needs(FINANCE))]
Watcher = Annotated[Principal, Depends(Needs(FINANCE | USERS))]

LIVE_SECONDS = 0.25
"""How often a live stream looks for new events."""
_LIVE_EVENTS = 500


@router.get("/reports/spend", tags=["reports"])
async def spend(
    request: Request,
    finance: Finance,
    group_by: Group = "user",
    since: Annotated[Instant | None, Query(alias="from")] = None,
    until: Annotated[Instant | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """Calls, tokens by kind and cost per value of a dimension; the last 31 days unless dates are given."""
    end = until or datetime.now(UTC) + timedelta(hours=1)
    start = since or end - timedelta(days=31)
    async with service_of(request).database.reading(finance.tenant) as connection:
        return await spend_by(connection, finance.tenant, group_by, start, end)


@router.get("/reports/denials", tags=["reports"])
async def denials(request: Request, finance: Finance) -> dict[str, list[dict[str, Any]]]:
    """Denials by account, those of soft and shadow budgets included.

    What an emergency stop refuses, or a run that has made all of its iterations, is not among them: no account said
    no, and nothing is recorded of it.
    """
    async with service_of(request).database.reading(finance.tenant) as connection:
        return {"rows": await denials_by_account(connection, finance.tenant)}


@router.get("/reports/would-have-denied", tags=["reports"])
async def shadow_denials(
    request: Request,
    finance: Finance,
    since: Annotated[Instant | None, Query(alias="from")] = None,
    until: Annotated[Instant | None, Query(alias="to")] = None,
) -> dict[str, list[dict[str, Any]]]:
    """What shadow and soft budgets would have denied; the last 31 days unless dates are given."""
    end = until or datetime.now(UTC) + timedelta(hours=1)
    start = since or end - timedelta(days=31)
    async with service_of(request).database.reading(finance.tenant) as connection:
        return {"rows": await would_have_denied(connection, finance.tenant, start, end)}


@router.get("/reports/triggers", tags=["reports"])
async def triggers(request: Request, finance: Finance) -> dict[str, list[dict[str, Any]]]:
    """How often each trigger fired and whether its technique was applied."""
    async with service_of(request).database.reading(finance.tenant) as connection:
        return {"rows": await firings_by_trigger(connection, finance.tenant)}


async def _place(request: Request, watcher: Watcher, after: Annotated[int | None, Query(ge=0, lt=2**47)] = None) -> int:
    """Return the id of the event that a stream begins behind.

    It is found before the response begins, so that whatever is booked once a stream is open is shown in it.
    """
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit() and len(last) < 19:
        return int(last)
    if after is None:
        async with service_of(request).database.reading(watcher.tenant) as connection:
            after = await current_sequence(connection, watcher.tenant)
    return last_id(after)


@router.get("/live", response_class=EventSourceResponse, tags=["reports"])
async def live(
    request: Request, watcher: Watcher, event_id: Annotated[int, Depends(_place)]
) -> AsyncIterator[ServerSentEvent]:
    """Every booked call as it happens, as server-sent events.

    A stream that broke goes on with the `Last-Event-ID` it saw and misses nothing, because the ids of a tenant's
    events rise in the order of their commits. `after` begins behind the batch with that sequence number instead.
    A token's stream shows its user's or its run's calls only. A stream ends within seconds of its key's revocation.
    """
    service = service_of(request)
    tenant = watcher.tenant
    while not service.stopping.is_set() and not await request.is_disconnected():
        if await authenticated(service, key_of(request)) is None:
            return
        async with service.database.reading(tenant) as connection:
            events = await events_after(
                connection, tenant, event_id, _LIVE_EVENTS, user=watcher.user, run_id=watcher.run_id
            )
        for event in events:
            event_id = event["event_id"]
            yield ServerSentEvent(event="usage", id=str(event_id), data=_live_value(event))
        if events:
            service.metrics.stream_events(service.tenant_name(tenant), events=len(events))
        else:
            await _pause(service.stopping)


async def _pause(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), LIVE_SECONDS)
    except TimeoutError:
        return


def _live_value(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "sequence": event["event_id"] >> ORDINAL_BITS,
        "event_id": str(event["event_id"]),
        "user": event["user_id"],
        "agent_type": event["agent_type"],
        "model": event["model"],
        "tokens": event["tokens"],
        "cost": format_money(event["cost_nanos"]),
        "run_id": None if event["run_id"] is None else str(event["run_id"]),
    }
