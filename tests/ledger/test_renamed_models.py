"""A model that is renamed has its new name from then on, and what was on its accounts goes along."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.proof.ledger import HOLD, Ledger, open_ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.run import RunState
from token_ledger.core.model.selector import parse_selector
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database

OLD, NEW, THIRD = "gpt-5.4", "gpt-5.4-mini", "o1-pro"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A tenant; at the end its books are clean."""
    async with open_ledger(database_url) as opened:
        yield opened
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def budget(ledger: Ledger, name: str = "each", window: Window = Window.DAY, **fields: Any) -> int:
    values = {"selector": {"model": "*"}, "limits": Limits(tokens=10_000), **fields}
    values["selector"] = parse_selector(values["selector"])
    made = administration.CreateBudget("k", b"x", name, window=window, actor="root", **values)
    return (await ledger.ask(made, outcomes.BudgetAnswer)).budget.budget_id


def renaming(asked: str, becomes: str, **fields: Any) -> administration.RenameModel:
    values = {"key": "k", "reason": "one model", "actor": "root", **fields}
    return administration.RenameModel(
        fingerprint=b"x", asked=ModelName("openai", asked), becomes=ModelName("openai", becomes), **values
    )


async def rename(ledger: Ledger, asked: str, becomes: str) -> dict[str, Any]:
    after: dict[str, Any] = (await ledger.ask(renaming(asked, becomes), outcomes.Changed)).entry.after
    return after


async def used(ledger: Ledger, budget_name: str = "each") -> dict[str, tuple[int, int]]:
    """Settled and held tokens by model, of the accounts of a budget that have any."""
    rows = await ledger.owner.fetch(
        "select subject::jsonb ->> 'model' as model, settled_tokens, held_tokens from accounts"
        " where budget = $1 and (settled_tokens, held_tokens) <> (0, 0)", budget_name,
    )  # fmt: skip
    return {row["model"]: (row["settled_tokens"], row["held_tokens"]) for row in rows}


async def call(ledger: Ledger, model: str = OLD, tokens: int = 1_000) -> None:
    await ledger.settle(await ledger.hold(model=model), tokens)


async def lend(ledger: Ledger, model: str = OLD, calls: int = 2) -> int:
    lease = commands.Lease("k", b"x", **{**HOLD, "model": model}, user="ada", calls=calls)
    return (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id


async def test_what_is_settled_and_held_goes_along_and_later_calls_fall_there(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger, tokens=6_000)
    await call(ledger, NEW, tokens=500)
    held = await ledger.hold()
    assert await rename(ledger, OLD, NEW) == {
        "provider": "openai", "model": NEW, "reason": "one model", "names": 1, "accounts": 1,
    }  # fmt: skip
    assert await used(ledger) == {NEW: (6_500, 1_500)}
    denied = await ledger.ask(commands.Reserve("k", b"x", **{**HOLD, "max_output_tokens": 1_001}, user="ada"), object)
    assert isinstance(denied, outcomes.Denied)
    assert (denied.denial.refusals[0].settled, denied.denial.facts.model) == (6_500, NEW)
    await ledger.settle(held, 700)
    assert await used(ledger) == {NEW: (7_200, 0)}
    event = await ledger.owner.fetchrow("select * from usage_events order by event_id desc limit 1")
    assert (event["model"], event["path"] != event["held_path"]) == (OLD, True)


@pytest.mark.parametrize("named", [OLD, "GPT-5.4", "gpt-5.4-2026-03-05", NEW])
async def test_a_hold_from_before_keeps_its_name_however_the_settle_names_it(ledger: Ledger, named: str) -> None:
    await budget(ledger)
    for name in ("GPT-5.4", "gpt-5.4-2026-03-05"):
        await call(ledger, name)
    holds = [await ledger.hold() for _ in range(2)]
    await rename(ledger, OLD, NEW)
    await ledger.settle(holds[0], 100, model=named)
    await ledger.settle(holds[1], 10, part=True, model=named)
    await ledger.settle(holds[1], 90, model=named)
    assert await used(ledger) == {NEW: (2_200, 0)}
    models = await ledger.owner.fetch("select model from usage_events where event_id > $1", max(holds))
    assert {row["model"] for row in models} == {OLD}


async def test_a_hold_from_before_that_another_model_served_falls_on_that(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger)
    held = await ledger.hold()
    await rename(ledger, OLD, NEW)
    await ledger.settle(held, 100, model=THIRD)
    other = await ledger.hold(model=THIRD)
    await ledger.settle(other, 50, model=OLD)
    assert await used(ledger) == {NEW: (1_050, 0), THIRD: (100, 0)}


async def test_leases_are_drawn_extended_and_ended_where_they_went(ledger: Ledger) -> None:
    await budget(ledger)
    lease = await lend(ledger)
    other = await lend(ledger, NEW, 1)
    await ledger.settle(lease, 100, part=True)
    await rename(ledger, OLD, NEW)
    await ledger.settle(lease, 200, part=True)
    assert await used(ledger) == {NEW: (300, 2 * 1_500 - 300 + 1_500)}
    [leases] = await ledger.owner.fetch("select leases from accounts where leases > 0")
    assert leases["leases"] == 2
    await ledger.ask(commands.Extend("k", b"x", lease, 900), outcomes.Extended)
    await ledger.settle(other, 1_000)
    await ledger.ask(commands.Release("k", b"x", lease), outcomes.Released)
    assert await used(ledger) == {NEW: (1_300, 0)}


@pytest.mark.parametrize("way", ["expired before", "expired after", "forced", "released"])
async def test_every_end_of_a_hold_is_on_the_account_that_it_went_to(ledger: Ledger, way: str) -> None:
    await budget(ledger)
    held = await ledger.hold()
    if way == "expired before":
        await ledger.let_expire(held)
    await rename(ledger, OLD, NEW)
    if way == "expired after":
        await ledger.let_expire(held)
    elif way == "forced":
        forced = administration.ForceRelease("k", b"x", held, "dead", "root")
        await ledger.ask(forced, outcomes.Released)
    elif way == "released":
        await ledger.ask(commands.Release("k", b"x", held), outcomes.Released)
    assert await used(ledger) == {}
    if way != "released":
        await ledger.settle(held, 80)
        assert await used(ledger) == {NEW: (80, 0)}


async def test_a_reversal_takes_back_where_the_call_went(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger)
    await call(ledger, tokens=400)
    event = await ledger.owner.fetchrow("select event_id, booked_at from usage_events order by event_id limit 1")
    await rename(ledger, OLD, NEW)
    reverse = administration.Reverse("k", b"x", None, ((event["event_id"], event["booked_at"]),), "wrong", "root")
    await ledger.ask(reverse, outcomes.Reversed)
    assert await used(ledger) == {NEW: (400, 0)}


async def test_a_chain_of_names_and_a_rename_back(ledger: Ledger) -> None:
    await budget(ledger)
    first = await ledger.hold()
    await rename(ledger, OLD, NEW)
    second = await ledger.hold()
    await rename(ledger, NEW, THIRD)
    third = await ledger.hold(model=NEW)
    assert await used(ledger) == {THIRD: (0, 4_500)}
    await ledger.restart()
    await ledger.settle(first, 1, part=True)
    await rename(ledger, THIRD, OLD)
    assert await used(ledger) == {OLD: (1, 4_499)}
    fourth = await ledger.hold(model=THIRD)
    for hold in (first, second, third, fourth):
        await ledger.settle(hold, 100)
    assert await used(ledger) == {OLD: (401, 0)}
    assert {row["model"] for row in await ledger.owner.fetch("select model from usage_events")} == {OLD, NEW, THIRD}


async def test_models_that_were_merged_can_be_told_apart_again(ledger: Ledger) -> None:
    await budget(ledger)
    before = await ledger.hold()
    await call(ledger, NEW, 50)
    await rename(ledger, OLD, NEW)
    await rename(ledger, OLD, OLD)  # the name is its own model again; what went along stays where it went
    after = await ledger.hold()
    assert await used(ledger) == {OLD: (0, 1_500), NEW: (50, 1_500)}
    await ledger.settle(before, 10)
    await ledger.settle(after, 20, part=True)
    assert await used(ledger) == {OLD: (20, 1_480), NEW: (60, 0)}
    await rename(ledger, OLD, THIRD)
    assert await used(ledger) == {THIRD: (20, 1_480), NEW: (60, 0)}
    await ledger.settle(after, 5)
    assert await used(ledger) == {THIRD: (25, 0), NEW: (60, 0)}


async def test_a_hold_may_be_served_by_the_model_that_its_account_went_to(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger, NEW, 1)
    held = await ledger.hold()
    await rename(ledger, OLD, NEW)
    await rename(ledger, OLD, OLD)
    await ledger.settle(held, 10, model=NEW)
    assert await used(ledger) == {NEW: (11, 0)}
    assert {row["model"] for row in await ledger.owner.fetch("select model from usage_events")} == {NEW}


async def test_one_of_several_names_leaves_alone_and_the_last_takes_all_along(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger, "GPT-5.4", 100)
    await call(ledger, "gpt-5.4-2026-03-05", 10)
    assert (await rename(ledger, "GPT-5.4", THIRD))["accounts"] == 0
    assert await used(ledger) == {OLD: (110, 0)}
    await call(ledger, "GPT-5.4", 1)
    assert await used(ledger) == {OLD: (110, 0), THIRD: (1, 0)}
    assert (await rename(ledger, "gpt-5.4-2026-03-05", THIRD))["accounts"] == 1
    assert await used(ledger) == {THIRD: (111, 0)}
    await call(ledger, OLD, 1_000)  # never used before, and the old name is gone
    await call(ledger, "openai/gpt-5.4", 2_000)
    assert await used(ledger) == {THIRD: (3_111, 0)}


async def test_a_name_can_be_given_before_it_is_used(ledger: Ledger) -> None:
    await budget(ledger)
    await rename(ledger, "our-model", OLD)
    event = commands.Record("k", b"x", "t", "data", "openai", "our-model", Usage(10), user="ada")
    await ledger.ask(event, outcomes.Recorded)
    assert await used(ledger) == {OLD: (10, 0)}


async def test_other_processes_know_at_once(ledger: Ledger) -> None:
    await budget(ledger)
    other = GroupCommit(ledger.database, ledger._prices)
    first, ledger.commits = ledger.commits, other
    await call(ledger)
    held = await ledger.hold()
    ledger.commits = first
    await call(ledger)
    await rename(ledger, OLD, NEW)
    ledger.commits = other
    await call(ledger, "GPT-5.4")
    await ledger.settle(held, 100)
    assert await used(ledger) == {NEW: (3_100, 0)}
    await first.drain()


async def test_windows_that_have_ended_keep_what_they_have(ledger: Ledger) -> None:
    await budget(ledger, rollover=Limits(tokens=10_000))
    await call(ledger, tokens=300)
    late = await ledger.hold()
    await ledger.move_back(1)
    await call(ledger, tokens=20)
    await rename(ledger, OLD, NEW)
    assert await used(ledger) == {OLD: (300, 0), NEW: (20, 0)}
    await ledger.settle(late, 7)
    assert await used(ledger) == {OLD: (307, 0), NEW: (20, 0)}
    await ledger.move_back(1)
    await call(ledger, tokens=1)


SELECTORS: tuple[tuple[dict[str, Any], dict[str, tuple[int, int]]], ...] = (
    ({"model": "*", "user": "*"}, {NEW: (100, 1_500)}),
    ({"model": "*", "provider": "*"}, {NEW: (100, 1_500)}),
    ({"model": "*", "provider": "openai"}, {NEW: (100, 1_500)}),
    ({"model": "*", "provider": "anthropic"}, {}),
)


@pytest.mark.parametrize(("selector", "expected"), SELECTORS)
async def test_every_account_per_model_goes_along(
    ledger: Ledger, selector: dict[str, Any], expected: dict[str, Any]
) -> None:
    for window in (Window.HOUR, Window.MONTH, Window.TOTAL):
        await budget(ledger, window.value, window, selector=selector)
    await call(ledger, tokens=100)
    held = await ledger.hold()
    await rename(ledger, OLD, NEW)
    for window in (Window.HOUR, Window.MONTH, Window.TOTAL):
        assert await used(ledger, window.value) == expected
    await ledger.settle(held, 1)


async def test_accounts_of_open_runs_go_along(ledger: Ledger) -> None:
    await budget(ledger, window=Window.RUN)
    runs = [
        (await ledger.ask(commands.OpenRun("k", b"x", user="ada"), outcomes.RunAnswer)).run.run_id for _ in range(2)
    ]
    for run in runs:
        await ledger.settle(await ledger.hold(run_id=run), 100)
    await ledger.ask(commands.EndRun("k", b"x", runs[0], RunState.CLOSED), outcomes.RunAnswer)
    assert (await rename(ledger, OLD, NEW))["accounts"] == 1
    await ledger.settle(await ledger.hold(run_id=runs[1]), 10)
    rows = await ledger.owner.fetch("select subject, settled_tokens from accounts where budget = 'each' order by 1")
    assert [(Subject.from_text(row["subject"]).get("model"), row["settled_tokens"]) for row in rows] == [
        (OLD, 100), (OLD, 0), (NEW, 110),
    ]  # fmt: skip


async def test_accounts_of_ended_runs_stay_whatever_comes_in_the_same_batch(ledger: Ledger) -> None:
    await budget(ledger, window=Window.RUN)
    run_id = (await ledger.ask(commands.OpenRun("k", b"x", user="ada"), outcomes.RunAnswer)).run.run_id
    held = [await ledger.hold(run_id=run_id) for _ in range(2)]
    await ledger.ask(commands.EndRun("k", b"x", run_id, RunState.CLOSED), outcomes.RunAnswer)
    batch = (commands.Settle("s", b"x", held[0], Usage(100)), renaming(OLD, NEW, key="n"))
    await asyncio.gather(*(ledger.commits.submit(ledger.tenant, each) for each in batch))
    await ledger.settle(held[1], 20)
    assert await used(ledger) == {OLD: (120, 0)}


async def test_accounts_with_calls_of_another_provider_stay(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger)
    event = commands.Record("k", b"x", "t", "data", "mine", OLD, Usage(10), user="ada")
    booked = (await ledger.ask(event, outcomes.Recorded)).event.facts
    assert (booked.provider, booked.model) == ("mine", OLD)
    assert (await rename(ledger, OLD, NEW))["accounts"] == 0
    assert await used(ledger) == {OLD: (1_010, 0)}


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"selector": {"model": OLD}}, NEW),
    ({"selector": {"model": [OLD, THIRD]}}, NEW),
    ({"selector": {"model": "gpt-*"}}, THIRD),
    ({"overrides": ((Subject({"model": OLD}), Limits(tokens=5_000)),)}, NEW),
)


@pytest.mark.parametrize(("fields", "becomes"), REFUSED)
async def test_budgets_that_would_miss_the_calls_are_named(
    ledger: Ledger, fields: dict[str, Any], becomes: str
) -> None:
    number = await budget(ledger, "by name", **fields)
    await call(ledger, tokens=1)
    refused = await ledger.ask(renaming(OLD, becomes), outcomes.Refused)
    assert refused.code is outcomes.Code.INVALID_REQUEST
    assert "'by name'" in refused.detail
    assert f"openai/{becomes}" in refused.detail
    await ledger.ask(administration.ArchiveBudget("k", b"x", number, "root"), outcomes.BudgetAnswer)
    await ledger.ask(renaming(OLD, becomes), outcomes.Changed)


@pytest.mark.parametrize("becomes", [OLD, "GPT-5.4", "openai/gpt-5.4"])
async def test_a_rename_that_changes_nothing_is_refused(ledger: Ledger, becomes: str) -> None:
    await call(ledger)
    refused = await ledger.ask(renaming("gpt-5.4-2026-03-05", becomes), outcomes.Refused)
    assert "nothing changes" in refused.detail


async def test_a_repeated_key_renames_once(ledger: Ledger) -> None:
    await call(ledger)
    first = await ledger.ask(renaming(OLD, NEW, key="once"), outcomes.Changed)
    again = await ledger.ask(renaming(OLD, NEW, key="once"), outcomes.Changed)
    assert (again.entry, again.replayed) == (first.entry, True)


async def test_thresholds_fire_on_the_new_account_and_arm_again_on_the_old(ledger: Ledger) -> None:
    await budget(ledger, thresholds=(50, 90))
    await call(ledger, tokens=6_000)
    await call(ledger, NEW, 3_000)
    await rename(ledger, OLD, NEW)
    rows = await ledger.owner.fetch(
        "select subject::jsonb ->> 'model' as model, percent, fired from threshold_events"
        " join accounts using (tenant_id, account_id) order by threshold_id"
    )
    assert [tuple(row) for row in rows] == [(OLD, 50, True), (OLD, 50, False), (NEW, 50, True), (NEW, 90, True)]


async def test_two_renames_in_one_batch(ledger: Ledger) -> None:
    await budget(ledger)
    await call(ledger, tokens=10)
    await call(ledger, NEW, 20)
    await call(ledger, THIRD, 30)
    batch: tuple[commands.Command, ...] = (
        renaming(OLD, NEW, key="1"),
        renaming(NEW, THIRD, key="2"),
        commands.Reserve("r", b"x", **HOLD, user="ada"),
    )
    done = await asyncio.gather(*(ledger.commits.submit(ledger.tenant, each) for each in batch))
    assert [type(each) for each in done] == [outcomes.Changed, outcomes.Changed, outcomes.Granted]
    assert await used(ledger) == {THIRD: (60, 1_500)}
