"""Leased admission: never more than the limits bear, in the process, stopped in time, and nothing of it lost."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from token_ledger_sdk import (
    AsyncHold,
    AsyncLeasedCall,
    AsyncLeases,
    BudgetExceeded,
    LedgerError,
    NotBooked,
    RunNotOpen,
    TenantStopped,
    Unreachable,
    Usage,
)
from token_ledger_sdk._async import outbox
from token_ledger_sdk.leases.terms import Terms
from token_ledger_sdk.wire.calls import Scope
from token_ledger_sdk.wire.operations import MAX_OPERATIONS

from tests.api.waiting import until
from tests.client.conftest import Client, Clock, client_of
from tests.client.seeds import seeded

MOST = Usage(600, 400)


def leases_of(client: Client, clock: Clock, scope: Scope | None = None, **options: Any) -> AsyncLeases:
    """Return leases whose time a test sets; they book nothing in the background for as long as a test runs."""
    given = {"calls": 10, "longest_call_seconds": 60.0, "flush_seconds": 10_000.0, **options}
    terms = Terms({**client.call, "ttl_seconds": 300}, **given)  # type: ignore[typeddict-item]
    return AsyncLeases(client.ledger._sender, terms, scope or Scope(user="ada"), clock=clock)


async def granted(client: Client) -> int:
    """Return how many leases were granted, however they were asked for."""
    return len(await client.world.rows("select 1 from reservations where lease"))


async def until_denied(leases: AsyncLeases, chance: random.Random, usage: Usage | None = None) -> int:
    """Make calls until one is denied; return how many were made."""
    made = 0
    while True:
        try:
            async with await leases.reserve() as call:
                await asyncio.sleep(0)
                await call.settle(usage or Usage(chance.randrange(1, 601), chance.randrange(0, 401)))
        except BudgetExceeded:
            return made
        made += 1


@pytest.mark.parametrize("limit", [1, 7, 97, 500])
async def test_of_a_limit_of_calls_all_are_admitted_and_none_more(limit: int, client: Client) -> None:
    await client.budget(calls=limit)
    chance = seeded()
    async with AsyncExitStack() as stack:
        leases = [
            await stack.enter_async_context(
                client.ledger.lease(user=f"user-{n}", calls=20, flush_seconds=0.05, **client.call)
            )
            for n in range(6)
        ]
        made = sum(await asyncio.gather(*(until_denied(each, chance) for each in leases)))
        stated = sum(each.left.calls for each in leases if each.left is not None)
        assert limit - stated <= made <= limit
    assert len(await client.booked()) == made
    single = 0
    while True:
        try:
            async with await client.ledger.reserve(user="late", **client.call) as hold:
                await hold.settle(MOST)
        except BudgetExceeded:
            break
        single += 1
    assert made + single == limit, "what the leases had left was given back"
    assert await client.holds() == {"settled": await settled_holds(client)} | await ended_leases(client)


async def settled_holds(client: Client) -> int:
    rows = await client.world.rows("select count(*) as number from reservations where state = 'settled'")
    return int(rows[0]["number"])


async def ended_leases(client: Client) -> dict[str, int]:
    made = await granted(client)
    return {"released": made} if made else {}


@pytest.mark.parametrize(("limits", "most"), [({"tokens": 50_300}, 50), ({"cost": "0.112500"}, 50)])
async def test_of_tokens_and_money_no_more_is_used_than_there_is(limits: Any, most: int, client: Client) -> None:
    """Every call takes all that it may: 1,000 tokens, 0.00225 dollars."""
    await client.budget(**limits)
    chance = seeded()
    async with AsyncExitStack() as stack:
        leases = [
            await stack.enter_async_context(client.ledger.lease(user="ada", calls=9, flush_seconds=0.02, **client.call))
            for _ in range(4)
        ]
        made = sum(await asyncio.gather(*(until_denied(each, chance, MOST) for each in leases)))
    assert made == most
    assert {event["input_tokens"] for event in await client.booked()} == {600}


async def test_calls_are_admitted_without_asking(client: Client) -> None:
    await client.budget(calls=10_000)
    async with client.ledger.lease(user="ada", calls=200, flush_seconds=60, **client.call) as leases:
        for _ in range(100):
            async with await leases.reserve(input_tokens=10) as call:
                assert isinstance(call, AsyncLeasedCall)
                assert (call.provider, call.model, call.max_output_tokens) == ("openai", "gpt-5.4-mini", 400)
                await call.settle(Usage(10, 5))
        assert client.network.sent == ["/v1/leases"]
    assert client.network.sent[1:] == ["/v1/operations", "/v1/operations"], "all uses, and then the release"
    assert len(await client.booked()) == 100


async def test_a_lease_that_is_used_up_is_followed_by_another(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=5, flush_seconds=60, **client.call) as leases:
        for _ in range(12):
            async with await leases.reserve() as call:
                await call.settle(MOST)
    assert await granted(client) == 3
    assert len(await client.booked()) == 12
    assert await client.holds() == {"released": 3}


async def test_one_of_many_tasks_asks_for_the_lease_of_all(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=50, flush_seconds=60, **client.call) as leases:
        calls = await asyncio.gather(*(leases.reserve() for _ in range(50)))
        assert client.network.sent == ["/v1/leases"]
        assert leases.left is not None
        assert leases.left.calls == 0
        for call in calls:
            await call.settle(MOST)
    assert len(await client.booked()) == 50


async def test_a_call_too_large_for_the_lease_is_reserved_by_itself(client: Client) -> None:
    await client.budget(tokens=40_000)
    async with client.ledger.lease(user="ada", calls=5, flush_seconds=60, **client.call) as leases:
        async with await leases.reserve() as call:
            await call.settle(MOST)
        async with await leases.reserve(input_tokens=20_000) as hold:
            assert isinstance(hold, AsyncHold)
            await hold.settle(Usage(20_000, 1))
        assert isinstance(await leases.reserve(), AsyncLeasedCall)
        assert client.network.sent.count("/v1/leases") == 1


async def test_a_larger_call_that_the_lease_can_bear_needs_no_question(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=5, flush_seconds=60, **client.call) as leases:
        async with await leases.reserve(input_tokens=2_600) as call:
            await call.settle(Usage(2_600, 400))
        assert client.network.sent == ["/v1/leases"]
        assert leases.left is not None
        assert (leases.left.tokens, leases.left.calls) == (2_000, 4)


@pytest.mark.parametrize("stop", ["cancel", "tenant"])
async def test_a_stop_is_obeyed_once_the_service_was_heard_of(stop: str, client: Client) -> None:
    clock = Clock()
    run = client.ledger.run(user="ada")
    await run.open()  # without its block, which a stop would leave
    async with leases_of(client, clock, Scope(run_id=run.run_id), flush_seconds=100.0) as leases:
        async with await leases.reserve() as call:
            if stop == "cancel":
                await client.world.made(f"/v1/runs/{run.run_id}/cancel")
            else:
                await client.world.made("/v1/stop", {"idempotency_key": "s", "reason": "a runaway"})
            clock.now += 101
            await call.settle(MOST)
        with pytest.raises(RunNotOpen if stop == "cancel" else TenantStopped):
            await leases.reserve()
    assert len(await client.booked()) == 1, "what was under way is booked"
    if stop == "tenant":
        await client.world.made("/v1/resume", {"idempotency_key": "r"})


async def test_a_stop_is_heard_of_by_a_client_that_has_nothing_to_book(client: Client) -> None:
    clock = Clock()
    run = client.ledger.run(user="ada")
    await run.open()
    async with leases_of(client, clock, Scope(run_id=run.run_id), flush_seconds=100.0) as leases:
        (await leases.reserve()).not_sent()
        await client.world.made(f"/v1/runs/{run.run_id}/cancel")
        clock.now += 101
        with pytest.raises(RunNotOpen):
            await leases.reserve()


@pytest.mark.parametrize(("passed", "asks_again"), [(0, False), (238, False), (240, True), (1_000, True)])
async def test_no_call_is_admitted_that_might_outlast_the_lease(passed: int, asks_again: bool, client: Client) -> None:
    clock = Clock()
    async with leases_of(client, clock) as leases:
        await (await leases.reserve()).release()
        clock.now += passed
        await (await leases.reserve()).release()
        assert await granted(client) == 1 + asks_again


async def test_time_counts_from_when_the_lease_was_asked_for(client: Client) -> None:
    clock = Clock()
    handle = client.network.handle_async_request

    async def slow(request: httpx2.Request) -> httpx2.Response:
        clock.now += 100
        return await handle(request)

    client.network.handle_async_request = slow  # type: ignore[method-assign]
    async with leases_of(client, clock) as leases:
        await (await leases.reserve()).release()
        clock.now += 139
        await (await leases.reserve()).release()
        assert await granted(client) == 2


async def test_a_lease_of_which_nothing_is_to_be_booked_is_extended_to_hear_of_the_service(client: Client) -> None:
    clock = Clock()
    async with leases_of(client, clock, flush_seconds=100.0) as leases:
        for seconds in (0, 100, 101):
            clock.now += seconds
            await (await leases.reserve()).release()
        [asked, extended] = client.network.sent
    assert asked == "/v1/leases"
    assert extended.endswith("/extend")


async def test_calls_wait_while_the_network_is_cut_and_are_booked_once(client: Client) -> None:
    clock = Clock()
    async with leases_of(client, clock, flush_seconds=100.0) as leases:
        for number in range(10):
            client.network.is_cut = 2 <= number < 8
            clock.now += 101 if number in (1, 2) else 0
            async with await leases.reserve() as call:
                await call.settle(Usage(100 + number, 1))
            if client.network.is_cut:
                assert leases.waiting > 0
    assert [event["input_tokens"] for event in await client.booked()] == [100 + number for number in range(10)]
    assert leases.waiting == 0


async def test_what_can_not_be_booked_at_the_end_is_told(client: Client) -> None:
    leases = client.ledger.lease(user="ada", calls=50, flush_seconds=60, **client.call)
    async with await leases.reserve() as call:
        await call.settle(MOST)
    client.network.is_cut = True
    with pytest.raises(Unreachable):
        await leases.close()
    assert leases.waiting == 1
    client.network.is_cut = False
    await leases.flush()
    assert len(await client.booked()) == 1
    assert await client.holds() == {"released": 1}


async def test_a_deadline_while_the_block_is_left_loses_nothing(client: Client) -> None:
    """The deadline passes while the calls are being sent, however long it took to get there."""
    handle = client.network.handle_async_request
    deadline = asyncio.timeout(None)

    async def too_late(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/operations" and not deadline.expired():
            deadline.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(0)
        return await handle(request)

    client.network.handle_async_request = too_late  # type: ignore[method-assign]

    async def work() -> None:
        leases = client.ledger.lease(user="ada", calls=20, flush_seconds=60, **client.call)
        async with deadline, leases:
            for _ in range(10):
                async with await leases.reserve() as call:
                    await call.settle(MOST)

    with pytest.raises(TimeoutError):
        await work()
    assert len(await client.booked()) == 10
    assert await client.holds() == {"released": 1}


async def test_a_call_that_ends_after_the_block_and_can_not_be_booked_is_told(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=20, flush_seconds=60, **client.call) as leases:
        call = await leases.reserve()
    client.network.is_cut = True
    with pytest.raises(Unreachable):
        await call.settle(MOST)
    client.network.is_cut = False
    await leases.close()
    assert len(await client.booked()) == 1
    assert await client.holds() == {"released": 1}


async def test_leaving_the_block_waits_for_what_others_are_sending(client: Client) -> None:
    leases = client.ledger.lease(user="ada", calls=20, flush_seconds=60, **client.call)
    await (await leases.reserve()).settle(MOST)
    handle = client.network.handle_async_request
    sending, lost = asyncio.Event(), asyncio.Event()

    async def lose(request: httpx2.Request) -> httpx2.Response:
        sending.set()
        await lost.wait()
        client.network.handle_async_request = handle  # type: ignore[method-assign]
        raise httpx2.ReadError("the answer was lost")

    client.network.handle_async_request = lose  # type: ignore[method-assign]
    other = asyncio.create_task(leases.flush())
    await sending.wait()
    closing = asyncio.create_task(leases.close())
    await asyncio.sleep(0)
    lost.set()
    with pytest.raises(Unreachable):
        await other
    await closing
    assert (leases.waiting, len(await client.booked())) == (0, 1)


async def test_what_can_not_be_said_of_a_call_is_told_to_its_caller_and_keeps_no_other_out(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=20, flush_seconds=60, **client.call) as leases:
        wrong: Any
        for wrong in ({"tool": b"x"}, {"occurred_at": datetime(2026, 11, 21)}):
            async with await leases.reserve() as call:
                with pytest.raises((TypeError, ValueError)):
                    await call.settle(Usage(10, 1), **wrong)
        async with await leases.reserve() as call:
            await call.settle(Usage(20, 1))
    booked = [(event["input_tokens"], event["estimated"]) for event in await client.booked()]
    assert booked == [(600, True), (600, True), (20, False)]


async def test_what_only_describes_a_call_keeps_it_not_out_of_the_books(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=400, flush_seconds=60, **client.call) as leases:
        for number in range(300):
            async with await leases.reserve() as call:
                await call.settle(Usage(1 + number, 1), tool="x" * 300 if number % 100 == 0 else "search")
    assert sorted(event["input_tokens"] for event in await client.booked()) == [*range(1, 301)]
    assert [event["tool"] for event in await client.booked()].count(None) == 3


async def test_a_call_that_is_refused_is_told_and_keeps_no_other_out(client: Client) -> None:
    impossible = Usage(10**17, 0)
    leases = client.ledger.lease(user="ada", calls=400, flush_seconds=60, **client.call)
    for number in range(300):
        async with await leases.reserve() as call:
            await call.settle(impossible if number in (0, 7, 290) else Usage(10, 1))
    with pytest.raises(NotBooked, match="3 calls were refused") as refused:
        await leases.close()
    assert [failure.code for failure in refused.value.failures] == ["invalid_request"] * 3
    assert len(await client.booked()) == 297
    assert await client.holds() == {"released": 1}


async def nothing_waits(leases: AsyncLeases) -> bool:
    return leases.waiting == 0


async def test_what_has_ended_is_booked_without_another_call(client: Client) -> None:
    leases = client.ledger.lease(user="ada", calls=20, flush_seconds=0.04, **client.call)
    await (await leases.reserve()).settle(MOST)
    assert (leases.waiting, client.network.sent) == (1, ["/v1/leases"])
    await until(lambda: nothing_waits(leases))
    assert len(await client.booked()) == 1
    await leases.close()


async def test_a_stop_that_an_earlier_lease_is_told_of_stops_the_one_after_it(client: Client) -> None:
    run = client.ledger.run(user="ada")
    await run.open()
    async with run.lease(calls=2, flush_seconds=60, **client.call) as leases:
        early = [await leases.reserve() for _ in range(2)]
        await leases.reserve()  # of another lease
        await client.world.made(f"/v1/runs/{run.run_id}/cancel")
        for call in early:
            await call.settle(MOST)
        await leases.flush()
        with pytest.raises(RunNotOpen):
            await leases.reserve()


async def test_a_lease_that_ends_too_soon_is_given_back_and_none_is_asked_for_with_every_call(client: Client) -> None:
    clock = Clock()
    handle = client.network.handle_async_request

    async def slow(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/leases":
            clock.now += 240
        return await handle(request)

    client.network.handle_async_request = slow  # type: ignore[method-assign]
    async with leases_of(client, clock) as leases:
        for _ in range(5):
            async with await leases.reserve() as hold:
                assert isinstance(hold, AsyncHold)
                await hold.settle(MOST)
        assert client.network.sent.count("/v1/leases") == 1
        assert len(client.network.sent) == 2 + 5 * 2
        clock.now += 6
        await (await leases.reserve()).release()
        assert await granted(client) == 2


async def test_what_many_tasks_end_together_is_booked_together(client: Client) -> None:
    async with leases_of(client, Clock(), calls=2_000) as leases:

        async def work() -> None:
            for _ in range(20):
                async with await leases.reserve() as call:
                    await asyncio.sleep(0)
                    await call.settle(MOST)

        await asyncio.gather(*(work() for _ in range(50)))
    assert len(await client.booked()) == 1_000
    assert client.network.sent.count("/v1/operations") <= 1_000 // MAX_OPERATIONS + 2, "the last one releases"


async def test_while_the_service_is_away_calls_are_admitted_without_waiting_for_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "retry_pause_seconds", lambda rounds: 3_600.0)
    async with client.ledger.lease(user="ada", calls=500, flush_seconds=0.02, **client.call) as leases:

        async def is_known_to_be_away() -> bool:
            return leases._flusher._outbox.is_away

        call = await leases.reserve()
        client.network.is_cut = True
        await call.settle(MOST)
        await until(is_known_to_be_away)
        for _ in range(300):
            await (await leases.reserve()).settle(MOST)
            await asyncio.sleep(0)
        assert client.network.sent == ["/v1/leases", "/v1/operations"]
        client.network.is_cut = False
    assert len(await client.booked()) == 301


async def test_a_lease_of_which_the_answer_was_lost_is_asked_for_again_not_another(client: Client) -> None:
    await client.budget(calls=100)
    async with client.ledger.lease(user="ada", calls=50, **client.call) as leases:
        client.network.answers_to_lose = 3
        for _ in range(3):
            with pytest.raises(Unreachable):
                await leases.reserve()
        assert isinstance(await leases.reserve(), AsyncLeasedCall)
        assert await client.holds() == {"held": 1}


@pytest.mark.parametrize(("reason", "kept"), [("asked twice", "not needed; asked twice (1)"), ("no\nline", None)])
async def test_a_lease_is_given_back_with_the_reasons_of_its_calls(
    reason: str, kept: str | None, client: Client
) -> None:
    async with client.ledger.lease(user="ada", calls=50, **client.call) as leases:
        await (await leases.reserve()).release(reason)
    (lease,) = await client.world.rows("select state, end_reason from reservations")
    assert (lease["state"], lease["end_reason"]) == ("released", kept)


async def test_a_lease_is_given_back_although_the_first_attempt_got_no_answer(client: Client) -> None:
    leases = client.ledger.lease(user="ada", calls=50, **client.call)
    await (await leases.reserve()).release()
    client.network.is_cut = True
    with pytest.raises(Unreachable):
        await leases.close()
    client.network.is_cut = False
    await leases.close()
    assert await client.holds() == {"released": 1}
    with pytest.raises(LedgerError, match="make others"):
        await leases.reserve()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"max_output_tokens": -1}, "max_output_tokens is -1"),
        ({"input_tokens": -1}, "input_tokens is -1"),
        ({"input_tokens": 10, "cached_input_tokens": 11}, "cached_input_tokens is 11"),
        ({"max_usage": {"web_searches": -1}}, "web_searches is -1"),
    ],
)
async def test_no_call_gives_a_lease_more_than_it_has(size: dict[str, Any], said: str, client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=50, **client.call) as leases:
        with pytest.raises(ValueError, match=said):
            await leases.reserve(**size)
        assert leases.left is None, "nothing was asked for, and nothing taken"


async def test_less_input_than_is_usually_cached_is_all_cached(client: Client) -> None:
    call = {**client.call, "cached_input_tokens": 500}
    async with client.ledger.lease(user="ada", calls=2, flush_seconds=60, **call) as leases:
        for _ in range(2):
            await leases.reserve(input_tokens=10)
        assert leases.left is not None
        assert (leases.left.tokens, leases.left.uncached) == (2_000 - 2 * 410, 1_000 - 2 * 400)


@pytest.mark.parametrize("options", [{"longest_call_seconds": 300.0}, {"flush_seconds": 0.0}])
async def test_a_lease_that_could_never_bear_a_call_is_not_made(options: dict[str, Any], client: Client) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        client.ledger.lease(user="ada", calls=2, **options, **client.call)


async def test_a_leased_call_says_what_a_hold_says(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=2, **client.call) as leases, await leases.reserve() as call:
        assert (call.held.tokens, call.held.cost, call.held.calls) == (1_000, Decimal("0.00225"), 1)
        assert call.warnings == ()
        assert (await call.extend(900)).expires_at > datetime.now(UTC) + timedelta(seconds=800)
        call.not_sent()


async def test_a_lease_tells_which_accounts_it_is_on(client: Client) -> None:
    await client.budget(calls=20)
    async with client.ledger.lease(user="ada", calls=2, **client.call) as leases, await leases.reserve() as call:
        assert isinstance(call, AsyncLeasedCall)
        (account,) = await client.world.rows("select account_id from accounts")
        assert call.lease.account_ids == (str(account["account_id"]),)
        call.not_sent()


async def test_an_answer_that_was_lost_books_nothing_twice(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=50, flush_seconds=60, **client.call) as leases:
        for number in range(10):
            async with await leases.reserve() as call:
                await call.settle(MOST)
            if number % 2:
                client.network.answers_to_lose = 1
                with pytest.raises(Unreachable):
                    await leases.flush()
                assert len(await client.booked()) == number + 1
    assert len(await client.booked()) == 10


async def test_a_call_that_ends_after_its_lease_was_given_up_is_booked_at_once(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=50, flush_seconds=60, **client.call) as leases:
        under_way = await leases.reserve()
    assert await client.holds() == {"held": 1}
    await under_way.settle(MOST)
    assert len(await client.booked()) == 1
    assert await client.holds() == {"released": 1}


@pytest.mark.parametrize(
    ("error", "events"),
    [(httpx2.ConnectError("refused"), 0), (httpx2.ReadTimeout("slow"), 1), (ValueError("a bug"), 1)],
)
async def test_a_call_left_unsettled_is_booked_unless_it_was_surely_not_made(
    error: Exception, events: int, client: Client
) -> None:
    async with client.ledger.lease(user="ada", calls=5, flush_seconds=60, **client.call) as leases:
        call = await leases.reserve()
        with pytest.raises(type(error)):
            async with call:
                raise error
    booked = await client.booked()
    assert [(event["input_tokens"], event["estimated"], event["failed"]) for event in booked] == [
        (600, True, True)
    ] * events


async def test_without_room_for_a_lease_calls_are_reserved_one_by_one(client: Client) -> None:
    await client.budget(calls=1)
    async with client.ledger.lease(user="ada", calls=5, **client.call) as leases:
        async with await leases.reserve() as call:
            assert isinstance(call, AsyncHold)
            await call.settle(MOST)
        with pytest.raises(BudgetExceeded):
            await leases.reserve()
        assert client.network.sent.count("/v1/leases") == 1, "a denied lease is not asked for with every call"


async def test_a_client_that_died_leaves_its_lease_to_expire(client: Client) -> None:
    await client.budget(calls=100)
    dead = client.ledger.lease(user="ada", calls=50, **client.call)
    await (await dead.reserve()).settle(MOST)
    await client.world.owner.execute("update reservations set expires_at = now()")
    other = client_of(client.world, max_retries=0)
    async with other.ledger.lease(user="bob", calls=50, flush_seconds=0.02, **client.call) as leases:
        assert await until_denied(leases, seeded()) in (99, 100)
    await dead.flush()
    assert len(await client.booked()) in (100, 101)
    await other.ledger.aclose()


async def test_what_a_call_did_not_take_is_there_for_others_once_it_is_booked(client: Client) -> None:
    async with client.ledger.lease(user="ada", calls=5, flush_seconds=60, **client.call) as leases:
        async with await leases.reserve() as call:
            await call.settle(Usage(10, 5, cache_read_tokens=4))
        assert leases.left is not None
        assert (leases.left.tokens, leases.left.uncached, leases.left.calls) == (4_000, 4_000, 4)
        await leases.flush()
        assert (leases.left.tokens, leases.left.uncached, leases.left.calls) == (4_985, 4_989, 4)
        [lease] = await client.world.rows("select held_nanos - drawn_nanos as nanos from reservations")
        assert leases.left.cost == Decimal(lease["nanos"]) / 10**9


async def test_every_lease_has_a_key_of_its_own(client: Client) -> None:
    call = {**client.call, "idempotency_key": "mine"}
    async with client.ledger.lease(user="ada", calls=1, flush_seconds=60, **call) as leases:
        for _ in range(3):
            async with await leases.reserve() as permission:
                assert isinstance(permission, AsyncLeasedCall)
                await permission.settle(MOST)
    assert await granted(client) == 3
