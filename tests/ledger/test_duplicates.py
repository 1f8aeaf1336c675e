"""Duplicates are found wherever the first report is: in the same batch, in one being written, in the journal."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.ledger.test_deciding_ahead import decide_second_ahead, limit, new_transactions
from tests.ledger.test_kept_accounts import Recorded as Recording
from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.event import OLDEST, UsageEvent
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import MOST_CALLS, Repetition
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.load.responses import LOAD_RESPONSES
from token_ledger.storage.prices import load_price_book
from token_ledger.worker.erasures import Erasures

ID = "resp_1"
USED = Usage(900, 100)
EVENT = commands.Record("k", b"x", "import", "data", "openai", "gpt-5.4", USED, user="bob", response_id=ID)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A budget per user."""
    async with open_ledger(database_url) as opened:
        opened.database.clocks.bound_seconds = 10**8
        await limit(opened, ("user", "*"))
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def settle(ledger: Ledger, usage: Usage = USED, *, on: int | None = None, **fields: Any) -> UsageEvent:
    number = await ledger.hold() if on is None else on
    command = commands.Settle("k", b"x", number, usage, **{"response_id": ID, **fields})
    return (await ledger.ask(command, outcomes.Settled)).event


async def record(ledger: Ledger, **fields: Any) -> UsageEvent:
    return (await ledger.ask(replace(EVENT, **fields), outcomes.Recorded)).event


async def booked(ledger: Ledger) -> int:
    """Return how many calls are booked, by the accounts; reports and roll-ups are compared by `verify`."""
    return int(await ledger.owner.fetchval("select coalesce(sum(settled_calls), 0) from accounts"))


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_duplicate_is_found_in_the_journal(restarts: bool, ledger: Ledger) -> None:
    first = await settle(ledger)
    if restarts:
        await ledger.restart()
    second, third = await settle(ledger), await record(ledger)
    assert first.repetition is Repetition.FIRST
    for event in (second, third):
        assert (event.repetition, event.earlier_event_id) == (Repetition.DUPLICATE, first.event_id)
    row = await ledger.owner.fetchrow("select * from usage_events where event_id = $1", second.event_id)
    assert (row["calls"], row["input_tokens"], row["cost_nanos"]) == (0, 0, 0)
    assert (row["repetition"], row["earlier_event_id"]) == ("duplicate", first.event_id)
    states = await ledger.owner.fetch("select state, event_id from reservations order by reservation_id")
    assert [tuple(state) for state in states] == [("settled", first.event_id), ("settled", second.event_id)]
    assert await booked(ledger) == 1


async def test_a_duplicate_is_found_in_its_own_batch(ledger: Ledger) -> None:
    holds = [await ledger.hold() for _ in range(20)]
    events = await asyncio.gather(*(settle(ledger, on=number) for number in holds))
    assert sorted(event.repetition or "" for event in events) == ["duplicate"] * 19 + ["first"]
    assert await booked(ledger) == 1


async def test_processes_that_report_the_same_book_it_once(ledger: Ledger) -> None:
    async with ledger.database.reading() as connection:
        others = [GroupCommit(ledger.database, await load_price_book(connection)) for _ in range(2)]
    holds = [await ledger.hold() for _ in range(60)]
    settles = [
        commands.Settle(f"s-{number}", b"x", number, USED, response_id=f"resp-{place % 10}")
        for place, number in enumerate(holds)
    ]
    found = await asyncio.gather(
        *(others[place // 10 % 2].submit(ledger.tenant, each) for place, each in enumerate(settles))
    )
    for each in others:
        await each.drain()
    assert [isinstance(outcome, outcomes.Settled) for outcome in found] == [True] * 60
    assert await booked(ledger) == 10


async def test_a_duplicate_is_found_in_the_batch_that_is_being_written(ledger: Ledger) -> None:
    one, other = await ledger.hold(), await ledger.hold()
    settles = [commands.Settle(f"s-{number}", b"x", number, USED, response_id=ID) for number in (one, other)]
    [first], [second, third] = await decide_second_ahead(ledger, settles[:1], [settles[1], replace(EVENT, key="e")])
    for outcome in (second, third):
        assert (outcome.event.repetition, outcome.event.earlier_event_id) == ("duplicate", first.event.event_id)


async def test_a_batch_that_failed_has_reported_nothing(ledger: Ledger) -> None:
    one, other = await ledger.hold(), await ledger.hold()
    settles = [commands.Settle(f"s-{number}", b"x", number, USED, response_id=ID) for number in (one, other)]
    _, [second] = await decide_second_ahead(ledger, settles[:1], settles[1:], fails=True)
    assert second.event.repetition is Repetition.FIRST


async def test_what_a_batch_has_replaced_is_known_to_the_one_decided_ahead(ledger: Ledger) -> None:
    recorded = await record(ledger)
    holds = [await ledger.hold(), await ledger.hold()]
    settles = [commands.Settle(f"s-{number}", b"x", number, USED, response_id=ID) for number in holds]
    [first], [second] = await decide_second_ahead(ledger, settles[:1], settles[1:])
    assert (first.event.repetition, first.event.earlier_event_id) == ("replaces", recorded.event_id)
    assert (second.event.repetition, second.event.earlier_event_id) == ("duplicate", first.event.event_id)


async def test_a_record_that_is_being_written_is_replaced_by_the_settle_of_a_hold(ledger: Ledger) -> None:
    number = await ledger.hold()
    settle = commands.Settle("s", b"x", number, USED, response_id=ID)
    [first], [second] = await decide_second_ahead(ledger, [replace(EVENT, key="e")], [settle])
    assert (second.event.repetition, second.event.earlier_event_id) == ("replaces", first.event.event_id)
    assert await booked(ledger) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_record_gives_way_to_the_settle_of_a_hold(restarts: bool, ledger: Ledger) -> None:
    recorded = await record(ledger)
    if restarts:
        await ledger.restart()
    event = await settle(ledger)
    assert (event.repetition, event.earlier_event_id) == (Repetition.REPLACES, recorded.event_id)
    on = "select subject, settled_tokens, settled_calls from accounts order by account_id"
    assert [tuple(row) for row in await ledger.owner.fetch(on)] == [
        ('{"user":"bob"}', 0, 0), ('{"user":"ada"}', 1_000, 1)
    ]  # fmt: skip
    assert (await settle(ledger)).earlier_event_id == (await record(ledger)).earlier_event_id == event.event_id


async def test_a_repeated_key_is_answered_with_the_duplicate_that_it_made(ledger: Ledger) -> None:
    first = await settle(ledger)
    made, again = [await ledger.ask(replace(EVENT, key="k2"), outcomes.Recorded) for _ in range(2)]
    assert (again.replayed, again.event.event_id) == (True, made.event.event_id)
    assert (again.event.repetition, again.event.earlier_event_id) == (Repetition.DUPLICATE, first.event_id)


async def test_a_record_on_the_accounts_of_a_renamed_model_gives_way(ledger: Ledger) -> None:
    made = administration.CreateBudget("k", b"x", "models", (("model", "*"),), Limits(tokens=10**6), Window.DAY)
    await ledger.ask(made, outcomes.BudgetAnswer)
    await record(ledger)
    number = await ledger.hold()
    names = ModelName("openai", "gpt-5.4"), ModelName("openai", "ours")
    await ledger.ask(administration.RenameModel("k", b"x", *names, "a test", "root"), outcomes.Changed)
    assert (await settle(ledger, on=number)).repetition is Repetition.REPLACES
    later = await ledger.hold()
    assert (await settle(ledger, on=later)).repetition is Repetition.DUPLICATE


async def test_a_record_of_a_user_who_is_being_erased_gives_way(ledger: Ledger) -> None:
    await record(ledger)
    await ledger.ask(administration.EraseUser("k", b"x", "bob", "root"), outcomes.Changed)
    assert (await settle(ledger)).repetition is Repetition.REPLACES
    users = "select distinct user_id from usage_events where corrects is not null"
    assert (await ledger.owner.fetchval(users)).startswith("erased-")
    await Erasures(ledger.database, visible_seconds=0).erase_users()


async def test_a_call_that_was_reversed_may_be_booked_again(ledger: Ledger) -> None:
    first = await settle(ledger)
    row = await ledger.owner.fetchrow("select booked_at from usage_events where event_id = $1", first.event_id)
    events = ((first.event_id, row["booked_at"]),)
    await ledger.ask(administration.Reverse("k", b"x", None, events, "another user", "root"), outcomes.Reversed)
    assert (await settle(ledger)).repetition is Repetition.FIRST
    assert (await settle(ledger)).repetition is Repetition.DUPLICATE


async def test_an_id_of_too_many_calls_is_booked_and_flagged(ledger: Ledger) -> None:
    for output in range(MOST_CALLS + 2):
        event = await record(ledger, usage=Usage(100, output))
    assert event.repetition is Repetition.NOT_UNIQUE
    assert (await record(ledger, usage=Usage(100, 0))).repetition is Repetition.NOT_UNIQUE
    assert await booked(ledger) == MOST_CALLS + 3


async def test_after_35_days_a_report_is_a_call_of_its_own(ledger: Ledger) -> None:
    first = await settle(ledger)
    await ledger.move_back(OLDEST.days - 1)
    assert (await settle(ledger)).earlier_event_id == first.event_id
    await ledger.move_back(2)
    assert (await settle(ledger)).repetition is Repetition.FIRST


async def test_a_tenant_has_every_report_booked_if_it_wants(ledger: Ledger) -> None:
    await settle(ledger)
    await ledger.ask(administration.SetDuplicates("k", b"x", False, "root"), outcomes.Changed)
    for _ in range(2):
        assert (await settle(ledger)).repetition is None
    await ledger.restart()
    assert (await record(ledger)).repetition is None
    await ledger.ask(administration.SetDuplicates("k", b"x", True, "root"), outcomes.Changed)
    assert (await settle(ledger)).repetition is Repetition.DUPLICATE


async def test_responses_are_looked_up_at_once_and_only_where_there_are_any(ledger: Ledger) -> None:
    transactions, tenant = await new_transactions(ledger), ledger.tenant
    holds = [await ledger.hold() for _ in range(8)]
    pool = await ledger.database.writer_pool()
    for identifiers, looked in ((None,) * 4, 0), (("a", "b", "", "b"), 1):
        batch = [
            commands.Settle(f"s-{number}", b"x", number, USED, response_id=identifier)
            for number, identifier in zip([holds.pop() for _ in range(4)], identifiers, strict=True)
        ]
        async with pool.acquire() as connection:
            recording = Recording(connection)
            await transactions.run(recording, {tenant: batch}, None, lambda *_: None)
        assert recording.queries.count(LOAD_RESPONSES) == looked


@pytest.mark.parametrize("events", [0, 300])
async def test_a_response_is_found_by_one_probe_of_its_index_also_with_a_plan_for_small_tables(
    events: int, ledger: Ledger
) -> None:
    booked = [replace(EVENT, key=f"e{number}", response_id=f"r{number}") for number in range(events)]
    await asyncio.gather(*(ledger.commits.submit(ledger.tenant, each) for each in booked))
    pool = await ledger.database.writer_pool()
    async with pool.acquire() as connection:
        await connection.execute(f"set app.tenants = '{{{ledger.tenant}}}'")
        await connection.execute(f"prepare responses (bigint[], text[], timestamptz) as {LOAD_RESPONSES}")
        rows = await connection.fetch("explain execute responses ('{1}', '{resp_1}', '2026-11-21')")
        await connection.execute("deallocate responses")
    plan = "\n".join(row[0] for row in rows)
    found = [line for line in plan.splitlines() if "stored" in line and "Scan" in line]
    assert found, plan
    assert all("tenant_id_response_id_idx on usage_events" in line for line in found), plan
