"""Erasure in slices: wherever it stands the books verify, and two people of one name stay apart; then it is gone."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.proof.every_kind import make_every_kind_of_row
from tests.proof.ledger import Ledger, open_ledger, reserve
from tests.storage.conftest import Copies
from token_ledger.core.batch import outcomes
from token_ledger.core.batch.administration import CreateBudget, EraseUser, SetUsers
from token_ledger.core.batch.commands import EndRun, OpenRun, Quarantine, Record, Settle
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.run import RunState
from token_ledger.core.model.tenant import User
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.storage.upkeep import folding
from token_ledger.storage.upkeep.erasures import erase_next, is_known
from token_ledger.storage.write import rollups
from token_ledger.worker.rollups import RollupFolding

ERASE_ADA = EraseUser("erase ada", b"x", "ada", "root")


async def _make_busy(bits: int, url: str) -> None:
    """Make a busy tenant whose user ada is everywhere, in budgets per user, per run and with rollover too."""
    with pytest.MonkeyPatch.context() as patch:
        _put_batches_into_segments(patch, bits)
        async with open_ledger(url) as opened:
            for window in (Window.RUN, Window.TOTAL, Window.HOUR):
                budget = CreateBudget(
                    "k", b"x", f"user per {window}", (("user", "*"),), Limits(tokens=10**9), window,
                    rollover=Limits(tokens=5) if window is Window.HOUR else None, actor="root",
                )  # fmt: skip
                await opened.ask(budget, outcomes.BudgetAnswer)
            await make_every_kind_of_row(opened)


def _put_batches_into_segments(patch: pytest.MonkeyPatch, bits: int) -> None:
    patch.setattr(rollups, "SEGMENT_BITS", bits)
    patch.setattr(folding, "SEGMENT_BITS", bits)


BUSY = {bits: partial(_make_busy, bits) for bits in (0, 8)}


@pytest.fixture(params=[0, 8], ids=["a segment a batch", "one segment"])
async def ledger(copies: Copies, monkeypatch: pytest.MonkeyPatch, request: Any) -> AsyncIterator[Ledger]:
    """The busy tenant."""
    _put_batches_into_segments(monkeypatch, request.param)
    async with copies(BUSY[request.param]) as url, open_ledger(url, is_new=False) as opened:
        yield opened


async def _next(ledger: Ledger, most: int = 2_000) -> bool:
    async with ledger.database.reading(ledger.tenant) as connection:
        return await erase_next(connection, ledger.tenant, most, 0)


async def _erase_to_the_end(ledger: Ledger, most: int = 2_000) -> int:
    slices = 0
    while await _next(ledger, most):
        slices += 1
    return slices


async def _rows_with(ledger: Ledger, name: str) -> list[tuple[str, str]]:
    tables = await ledger.owner.fetch(
        "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
    )
    found = []
    for (table,) in tables:
        hits = await ledger.owner.fetch(f"select t::text from {table} as t where t::text like '%' || $1 || '%'", name)
        found += [(table, hit[0]) for hit in hits]
    return found


async def _users_of_events(ledger: Ledger, *keys: str) -> list[str]:
    found = await ledger.owner.fetch(
        "select e.user_id from operation_keys as k join usage_events as e on e.event_id = k.target_id"
        " where k.tenant_id = $1 and k.key = any($2) and e.tenant_id = $1", ledger.tenant, list(keys),
    )  # fmt: skip
    return [row[0] for row in found]


async def test_the_books_verify_after_every_slice_and_a_new_person_keeps_the_name(ledger: Ledger) -> None:
    held = await ledger.ask(reserve(user="ada"), outcomes.Granted)
    lent = await ledger.hold(user="ada")
    run = (await ledger.ask(OpenRun("k", b"x", "ada", "research", limits=Limits(50_000)), outcomes.RunAnswer)).run
    in_run = await ledger.hold(run_id=run.run_id, user=None)
    erased = await ledger.ask(ERASE_ADA, outcomes.Changed)
    pseudonym = erased.entry.target
    await ledger.is_clean()

    # Whoever comes under the name now is someone else, and what ada left open is still hers.
    await ledger.ask(SetUsers("k", b"x", (User("ada", ((None, "new"),)),), "root"), outcomes.Changed)
    slices, number = 0, 0
    more = True
    while more:
        if slices % 9 == 0:
            number += 1
            await ledger.settle(await ledger.hold(user="ada"), 10, 1)
            await ledger.ask(Record(f"new {number}", b"x", "api", user="ada", **_event()), outcomes.Recorded)
            await ledger.ask(Settle(f"part {number}", b"x", lent, Usage(1, 1), part=True), outcomes.Settled)
            await ledger.ask(Record(f"run {number}", b"x", "api", run_id=run.run_id, **_event()), outcomes.Recorded)
            await RollupFolding(ledger.database).fold_rollups()
            await ledger.is_clean()
        if slices == 20:
            await ledger.ask(Settle("late", b"x", held.reservation.reservation_id, Usage(10, 1)), outcomes.Settled)
            await ledger.restart()
            await ledger.ask(Settle("in run", b"x", in_run, Usage(10, 1)), outcomes.Settled)
        journal = await ledger.owner.fetchval("select journal from erasures")
        more = await _next(ledger, 1 if journal == "runs" else 5)
        slices += 1
        if journal == "runs":
            await ledger.is_clean()
    assert slices > 50
    assert number > 3
    await ledger.is_clean()
    hers = [f"{kind} {n}" for kind in ("part", "run") for n in range(1, number + 1)]
    assert set(await _users_of_events(ledger, "late", "in run", *hers)) == {pseudonym}
    assert set(await _users_of_events(ledger, *(f"new {n}" for n in range(1, number + 1)))) == {"ada"}
    assert await ledger.owner.fetchval("select count(*) from erasures") == 0
    calls = await ledger.owner.fetchval("select sum(calls) from daily_usage where user_id = 'ada'")
    assert calls == 2 * number
    total = "select settled_calls from accounts where budget = 'user per total' and subject = $1"
    assert await ledger.owner.fetchval(total, '{"user":"ada"}') == 2 * number
    of_run = (
        "select array_agg(subject::jsonb ->> 'user') from accounts where budget = 'user per run' and subject like $1"
    )
    assert await ledger.owner.fetchval(of_run, f'%"{run.run_id}"%') == [pseudonym]
    await RollupFolding(ledger.database).fold_rollups()
    await ledger.is_clean()
    await ledger.settle(await ledger.hold(user="ada"), 10, 1)
    await ledger.is_clean()


def _event() -> dict[str, Any]:
    return {"agent_type": "data", "provider": "openai", "model": "gpt-5.4", "usage": Usage(10, 1), "body": {}}


async def test_no_row_has_the_name_when_it_is_done(ledger: Ledger) -> None:
    await ledger.settle(await ledger.hold(user="zaphodx"), 10, 1)
    await ledger.hold(user="zaphodx")
    await ledger.ask(OpenRun("k", b"x", "zaphodx", "research"), outcomes.RunAnswer)
    async with ledger.database.reading(ledger.tenant) as connection:
        assert await is_known(connection, ledger.tenant, "zaphodx")
    await ledger.ask(EraseUser("k", b"x", "zaphodx", "root"), outcomes.Changed)
    assert await _rows_with(ledger, "zaphodx") != []
    await _erase_to_the_end(ledger)
    assert await _rows_with(ledger, "zaphodx") == []
    async with ledger.database.reading(ledger.tenant) as connection:
        assert not await is_known(connection, ledger.tenant, "zaphodx")
    await ledger.is_clean()


async def test_a_slice_that_is_lost_is_done_again(ledger: Ledger) -> None:
    await ledger.ask(ERASE_ADA, outcomes.Changed)
    slices = 0
    while True:
        async with ledger.owner.transaction():
            transaction = ledger.owner.transaction()
            await transaction.start()
            await ledger.owner.execute(f"set local app.tenants = '{{{ledger.tenant}}}'")
            more = await ledger.owner.fetchval("select token_ledger_erase($1, 11, 0)", ledger.tenant)
            await transaction.rollback()
        assert await _next(ledger, 11) == more
        if not more:
            break
        slices += 1
    assert slices > 30
    assert await ledger.owner.fetchval("select count(*) from usage_events where user_id = 'ada'") == 0
    await ledger.is_clean()


async def test_what_a_batch_has_locked_is_renamed_later_and_nobody_waits(ledger: Ledger) -> None:
    hold = await ledger.hold(user="ada")
    await ledger.ask(ERASE_ADA, outcomes.Changed)
    async with ledger.owner.transaction():
        await ledger.owner.execute("select from reservations where reservation_id = $1 for update", hold)
        for _ in range(50):
            await _next(ledger)
        journal = await ledger.owner.fetchval("select journal from erasures")
        assert journal == "reservations"
    await _erase_to_the_end(ledger)
    renamed = await ledger.owner.fetchval("select user_id from reservations where reservation_id = $1", hold)
    assert renamed.startswith("erased-")


async def test_one_erasure_of_a_name_at_a_time_and_again_afterwards(ledger: Ledger) -> None:
    first = await ledger.ask(ERASE_ADA, outcomes.Changed)
    assert first.under_way
    again = await ledger.ask(EraseUser("k", b"x", "ada", "root"), outcomes.Refused)
    assert (again.code, again.field) == ("erasure_under_way", "user")
    assert (await ledger.ask(ERASE_ADA, outcomes.Changed)).under_way
    await ledger.ask(EraseUser("k", b"x", "bob", "root"), outcomes.Changed)
    await _erase_to_the_end(ledger)
    done = await ledger.ask(ERASE_ADA, outcomes.Changed)
    assert (done.replayed, done.under_way, done.entry.target) == (True, False, first.entry.target)
    await ledger.settle(await ledger.hold(user="ada"), 10, 1)
    assert (await ledger.ask(EraseUser("k", b"x", "ada", "root"), outcomes.Changed)).entry.target != first.entry.target


TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "as it was sent": ("zaphodx", {"as_sent": '{"user": "zaphodx", "agent_type": "\\u0000"}'}),
    "escaped": ("zoë o'hara", {"as_sent": '{"user": "zo\\u00eb o\'hara", "agent_type": "\\ud800"}'}),
    "escaped in capitals": ("zoë", {"as_sent": '{"user": "zo\\u00EB"}'}),
    "escaped twice": ("zoë", {"cut": json.dumps(json.dumps({"user": "zoë"}))}),
    "beyond the basic plane": ("z😀e", {"as_sent": json.dumps({"user": "z😀e"})}),
    "quotes and strokes": ('z/"\\e', {"as_sent": json.dumps({"user": 'z/"\\e'})}),
    "a needless escape": ("zaphodx", {"as_sent": '{"user": "\\u007aaphodx"}'}),
    "cut in the name": ("zaphodx", {"cut": '{"user": "zapho'}),
    "cut in an escape": ("zaë", {"cut": '{"user": "za\\u00'}),
    "in another field": ("zaphodx", {"as_sent": '{"user": 5, "note": "for zaphodx."}'}),
    "a long name": ("z" * 200, {"cut": '{"user": "' + "z" * 150}),
}


@pytest.mark.parametrize("label", TEXTS)
async def test_text_in_quarantine_loses_the_name_however_it_is_spelled(label: str, shared_url: str) -> None:
    name, body = TEXTS[label]
    cleaned = await _cleaned(shared_url, body, name)
    [left] = cleaned.values()
    assert "erased-5" in left
    assert "z" not in left
    assert await _cleaned(shared_url, cleaned, name) == cleaned


@pytest.mark.parametrize(
    "body",
    [
        {"as_sent": '{"user": "zoe"}'},
        {"as_sent": '{"user": "zo\\u00eb"}'},
        {"as_sent": '{"user": "azo"}'},
        {"cut": '{"user": "za'},
        {"user": "zoe", "note": "zo"},
    ],
)
async def test_others_stay_in_quarantine_as_they_are(body: dict[str, Any], shared_url: str) -> None:
    assert await _cleaned(shared_url, body, "zo") == body


async def _cleaned(url: str, body: dict[str, Any], name: str) -> dict[str, Any]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchval(
            "select token_ledger_cleaned($1::jsonb, $2, 'erased-5')", json.dumps(body), name
        )
    finally:
        await connection.close()
    value: dict[str, Any] = json.loads(found)
    return value


async def test_quarantine_is_cleaned_with_the_rest(ledger: Ledger) -> None:
    kept = [{"user": "zaphodx", "agent_type": 5}, *(body for name, body in TEXTS.values() if name == "zaphodx")]
    for number, body in enumerate(kept):
        bad = Quarantine(f"bad {number}", b"x", "api", "invalid_request", "bad", body)
        await ledger.ask(bad, outcomes.Quarantined)
    await ledger.ask(EraseUser("k", b"x", "zaphodx", "root"), outcomes.Changed)
    await _erase_to_the_end(ledger)
    left = [row["body"] for row in await ledger.owner.fetch("select body::text as body from quarantine")]
    assert [body for body in left if "zapho" in body or "aphodx" in body] == []


async def test_a_closed_run_that_is_booked_on_meanwhile_keeps_both_of_its_accounts(ledger: Ledger) -> None:
    run = (await ledger.ask(OpenRun("k", b"x", "ada", "research"), outcomes.RunAnswer)).run
    await ledger.settle(await ledger.hold(run_id=run.run_id, user=None), 10, 1)
    await ledger.ask(EndRun("k", b"x", run.run_id, RunState.CLOSED), outcomes.RunAnswer)
    pseudonym = (await ledger.ask(ERASE_ADA, outcomes.Changed)).entry.target
    await ledger.ask(Record("later", b"x", "api", run_id=run.run_id, **_event()), outcomes.Recorded)
    await _erase_to_the_end(ledger)
    subjects = await ledger.owner.fetch(
        "select subject::jsonb ->> 'user' from accounts where budget = 'user per run' and subject like $1 order by 1",
        f'%"run":"{run.run_id}"%',
    )
    assert len(subjects) == 2
    assert subjects[0][0] == pseudonym
    assert subjects[1][0].startswith(f"{pseudonym}-")
    await ledger.ask(Record("latest", b"x", "api", run_id=run.run_id, **_event()), outcomes.Recorded)
    await ledger.is_clean()


async def test_what_rolled_over_from_window_to_window_verifies_while_some_of_them_are_renamed(
    database_url: str,
) -> None:
    async with open_ledger(database_url) as ledger:
        daily = CreateBudget(
            "k", b"x", "user per day", (("user", "*"),), Limits(tokens=10_000), Window.DAY,
            rollover=Limits(tokens=9_000), actor="root",
        )  # fmt: skip
        await ledger.ask(daily, outcomes.BudgetAnswer)
        for _ in range(4):
            await ledger.settle(await ledger.hold(user="ada"), 9_000, 500)
            await ledger.move_back(1)
        await ledger.hold(user="ada")
        await ledger.is_clean()
        await ledger.ask(ERASE_ADA, outcomes.Changed)
        await ledger.is_clean()
        while await _next(ledger, 1):
            await ledger.is_clean()


async def test_rows_of_other_tenants_are_refused(ledger: Ledger) -> None:
    for statement in (
        "select token_ledger_erase(99, 10, 0)",
        "select token_ledger_begin_erasure(99, 'ada', 'erased-1', 1, 1, now())",
        "select token_ledger_fold(99, 8, 0, 'daily_usage', '[]')",
    ):
        with pytest.raises(DBAPIError, match="is not one of this transaction"):
            async with ledger.database.reading(ledger.tenant) as connection:
                await connection.execute(text(statement))


async def test_accounts_are_renamed_while_batches_are_decided_ahead_on_them(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        budget = CreateBudget("k", b"x", "user per run", (("user", "*"),), Limits(10**9), Window.RUN, actor="root")
        await ledger.ask(budget, outcomes.BudgetAnswer)
        runs = [
            (await ledger.ask(OpenRun("k", b"x", "ada", "research"), outcomes.RunAnswer)).run.run_id for _ in range(30)
        ]
        holds = await asyncio.gather(*(ledger.hold(run_id=runs[n % 30], user=None) for n in range(1_500)))
        for run in runs:
            await ledger.ask(EndRun("k", b"x", run, RunState.CLOSED), outcomes.RunAnswer)
        await ledger.ask(ERASE_ADA, outcomes.Changed)

        async def rename() -> None:
            for _ in range(30):
                await _next(ledger, 1)

        await asyncio.gather(rename(), *(ledger.settle(hold, 10, 1) for hold in holds))
        await ledger.is_clean()
        await _erase_to_the_end(ledger)
        await ledger.is_clean()
