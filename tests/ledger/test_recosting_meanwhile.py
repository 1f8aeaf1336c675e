"""What happens to calls between the look that finds them and the batch that re-costs them, and in one batch with it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.ledger.test_recosting import AGO, HOUSE, found_by, ledger, record, set_price, settled
from tests.ledger.test_recosting_priced import PERIOD
from tests.proof.ledger import Ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.batch.writes import Writes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.derived_event import RecostedEvent
from token_ledger.core.model.discount import read_factor
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import BatchReport, GroupCommit
from token_ledger.storage import rows
from token_ledger.storage.reads.recostings import Look
from token_ledger.worker.erasures import Erasures

__all__ = ["ledger"]
CHEAPER = {"base": {"input": "1", "output": "1"}}


async def _priced(ledger: Ledger, count: int = 2, **fields: Any) -> list[int]:
    """Book calls of 2 millionths of a dollar a token, and correct that to 1."""
    await set_price(ledger, "house/chat", HOUSE)
    ids = [await record(ledger, "chat", 1_000, 0, **fields) for _ in range(count)]
    await set_price(ledger, "house/chat", CHEAPER)
    return ids


def _command(found: Look) -> administration.Recost:
    return found.command("k", b"x", "root")


async def _book(ledger: Ledger, found: Look) -> dict[str, str]:
    """Re-cost what was found; return the re-costed calls by their re-costings."""
    entry = (await ledger.ask(_command(found), outcomes.Recosted)).entry
    recostings: dict[str, str] = entry.after["recostings"]
    assert sum(each["events"] for each in entry.after["models"]) == len(recostings)
    return recostings


async def _reversal(ledger: Ledger, event_id: int) -> administration.Reverse:
    row = await ledger.owner.fetchrow("select key, booked_at from operation_keys where target_id = $1", event_id)
    return administration.Reverse(row["key"], b"x", "batch", ((event_id, row["booked_at"]),), "a test", "root")


async def test_nothing_is_decided_again_while_nothing_has_changed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _priced(ledger)
    found = await found_by(ledger, PERIOD)
    monkeypatch.setattr("token_ledger.core.decisions.recostings.recosting_of", None)
    await record(ledger, "other", 1_000, 0)
    assert len(await _book(ledger, found)) == 2
    assert await settled(ledger) == 2_000_000
    assert not await ledger.owner.fetchval("select exists (select from daily_usage where segment = 0)")


async def test_a_call_that_was_taken_back_meanwhile_is_left(ledger: Ledger) -> None:
    gone, other = await _priced(ledger)
    found = await found_by(ledger, PERIOD)
    await ledger.ask(await _reversal(ledger, gone), outcomes.Reversed)
    assert [*(await _book(ledger, found)).values()] == [str(other)]
    assert await settled(ledger) == 1_000_000


async def test_a_part_of_a_call_that_was_taken_back_meanwhile_leaves_it(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    held = await ledger.hold(provider="house", model="chat")
    first = commands.Settle("first", b"x", held, Usage(500, 0), part=True)
    part = (await ledger.ask(first, outcomes.Settled)).event.event_id
    await ledger.settle(held, 500, 0)
    await set_price(ledger, "house/chat", CHEAPER)
    found = await found_by(ledger, PERIOD)
    [call] = found.calls
    assert len(call.events) == 2
    row = await ledger.owner.fetchrow("select booked_at from usage_events where event_id = $1", part)
    reversal = administration.Reverse("first", b"x", "settle", ((part, row["booked_at"]),), "a test", "root")
    await ledger.ask(reversal, outcomes.Reversed)
    assert await _book(ledger, found) == {}


async def test_what_was_re_costed_meanwhile_is_not_re_costed_again(ledger: Ledger) -> None:
    await _priced(ledger)
    found, same = await found_by(ledger, PERIOD), await found_by(ledger, PERIOD)
    assert len(await _book(ledger, found)) == 2
    assert await _book(ledger, same) == {}
    await set_price(ledger, "house/chat", HOUSE)
    again, same = await found_by(ledger, PERIOD), await found_by(ledger, PERIOD)
    assert len(await _book(ledger, again)) == 2
    assert await _book(ledger, same) == {}
    assert await settled(ledger) == 4_000_000


async def test_what_others_change_between_two_batches_of_a_look_counts(ledger: Ledger) -> None:
    ids = await _priced(ledger, 6)
    look = await found_by(ledger, PERIOD)
    booked: list[str] = []
    for first in (0, 2, 4):
        part = replace(look, calls=look.calls[first : first + 2])
        entry = (await ledger.ask(_command(part), outcomes.Recosted)).entry
        booked += entry.after["recostings"].values()
        look.page.basis.own.append(entry.audit_id >> ORDINAL_BITS)
        if first == 0:
            await ledger.ask(await _reversal(ledger, ids[2]), outcomes.Reversed)
            other = await found_by(ledger, PERIOD)
            assert len(await _book(ledger, replace(other, calls=other.calls[2:]))) == 1
    assert booked == [str(ids[place]) for place in (0, 1, 3, 4)]


async def test_a_price_that_changed_meanwhile_counts(ledger: Ledger) -> None:
    await _priced(ledger, 1)
    found = await found_by(ledger, PERIOD)
    await set_price(ledger, "house/chat", {"base": {"input": "7", "output": "7"}})
    assert len(await _book(ledger, found)) == 1
    assert await settled(ledger) == 7_000_000
    assert (await found_by(ledger, PERIOD)).calls == []


async def test_a_discount_that_changed_meanwhile_counts(ledger: Ledger) -> None:
    await record(ledger, "gpt-4o", 1_000_000, 0, provider="openai")
    await _discount(ledger, "0.5")
    found = await found_by(ledger, PERIOD)
    await _discount(ledger, "0.9")
    assert len(await _book(ledger, found)) == 1
    assert await settled(ledger) == 2_250_000_000


async def _discount(ledger: Ledger, factor: str) -> None:
    discount = administration.SetDiscount("k", b"x", "openai", "gpt-4o", read_factor(factor), "root", AGO)
    await ledger.ask(discount, outcomes.Changed)


async def test_an_alias_that_changed_meanwhile_counts(ledger: Ledger) -> None:
    await record(ledger, "ours", 1_000_000, 0)
    for model in ("gpt-4o", "gpt-4o-mini"):
        found = await found_by(ledger)
        alias = administration.SetAlias("k", b"x", "house", "ours", ModelName("openai", model), "root")
        await ledger.ask(alias, outcomes.Changed)
    assert len(await _book(ledger, found)) == 1
    assert await settled(ledger) == 150_000_000


async def test_a_global_price_that_changed_meanwhile_counts(ledger: Ledger) -> None:
    await record(ledger, "gpt-4o", 1_000_000, 0, provider="openai")
    await _discount(ledger, "0.5")
    found = await found_by(ledger, PERIOD)
    await ledger.owner.execute(
        "insert into prices (provider, model, ordinal, rates, source) values ('openai', 'gpt-4o', 9, $1, 'a test')",
        json.dumps(CHEAPER),
    )
    await ledger.owner.execute("update tenant_ledgers set config_version = config_version + 1")
    assert len(await _book(ledger, found)) == 1
    assert await settled(ledger) == 500_000_000


@pytest.mark.parametrize("finished", [False, True])
async def test_a_user_who_was_erased_meanwhile_is_not_named_again(ledger: Ledger, finished: bool) -> None:
    made = administration.CreateBudget("k", b"x", "each", (("user", "*"),), Limits(nanos=10**9), Window.TOTAL)
    await ledger.ask(made, outcomes.BudgetAnswer)
    await set_price(ledger, "house/chat", HOUSE)
    await record(ledger, "chat", 1_000, 0, user="ada")  # the oldest one is not the user's
    await _priced(ledger, user="frank")
    found = await found_by(ledger, PERIOD)
    await ledger.ask(administration.EraseUser("k", b"x", "frank", "root"), outcomes.Changed)
    if finished:
        await Erasures(ledger.database, visible_seconds=0).erase_users()
        await record(ledger, "other", 1_000, 0, user="frank")
    assert len(await _book(ledger, found)) == 3
    named = await ledger.owner.fetchval(
        "select count(*) from usage_events where recosts is not null and user_id = 'frank'"
    )
    assert named == 0
    if not finished:
        await Erasures(ledger.database, visible_seconds=0).erase_users()
    assert await ledger.owner.fetchval("select count(*) from daily_usage where user_id = 'frank'") == int(finished)


async def test_a_call_that_is_no_longer_kept_is_left(ledger: Ledger) -> None:
    gone, other = await _priced(ledger)
    found = await found_by(ledger, PERIOD)
    await ledger.owner.execute("create table kept as select * from usage_events where event_id = $1", gone)
    await ledger.owner.execute("delete from usage_events where event_id = $1", gone)
    assert [*(await _book(ledger, found)).values()] == [str(other)]
    await ledger.owner.execute("insert into usage_events select * from kept")
    await ledger.owner.execute("drop table kept")


async def test_what_was_on_the_accounts_of_a_renamed_model_is_re_costed_where_it_has_gone(ledger: Ledger) -> None:
    made = administration.CreateBudget("k", b"x", "models", (("model", "*"),), Limits(nanos=10**9), Window.TOTAL)
    await ledger.ask(made, outcomes.BudgetAnswer)
    await _priced(ledger)
    found = await found_by(ledger, PERIOD)
    renamed = administration.RenameModel("k", b"x", ModelName("house", "chat"), ModelName("house", "talk"), "", "root")
    await ledger.ask(renamed, outcomes.Changed)
    assert len(await _book(ledger, found)) == 2
    balances = await ledger.owner.fetch(
        "select settled_nanos from accounts where budget = 'models' order by account_id"
    )
    assert [row["settled_nanos"] for row in balances] == [0, 2_000_000]


async def test_one_batch_re_costs_once_and_takes_back_all(ledger: Ledger) -> None:
    first, second = await _priced(ledger)
    found = await found_by(ledger, PERIOD)
    reversal = await _reversal(ledger, first)
    twice = [replace(_command(found), key=key) for key in ("a", "b")]
    together: tuple[commands.Command, ...] = (*twice, reversal)
    answers = await asyncio.gather(*(ledger.commits.submit(ledger.tenant, each) for each in together))
    recosted = [each.entry.after["recostings"] for each in answers[:2]]  # type: ignore[union-attr]
    assert [*map(len, recosted)] == [2, 0]
    taken_back = answers[2].entry.after["corrections"].values()  # type: ignore[union-attr]
    assert sorted(taken_back) == sorted([str(first), next(k for k, v in recosted[0].items() if v == str(first))])
    assert await settled(ledger) == 1_000_000
    batches = await ledger.owner.fetchval(
        "select count(distinct event_id >> 16) from usage_events where event_id > $1", second
    )
    assert batches == 1


async def test_two_processes_re_cost_a_period_once(ledger: Ledger) -> None:
    ids = await _priced(ledger, 12)
    other = Ledger(ledger.database, ledger.owner, ledger._prices, ledger.tenant)
    found = [await found_by(ledger, PERIOD), await found_by(other, PERIOD)]
    parts = [
        _book(process, replace(look, calls=look.calls[first : first + 4]))
        for process, look in ((ledger, found[0]), (other, found[1]))
        for first in (0, 4, 8)
    ]
    recosted = [each for part in await asyncio.gather(*parts) for each in part.values()]
    await other.commits.drain()
    assert sorted(recosted, key=int) == [str(each) for each in ids]
    assert await settled(ledger) == 12_000_000


async def test_the_database_copies_what_a_re_costing_is_in_memory(ledger: Ledger) -> None:
    booked: list[RecostedEvent] = []

    def report(batch: BatchReport) -> None:
        booked.extend(each for _, _, writes in batch.decided for each in writes.recostings)

    ledger.commits = GroupCommit(ledger.database, ledger._prices, report=report)
    await _every_kind_of_call(ledger)
    for price in (CHEAPER, HOUSE):
        await set_price(ledger, "house/*", {"base": {**price["base"], "requests": "3", "web_searches": "7"}})
        await _book(ledger, await found_by(ledger, PERIOD))
    found = await ledger.owner.fetch(
        f"select {rows.EVENT.select()}, booked_at from usage_events where recosts is not null order by event_id"
    )
    assert len(booked) > 10
    assert [rows.EVENT.read(row) for row in found] == [_as_read(each) for each in booked]


def _as_read(recosting: RecostedEvent) -> Any:
    return replace(recosting.as_event, path=[*recosting.path])


async def _every_kind_of_call(ledger: Ledger) -> None:
    await set_price(ledger, "house/*", HOUSE)
    discount = administration.SetDiscount("k", b"x", "openai", "*", read_factor("0.5"), "root", AGO)
    opened = await ledger.ask(commands.OpenRun("k", b"x", user="ada", cost_center="lab"), outcomes.RunAnswer)
    fields: Sequence[dict[str, Any]] = (
        {},
        {"others": {"web_searches": 2, "images": 1}},
        {"occurred_at": AGO + timedelta(hours=1), "tags": (("team", "a"),), "tool": "search", "estimated": True},
        {"response_id": "resp_1", "failed": True, "service_tier": "flex"},
        {"run_id": opened.run.run_id, "user": None, "cost_center": None},
        {"provider": "openai"},
    )
    for each in fields:
        await record(ledger, "gpt-4o", 1_000, 100, **each)
    await ledger.ask(discount, outcomes.Changed)
    held = await ledger.hold(provider="house", model="chat")
    await ledger.settle(held, 9_000, 100, model="other", original_input_tokens=10_000)
    streamed = await ledger.hold(provider="house", model="Chat ")
    await ledger.settle(streamed, 500, 100, 200, part=True)
    await ledger.settle(streamed, 500, 100)


async def test_a_call_that_gives_way_takes_its_re_costing_along(ledger: Ledger) -> None:
    await _priced(ledger, 1, response_id="resp_1")
    held = await ledger.hold(provider="house", model="chat")
    await _book(ledger, await found_by(ledger, PERIOD))
    await ledger.settle(held, 1_000, 0, response_id="resp_1")
    assert await settled(ledger) == 1_000_000


@pytest.mark.parametrize("as_found", [True, False])
async def test_what_was_added_up_before_a_batch_is_what_the_batch_would_add_up(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, as_found: bool
) -> None:
    written: list[Writes] = []

    def report(batch: BatchReport) -> None:
        written.extend(writes for _, _, writes in batch.decided if writes.recostings)

    ledger.commits = GroupCommit(ledger.database, ledger._prices, report=report)
    await _every_kind_of_call(ledger)
    await set_price(ledger, "house/*", CHEAPER)
    command = (await found_by(ledger, PERIOD)).command("k", b"x", "root")
    if not as_found:
        monkeypatch.setattr("token_ledger.core.decisions.recostings._stand", lambda *_: False)
    entry = (await ledger.ask(command, outcomes.Recosted)).entry
    [writes] = written
    assert command.decided is not None
    sums = command.decided.sums
    assert len(writes.recostings) > 5
    assert command.decided.rows == tuple(each[1:] for each in writes.recostings)
    assert command.decided.models == entry.after["models"]
    assert _costs(writes.rollups) == sums.rollups
    assert _costs(writes.tag_rollups) == sums.tag_rollups != {}
    assert _costs(writes.run_rollups) == sums.run_rollups != {}
    assert sums.nanos == sum(sums.by_path.values()) == sum(each.cost_nanos for each in writes.recostings)


def _costs(sums: Mapping[Any, list[int]]) -> dict[Any, int]:
    return {key: figures[-1] for key, figures in sums.items()}
