"""Lists of what waits: several under way at a time, and what ends a hold never before what was used of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from token_ledger_sdk import Unreachable, waiting_sync
from token_ledger_sdk._async.outbox import AsyncOutbox
from token_ledger_sdk._sync.outbox import LISTS, Outbox
from token_ledger_sdk.spool.lines import Record
from token_ledger_sdk.spool.spool import Spool
from token_ledger_sdk.wire.fields import Fields
from token_ledger_sdk.wire.operations import MAX_OPERATIONS
from token_ledger_sdk.wire.requests import ApiRequest

PATIENCE_SECONDS = 60


def event(number: int) -> Record:
    return Record(json.dumps({"op": "event", "idempotency_key": f"e{number}"}))


def settle(**fields: Any) -> Record:
    return Record(json.dumps({"op": "settle", "reservation_id": "21", **fields}))


def operations_of(request: ApiRequest) -> list[dict[str, Any]]:
    operations: list[dict[str, Any]] = json.loads(request.content or b"")["operations"]
    return operations


def booked(request: ApiRequest) -> Fields:
    return Fields({"results": [{"status": 200, "body": {}} for _ in operations_of(request)]})


def outbox_of(send: Callable[[ApiRequest], Fields], *records: Record) -> Outbox:
    outbox = Outbox(lambda request, again: send(request), Spool(None), flush_seconds=3_600.0)
    for record in records:
        assert outbox.put(record)
    return outbox


def test_two_lists_are_under_way_once_the_first_has_arrived() -> None:
    under_way = threading.Barrier(LISTS)
    sent: list[list[str]] = []

    def send(request: ApiRequest) -> Fields:
        sent.append([each["idempotency_key"] for each in operations_of(request)])
        if len(sent) > 1:
            under_way.wait(PATIENCE_SECONDS)  # which breaks unless another one comes
        return booked(request)

    outbox = outbox_of(send, *map(event, range(5 * MAX_OPERATIONS)))
    outbox.flush()
    assert sorted(key for keys in sent for key in keys) == sorted(f"e{number}" for number in range(5 * MAX_OPERATIONS))
    assert len(sent) == 5
    assert outbox.spool.waiting == 0


async def test_two_lists_are_under_way_also_asynchronously() -> None:
    both = asyncio.Event()
    sent, under_way = 0, 0

    async def send(request: ApiRequest, again: bool) -> Fields:
        nonlocal sent, under_way
        sent, under_way = sent + 1, under_way + 1
        if under_way == LISTS:
            both.set()
        if sent > 1:
            await asyncio.wait_for(both.wait(), PATIENCE_SECONDS)
        under_way -= 1
        return booked(request)

    outbox = AsyncOutbox(send, Spool(None), flush_seconds=3_600.0)
    for number in range(3 * MAX_OPERATIONS):
        assert outbox.put(event(number))
    await outbox.flush()
    assert (sent, outbox.spool.waiting) == (3, 0)


def test_what_ends_a_hold_waits_for_the_parts_that_are_under_way() -> None:
    other_list = threading.Event()
    log: list[str] = []

    def send(request: ApiRequest) -> Fields:
        operations = operations_of(request)
        settles = [each for each in operations if each["op"] == "settle"]
        log.extend(f"{each['idempotency_key']} sent" for each in settles)
        if any("part" in each for each in settles):
            assert other_list.wait(PATIENCE_SECONDS)
        elif len(log) > 0:
            other_list.set()
        log.extend(f"{each['idempotency_key']} booked" for each in settles)
        return booked(request)

    first = map(event, range(MAX_OPERATIONS))
    with_part = [settle(part=True, idempotency_key="part"), *map(event, range(MAX_OPERATIONS, 2 * MAX_OPERATIONS - 1))]
    with_end = [settle(idempotency_key="end"), *map(event, range(2 * MAX_OPERATIONS, 3 * MAX_OPERATIONS))]
    outbox = outbox_of(send, *first, *with_part, *with_end)
    outbox.flush()
    assert log == ["part sent", "part booked", "end sent", "end booked"]
    assert outbox.spool.waiting == 0


def test_what_travels_along_ends_no_hold_whose_parts_are_under_way() -> None:
    def send(request: ApiRequest) -> Fields:
        if "part" in operations_of(request)[0]:
            assert outbox.put(settle(idempotency_key="end"))
            along.append(outbox.board(64))
        sent.append(operations_of(request)[0]["idempotency_key"])
        return booked(request)

    along: list[Any] = []
    sent: list[str] = []
    outbox = outbox_of(send, settle(part=True, idempotency_key="part"))
    outbox.flush()
    assert along == [None]
    assert (sent, outbox.spool.waiting) == (["part", "end"], 0)


def test_what_failed_keeps_nothing_back() -> None:
    def send(request: ApiRequest) -> Fields:
        raise Unreachable("away")

    outbox = outbox_of(send, settle(part=True, idempotency_key="part"), settle(idempotency_key="end"))
    with pytest.raises(Unreachable):
        outbox.flush()
    outbox.was_heard()
    load = outbox.board(64)
    assert load is not None
    assert [json.loads(each)["idempotency_key"] for each in load.operations] == ["part", "end"]


def test_where_no_thread_begins_any_more_one_sends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(waiting_sync.threading.Thread, "start", refuse)
    outbox = outbox_of(booked, *map(event, range(4 * MAX_OPERATIONS)))
    outbox.flush()
    assert outbox.spool.waiting == 0
