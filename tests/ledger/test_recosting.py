"""Re-costing books what calls cost more or less once what had no price has one: the same for every sum, and once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.proof.ledger import HOLD, Ledger, open_ledger
from tests.reports.reading import kinds_used, spend_by
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.details import Kind
from token_ledger.core.model.discount import read_factor
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.recosting import totals_of
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import check_rates, load_price_book
from token_ledger.storage.reads.recostings import Look, Wanted, look
from token_ledger.worker.erasures import Erasures

_numbers = iter(range(1_000_000))
ALL = Wanted()
AGO = datetime.now(UTC) - timedelta(days=2)
SPAN = datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) + timedelta(days=1)
STAND_IN = {"base": {"input": "10", "output": "10"}}
HOUSE = {"base": {"input": "2", "output": "4"}}


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A tenant with a hard budget of money for all its calls; at the end its books are clean."""
    async with open_ledger(database_url) as opened:
        budget = administration.CreateBudget("k", b"x", "all", (), Limits(nanos=15 * 10**9), Window.TOTAL)
        await opened.ask(budget, outcomes.BudgetAnswer)
        yield opened
        await opened.commits.drain()
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def set_price(ledger: Ledger, name: str, rates: Any, since: datetime | None = AGO) -> None:
    price = None if rates is None else check_rates(rates)
    provider, _, model = name.partition("/")
    command = administration.SetPrice("k", b"x", provider, model, rates, price, "root", since)
    await ledger.ask(command, outcomes.Changed)


async def record(ledger: Ledger, model: str, *tokens: int, provider: str = "house", **fields: Any) -> int:
    """Record a call and return its id."""
    others = fields.pop("others", {})
    event = commands.Record(
        f"call {next(_numbers)}", b"x", "batch", "data", provider, model, Usage(*tokens, others=others_of(others)),
        **{"user": "ada", **fields},
    )  # fmt: skip
    return (await ledger.ask(event, outcomes.Recorded)).event.event_id


async def found_by(ledger: Ledger, wanted: Wanted = ALL, after: str | None = None, **fields: Any) -> Look:
    async with ledger.database.reading(ledger.tenant) as connection:
        book = await load_tenant_book(connection, ledger.tenant, await load_price_book(connection))
        return await look(connection, ledger.tenant, book, wanted, after, **fields)


async def recost(ledger: Ledger, wanted: Wanted = ALL) -> list[dict[str, Any]]:
    """Re-cost what a look finds, which must be what is then booked; return the models."""
    found = await found_by(ledger, wanted)
    after: dict[str, Any] = (await ledger.ask(found.command("k", b"x", "root"), outcomes.Recosted)).entry.after
    expected = [(each.name.model, each.events, each.before, each.after) for each in totals_of(found.recostings)]
    assert [(e["model"], e["events"], _nanos(e["cost_before"]), _nanos(e["cost_after"])) for e in after["models"]] == (
        expected
    )
    models: list[dict[str, Any]] = after["models"]
    return models


def _nanos(text: str) -> int:
    return round(float(text) * 10**9)


async def settled(ledger: Ledger) -> int:
    """Return what the budget, and so must every report, say that all calls cost."""
    nanos = await ledger.owner.fetchval("select sum(settled_nanos)::bigint from accounts where budget = 'all'")
    for dimension in ("user", "model", "agent_type", "provider"):
        assert (await spend_by(ledger.database, ledger.tenant, dimension, *SPAN)).total.cost_nanos == nanos
    return int(nanos)


async def kinds(ledger: Ledger) -> dict[str, tuple[int, int, int]]:
    used = await kinds_used(ledger.database, ledger.tenant, "user", *SPAN)
    return {row.use.kind: (row.use.count, row.use.nanos, row.use.unpriced) for row in used.rows}


async def test_a_model_booked_at_a_stand_in_costs_its_price_after_it(ledger: Ledger) -> None:
    await set_price(ledger, "*/*", STAND_IN)
    await record(ledger, "summarizer", 1_000_000, 100_000)
    held = await ledger.hold(provider="house", model="Summarizer")
    await ledger.settle(held, 1_000, 100)
    await record(ledger, "another", 1_000, 0)
    assert await settled(ledger) == 11_000_000_000 + 11_000_000 + 10_000_000
    assert (await found_by(ledger)).calls == []
    await set_price(ledger, "house/summarizer", HOUSE)
    [model] = await recost(ledger)
    assert model == {
        "provider": "house", "model": "summarizer", "events": 2, "tokens": 1_101_100, "kinds": {},
        "cost_before": "11.011000000", "cost_after": "2.402400000", "difference": "-8.608600000",
        "list_cost_before": "11.011000000", "list_cost_after": "2.402400000",
    }  # fmt: skip
    assert await settled(ledger) == 2_402_400_000 + 10_000_000
    assert await recost(ledger) == []
    calls = await ledger.owner.fetchval("select settled_calls from accounts where budget = 'all'")
    assert calls == 3


async def test_a_model_booked_at_nothing_takes_a_hard_budget_over_its_limit(ledger: Ledger) -> None:
    await record(ledger, "summarizer", 9_000_000, 0)
    assert await settled(ledger) == 0
    await set_price(ledger, "house/summarizer", HOUSE)
    await recost(ledger)
    assert await settled(ledger) == 18_000_000_000
    outcome = await ledger.commits.submit(ledger.tenant, commands.Reserve("over", b"x", **HOLD, user="ada"))
    assert isinstance(outcome, outcomes.Denied)


@pytest.mark.parametrize("with_hold", [False, True])
async def test_only_a_kind_that_had_no_price_is_re_costed(ledger: Ledger, with_hold: bool) -> None:
    await set_price(ledger, "house/summarizer", HOUSE)
    for _ in range(2):
        if with_hold:
            held = await ledger.hold(provider="house", model="summarizer")
            await ledger.settle(held, 1_000, 100, others={"web_searches": 2, "images": 1})
        else:
            await record(ledger, "summarizer", 1_000, 100, others={"web_searches": 2, "images": 1})
    assert await settled(ledger) == 2 * 2_400_000
    assert await kinds(ledger) == {"web_searches": (4, 0, 4), "images": (2, 0, 2)}
    searches = {"base": {"input": "100", "output": "100", "web_searches": "10"}}
    await set_price(ledger, "house/summarizer", searches)
    [model] = await recost(ledger)
    assert (model["events"], model["tokens"], model["kinds"]) == (2, 0, {"web_searches": 4})
    assert await settled(ledger) == 2 * 22_400_000
    assert await kinds(ledger) == {"web_searches": (4, 40_000_000, 0), "images": (2, 0, 2)}
    assert await recost(ledger) == []
    await set_price(
        ledger, "house/summarizer", {"base": {"input": "7", "output": "7", "web_searches": "99", "images": "5"}}
    )
    [model] = await recost(ledger)
    assert (model["kinds"], model["difference"]) == ({"images": 2}, "0.010000000")
    assert await kinds(ledger) == {"web_searches": (4, 40_000_000, 0), "images": (2, 10_000_000, 0)}


async def test_a_call_served_by_a_model_without_a_price_is_re_costed_by_that_model(ledger: Ledger) -> None:
    await ledger.settle(await ledger.hold(), 1_000, 100, model="gpt-nobody-knows")
    by_hold = await settled(ledger)
    await set_price(ledger, "openai/gpt-nobody-knows", HOUSE)
    [model] = await recost(ledger, Wanted("openai", "gpt-nobody-knows"))
    assert (_nanos(model["cost_before"]), model["cost_after"]) == (by_hold, "0.002400000")
    assert await settled(ledger) == 2_400_000


async def test_a_price_of_its_time_and_a_fee_count(ledger: Ledger) -> None:
    await record(ledger, "summarizer", 1_000, 100, occurred_at=AGO - timedelta(hours=1))
    await record(ledger, "summarizer", 1_000, 100, others={"requests": 2})
    await set_price(ledger, "house/summarizer", {"base": {"input": "2", "output": "4", "requests": "5"}})
    [model] = await recost(ledger)
    assert (model["events"], model["difference"]) == (1, "0.017400000")
    assert await kinds(ledger) == {"requests": (3, 15_000_000, 0)}


async def test_an_alias_and_a_discount_count_and_everybody_s_cost_is_kept(ledger: Ledger) -> None:
    event = await record(ledger, "prod-chat", 1_000_000, 0, provider="azure")
    discount = administration.SetDiscount("k", b"x", "openai", "gpt-4o", read_factor("0.5"), "root", AGO)
    await ledger.ask(discount, outcomes.Changed)
    await ledger.ask(
        administration.SetAlias("k", b"x", "azure", "prod-chat", ModelName("openai", "gpt-4o"), "root"),
        outcomes.Changed,
    )
    [model] = await recost(ledger, Wanted("azure", "prod-*"))
    assert (model["cost_after"], model["list_cost_after"]) == ("1.250000000", "2.500000000")
    row = await ledger.owner.fetchrow("select * from usage_events where recosts = $1", event)
    assert (row["cost_nanos"], row["list_cost_nanos"], row["model"]) == (1_250_000_000, 2_500_000_000, "prod-chat")


async def test_what_everybody_pays_for_a_kind_is_not_counted_again(ledger: Ledger) -> None:
    """The list price had a rate for the searches from the first on; only the tenant's own price lacked it."""
    name, base = "anthropic/claude-opus-4-5", {"input": "1", "output": "1"}
    await set_price(ledger, name, {"base": base})
    await record(ledger, "claude-opus-4-5", 1_000, 100, provider="anthropic", others={"web_searches": 2})
    sums = "select sum(cost_nanos)::bigint, sum(coalesce(list_cost_nanos, cost_nanos))::bigint from usage_events"
    listed = 1_000 * 5_000 + 100 * 25_000 + 2 * 10_000_000
    assert tuple(await ledger.owner.fetchrow(sums)) == (1_100_000, listed)
    await set_price(ledger, name, {"base": {**base, "web_searches": "4"}})
    [model] = await recost(ledger)
    assert (model["difference"], model["list_cost_after"]) == ("0.008000000", model["list_cost_before"])
    assert tuple(await ledger.owner.fetchrow(sums)) == (9_100_000, listed)


async def test_a_call_in_parts_is_re_costed_as_one_once_it_has_ended(ledger: Ledger) -> None:
    await set_price(ledger, "*/*", STAND_IN)
    held = await ledger.hold(provider="house", model="summarizer", input_tokens=2_000)
    await ledger.settle(held, 1_000, 100, others={"web_searches": 1}, part=True)
    await ledger.settle(held, 0, 100, part=True)
    rates = {"base": {"input": "2", "output": "4"}, "tiers": [{"above": 1_500, "rates": {"input": "3", "output": "6"}}]}
    await set_price(ledger, "house/summarizer", rates)
    assert (await found_by(ledger)).calls == []
    await ledger.settle(held, 1_000, 0)
    assert await settled(ledger) == 22_000_000
    [model] = await recost(ledger)
    assert (model["events"], model["cost_after"]) == (1, "0.007200000")
    assert await settled(ledger) == 7_200_000
    assert await recost(ledger) == []


async def test_a_part_after_the_price_has_re_costed_the_call_already(ledger: Ledger) -> None:
    await set_price(ledger, "*/*", STAND_IN)
    held = await ledger.hold()
    await ledger.settle(held, 1_000, 0, part=True, provider="house", model="summarizer")
    await set_price(ledger, "house/summarizer", HOUSE)
    await ledger.settle(held, 1_000, 0, provider="house", model="summarizer")
    assert await settled(ledger) == 4_000_000
    assert await recost(ledger) == []


async def test_calls_of_a_lease_are_re_costed_each(ledger: Ledger) -> None:
    await set_price(ledger, "*/*", STAND_IN)
    lease = commands.Lease("k", b"x", **{**HOLD, "provider": "house", "model": "summarizer"}, user="ada", calls=3)
    lent = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    for _ in range(2):
        await ledger.settle(lent, 1_000, 0, part=True)
    await set_price(ledger, "house/summarizer", HOUSE)
    [model] = await recost(ledger)
    assert (model["events"], model["difference"]) == (2, "-0.016000000")
    await ledger.settle(lent, 1_000, 0)  # at the price of its hold
    [model] = await recost(ledger)
    assert (model["events"], await settled(ledger)) == (1, 6_000_000)


async def test_what_was_taken_back_before_is_left_and_after_it_goes_with_its_call(ledger: Ledger) -> None:
    sent = [f"event {number}" for number in range(2)]
    for key in sent:
        event = commands.Record(key, b"x", "batch", "data", "house", "summarizer", Usage(1_000, 100), user="ada")
        await ledger.ask(event, outcomes.Recorded)
    await _reverse(ledger, sent[0])
    await set_price(ledger, "house/summarizer", HOUSE)
    [model] = await recost(ledger)
    assert (model["events"], await settled(ledger)) == (1, 2_400_000)
    reversed_ = await _reverse(ledger, sent[1])
    assert (reversed_.entry.after["calls"], reversed_.entry.after["cost"]) == (-1, "-0.002400000")
    assert len(reversed_.entry.after["corrections"]) == 2
    assert await settled(ledger) == 0
    assert await recost(ledger) == []


async def _reverse(ledger: Ledger, key: str) -> outcomes.Reversed:
    row = await ledger.owner.fetchrow("select target_id, booked_at from operation_keys where key = $1", key)
    command = administration.Reverse(key, b"x", "batch", (tuple(row.values()),), "a test", "root")
    return await ledger.ask(command, outcomes.Reversed)


async def test_a_settle_that_takes_the_place_of_a_re_costed_call_takes_that_back_too(ledger: Ledger) -> None:
    await set_price(ledger, "*/*", STAND_IN)
    await record(ledger, "summarizer", 1_000, 100, response_id="resp_1")
    held = await ledger.hold(provider="house", model="summarizer")
    await set_price(ledger, "house/summarizer", HOUSE)
    await recost(ledger)
    await ledger.settle(held, 1_000, 100, response_id="resp_1")
    assert await settled(ledger) == 11_000_000  # at the price of its hold
    [model] = await recost(ledger)
    assert (model["events"], await settled(ledger)) == (1, 2_400_000)


async def test_cache_hits_duplicates_and_costs_that_callers_state_are_left(ledger: Ledger) -> None:
    await record(ledger, "summarizer", 1_000, 100, event_kind=Kind.CACHE_HIT)
    await record(ledger, "summarizer", 0, 0, event_kind=Kind.TOOL_CALL, tool="search", cost_nanos=5)
    for _ in range(2):
        await record(ledger, "summarizer", 1_000, 100, response_id="resp_1")
    await set_price(ledger, "house/summarizer", HOUSE)
    [model] = await recost(ledger)
    assert (model["events"], await settled(ledger)) == (1, 2_400_005)


async def test_what_was_taken_back_since_the_look_is_left(ledger: Ledger) -> None:
    event = commands.Record("event", b"x", "batch", "data", "house", "summarizer", Usage(1_000, 100), user="ada")
    await ledger.ask(event, outcomes.Recorded)
    await set_price(ledger, "house/summarizer", HOUSE)
    found = await found_by(ledger)
    assert len(found.calls) == 1
    await _reverse(ledger, "event")
    done = await ledger.ask(found.command("k", b"x", "root"), outcomes.Recosted)
    assert (done.entry.after["recostings"], await settled(ledger)) == ({}, 0)


async def test_a_re_costing_is_taken_back_under_the_pseudonym_of_a_user_who_is_being_erased(ledger: Ledger) -> None:
    event = commands.Record("event", b"x", "batch", "data", "house", "summarizer", Usage(1_000, 100), user="frank")
    await ledger.ask(event, outcomes.Recorded)
    await set_price(ledger, "house/summarizer", HOUSE)
    await recost(ledger)
    await ledger.ask(administration.EraseUser("k", b"x", "frank", "root"), outcomes.Changed)
    await _reverse(ledger, "event")
    users = await ledger.owner.fetch("select user_id from usage_events where corrects is not null")
    assert len(users) == 2
    assert all(row["user_id"].startswith("erased-") for row in users)


async def test_a_call_is_priced_by_the_name_that_was_called_and_found_by_both(ledger: Ledger) -> None:
    await record(ledger, "prod-chat", 1_000, 100, provider="azure")
    names = ModelName("azure", "prod-chat"), ModelName("house", "chat")
    await ledger.ask(administration.RenameModel("k", b"x", *names, "one name", "root"), outcomes.Changed)
    await record(ledger, "prod-chat", 1_000, 100, provider="azure")
    await set_price(ledger, "house/chat", STAND_IN)
    assert (await found_by(ledger)).calls == []
    await set_price(ledger, "azure/prod-chat", HOUSE)
    assert len((await found_by(ledger, Wanted("house", "chat"))).calls) == 1
    models = await recost(ledger, Wanted("azure", "prod-chat"))
    assert [(each["model"], each["events"]) for each in models] == [("prod-chat", 1), ("chat", 1)]
    assert await settled(ledger) == 2 * 2_400_000


async def test_a_call_of_an_ended_window_is_re_costed_there(ledger: Ledger) -> None:
    budget = administration.CreateBudget("k", b"x", "hourly", (), Limits(nanos=10**9), Window.HOUR)
    await ledger.ask(budget, outcomes.BudgetAnswer)
    await record(ledger, "summarizer", 1_000, 100, occurred_at=datetime.now(UTC) - timedelta(hours=5))
    await record(ledger, "another", 1_000, 100)
    await set_price(ledger, "house/summarizer", HOUSE)
    await recost(ledger)
    rows = await ledger.owner.fetch(
        "select settled_nanos from accounts where budget = 'hourly' order by window_start"
    )  # fmt: skip
    assert [row["settled_nanos"] for row in rows] == [2_400_000, 0]


async def test_two_at_once_book_each_call_once(ledger: Ledger) -> None:
    for _ in range(20):
        await record(ledger, "summarizer", 1_000, 100)
    await set_price(ledger, "house/summarizer", HOUSE)
    async with ledger.database.reading() as connection:
        other = GroupCommit(ledger.database, await load_price_book(connection))
    found = await found_by(ledger)
    done = await asyncio.gather(
        *(
            commits.submit(ledger.tenant, found.command(f"at once {n}", b"x", "root"))
            for n, commits in enumerate((ledger.commits, other, ledger.commits, other))
        )
    )
    await other.drain()
    booked = [len(each.entry.after["recostings"]) for each in done if isinstance(each, outcomes.Recosted)]
    assert sorted(booked) == [0, 0, 0, 20]
    assert await settled(ledger) == 20 * 2_400_000


async def test_a_look_goes_on_where_the_one_before_has_ended(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    for model in ("b", "a", "c", "unknown"):
        for _ in range(3):
            await record(ledger, model, 1_000, 0)
    await set_price(ledger, "house/*", HOUSE)
    monkeypatch.setattr("token_ledger.storage.reads.recostings.MOST_LOOKED_AT", 5)
    seen, after = [], None
    while True:
        found = await found_by(ledger, after=after, most=2)
        seen += [call.events[-1][0] for call in found.calls]
        after = found.following
        if after is None:
            break
        assert len(found.calls) <= 2
    assert len(seen) == len(set(seen)) == 12


async def test_an_erased_user_s_calls_are_re_costed_under_the_pseudonym(ledger: Ledger) -> None:
    await record(ledger, "summarizer", 1_000, 100, user="frank")
    await record(ledger, "summarizer", 1_000, 100, user="grace")
    await set_price(ledger, "house/summarizer", HOUSE)
    found = await found_by(ledger)
    for user in ("frank", "grace"):
        await ledger.ask(administration.EraseUser("k", b"x", user, "root"), outcomes.Changed)
        if user == "frank":
            await Erasures(ledger.database, visible_seconds=0).erase_users()
    await ledger.ask(found.command("k", b"x", "root"), outcomes.Recosted)
    users = await ledger.owner.fetch("select user_id from usage_events where recosts is not null")
    assert all(row["user_id"].startswith("erased-") for row in users)
    await Erasures(ledger.database, visible_seconds=0).erase_users()
    assert await settled(ledger) == 4_800_000
