"""Re-costing calls that had a price: by what the book says now for their instants, for every sum, and once."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.ledger.test_recosting import AGO, HOUSE, SPAN, ledger, record, set_price, settled
from tests.proof.corrected_prices import found_by, recost
from tests.proof.ledger import HOLD, Ledger
from tests.reports.reading import kinds_used
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.details import Kind
from token_ledger.core.model.discount import read_factor
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.recosting import totals_of
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import Window
from token_ledger.storage.reads.recostings import Wanted

__all__ = ["ledger"]
PERIOD = Wanted(since=SPAN[0], until=SPAN[1], also_priced=True)


async def test_a_corrected_price_counts_for_every_call_of_its_time(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    await record(ledger, "chat", 1_000, 100)
    await record(ledger, "chat", 1_000, 100, occurred_at=AGO + timedelta(hours=1))
    await ledger.settle(await ledger.hold(provider="house", model="chat"), 1_000, 100)
    assert (await found_by(ledger, PERIOD)).calls == []
    await set_price(ledger, "house/chat", {"base": {"input": "3", "output": "4"}}, AGO + timedelta(hours=2))
    [totals] = totals_of((await found_by(ledger, PERIOD)).recostings)
    assert (totals.events, totals.tokens, totals.before, totals.after) == (2, 0, 4_800_000, 6_800_000)
    assert await recost(ledger, PERIOD) == 2
    assert await settled(ledger) == 2_400_000 + 6_800_000
    assert await recost(ledger, PERIOD) == 0


async def test_a_call_is_re_costed_from_what_it_costs_by_then_and_back_again(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    await record(ledger, "chat", 1_000, 100, others={"web_searches": 2})
    for searches, expected in (("10", 22_400_000), ("20", 42_400_000), ("0", 2_400_000), ("10", 22_400_000)):
        await set_price(ledger, "house/chat", {"base": {**HOUSE["base"], "web_searches": searches}})
        assert await recost(ledger, PERIOD) == 1
        assert await settled(ledger) == expected
    # What the price has no rate for stays.
    await set_price(ledger, "house/chat", {"base": {"input": "1", "output": "1"}})
    assert await recost(ledger, PERIOD) == 1
    assert await settled(ledger) == 20_000_000 + 1_100_000
    await set_price(ledger, "house/chat", None)
    assert await recost(ledger, PERIOD) == 0


async def test_a_fee_comes_and_goes(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    await record(ledger, "chat", 1_000, 100)
    await record(ledger, "chat", 1_000, 100, others={"requests": 2})
    with_fee = {"base": {**HOUSE["base"], "requests": "5"}}
    for rates, expected in ((with_fee, 4_800_000 + 20_000_000), (HOUSE, 4_800_000 + 15_000_000)):
        await set_price(ledger, "house/chat", rates)
        assert await recost(ledger, PERIOD) > 0
        assert await settled(ledger) == expected
    [row] = (await kinds_used(ledger.database, ledger.tenant, "user", *SPAN)).rows
    # Of the second call two were reported: without a rate they stay as they are booked, with the fee.
    assert (row.use.kind, row.use.count, row.use.nanos) == ("requests", 3, 15_000_000)


async def test_discounts_aliases_and_what_everybody_pays(ledger: Ledger) -> None:
    await record(ledger, "gpt-4o", 1_000_000, 0, provider="openai")
    discount = administration.SetDiscount("k", b"x", "openai", "gpt-4o", read_factor("0.5"), "root", AGO)
    await ledger.ask(discount, outcomes.Changed)
    assert await recost(ledger, PERIOD) == 1
    assert await _costs(ledger) == (1_250_000_000, 2_500_000_000)
    await set_price(ledger, "openai/gpt-4o", HOUSE)
    assert await recost(ledger, PERIOD) == 1
    assert await _costs(ledger) == (2_000_000_000, 2_500_000_000)
    alias = administration.SetAlias("k", b"x", "azure", "prod", ModelName("openai", "gpt-4o"), "root")
    await ledger.ask(alias, outcomes.Changed)
    held = await ledger.hold(provider="azure", model="prod")
    await ledger.settle(held, 1_000_000, 0)
    await set_price(ledger, "azure/prod", {"base": {"input": "7", "output": "7"}})
    assert await recost(ledger, PERIOD) == 1
    assert await _costs(ledger) == (9_000_000_000, 2_500_000_000 + 7_000_000_000)


async def _costs(ledger: Ledger) -> tuple[int, int]:
    """Return what all calls cost, and what they cost everybody."""
    row = await ledger.owner.fetchrow(
        "select sum(cost_nanos)::bigint as cost, sum(coalesce(list_cost_nanos, cost_nanos))::bigint as listed"
        " from usage_events where tenant_id = $1", ledger.tenant,
    )  # fmt: skip
    assert row["cost"] == await settled(ledger)
    return row["cost"], row["listed"]


async def test_a_call_in_parts_is_one_call_and_waits_for_its_end(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    held = await ledger.hold(provider="house", model="chat", input_tokens=2_000)
    await ledger.settle(held, 1_000, 100, part=True)
    tier = {"above": 1_500, "rates": {"input": "3", "output": "6"}}
    await set_price(ledger, "house/chat", {**HOUSE, "tiers": [tier]})
    assert await recost(ledger, PERIOD) == 0
    await ledger.settle(held, 1_000, 0)
    assert await settled(ledger) == 4_400_000
    assert await recost(ledger, PERIOD) == 1
    assert await settled(ledger) == 6_600_000
    assert await recost(ledger, PERIOD) == 0


async def test_calls_of_a_lease_have_the_price_of_its_instant(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE, datetime.now(UTC) - timedelta(days=3))
    lease = commands.Lease("k", b"x", **{**HOLD, "provider": "house", "model": "chat"}, user="ada", calls=3)
    lent = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    await ledger.settle(lent, 1_000, 0, part=True)
    await set_price(ledger, "house/chat", {"base": {"input": "9", "output": "9"}}, datetime.now(UTC))
    await ledger.settle(lent, 1_000, 0, part=True)
    assert await recost(ledger, PERIOD) == 0
    await set_price(ledger, "house/chat", {"base": {"input": "3", "output": "3"}})
    assert await recost(ledger, PERIOD) == 2
    assert await settled(ledger) == 6_000_000


async def test_what_follows_from_no_price_is_left(ledger: Ledger) -> None:
    await set_price(ledger, "*/*", {"base": {"input": "10", "output": "10"}})
    await set_price(ledger, "house/chat", HOUSE)
    await record(ledger, "chat", 1_000, 100, event_kind=Kind.CACHE_HIT)
    await record(ledger, "chat", 0, 0, event_kind=Kind.TOOL_CALL, tool="search", cost_nanos=5)
    await record(ledger, "unheard-of", 1_000, 0)
    for _ in range(2):
        await record(ledger, "chat", 1_000, 100, response_id="resp_1")
    await ledger.settle(await ledger.hold(provider="house", model="chat"), 1_000, 0, model="unheard-of")
    await set_price(ledger, "house/chat", {"base": {"input": "1", "output": "1"}})
    await set_price(ledger, "*/*", {"base": {"input": "1", "output": "1"}})
    before = await settled(ledger)
    assert await recost(ledger, PERIOD) == 1
    assert before - await settled(ledger) == 1_300_000


async def test_a_period_has_ends_and_a_model(ledger: Ledger) -> None:
    await set_price(ledger, "house/*", HOUSE, AGO - timedelta(days=1))
    for hours in (0, 1, 2, 3):
        for model in ("a", "b"):
            await record(ledger, model, 1_000, 0, occurred_at=AGO + timedelta(hours=hours))
    await set_price(ledger, "house/*", {"base": {"input": "1", "output": "1"}}, AGO - timedelta(days=1))
    since, until = AGO + timedelta(hours=1), AGO + timedelta(hours=3)
    for wanted, count in (
        (Wanted("house", "a", since, until, also_priced=True), 2),
        (Wanted("openai", None, since, until, also_priced=True), 0),
        (Wanted("house", "?*", since, until, also_priced=True), 0),
        (Wanted(None, "*", since, until, also_priced=True), 2),
        (Wanted("house", "*", SPAN[0], since, also_priced=True), 2),
        (PERIOD, 2),
    ):
        assert await recost(ledger, wanted) == count


async def test_thresholds_fire_and_arm_once_for_all_calls(ledger: Ledger) -> None:
    made = administration.CreateBudget(
        "k", b"x", "watched", (), Limits(nanos=10**7), Window.TOTAL, thresholds=(50, 80), actor="root"
    )
    await ledger.ask(made, outcomes.BudgetAnswer)
    await set_price(ledger, "house/chat", HOUSE)
    for _ in range(3):
        await record(ledger, "chat", 1_000, 0)
    for rate, fired in (("1", 0), ("3", 80), ("1", 0), ("2", 50)):
        await set_price(ledger, "house/chat", {"base": {"input": rate, "output": rate}})
        assert await recost(ledger, PERIOD) == 3
        assert await ledger.owner.fetchval("select fired_nanos from accounts where budget = 'watched'") == fired


async def test_pages_go_on_within_an_instant(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    instants = [AGO + timedelta(hours=1), AGO + timedelta(hours=2)]
    ids = [await record(ledger, "chat", 1_000, 0, occurred_at=at) for at in (*instants, *instants[:1] * 6)]
    await set_price(ledger, "house/chat", {"base": {"input": "1", "output": "1"}})
    monkeypatch.setattr("token_ledger.storage.reads.recostings.MOST_LOOKED_AT", 3)
    seen, after = [], None
    while True:
        found = await found_by(ledger, PERIOD, after)
        seen += [call.events[-1][0] for call in found.calls]
        after = found.following
        if after is None:
            break
    assert seen == sorted(ids, key=lambda event: (event == ids[1], event))


async def test_a_call_that_was_taken_back_is_left_and_one_re_costed_goes_with_it(ledger: Ledger) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    for key in ("event 1", "event 2"):
        event = commands.Record(key, b"x", "batch", "data", "house", "chat", Usage(1_000, 100), user="ada")
        await ledger.ask(event, outcomes.Recorded)
    await _reverse(ledger, "event 1")
    for _ in range(2):
        price = {"base": {"input": str(random.Random(await settled(ledger)).randint(5, 90)), "output": "1"}}
        await set_price(ledger, "house/chat", price)
        assert await recost(ledger, PERIOD) == 1
    await _reverse(ledger, "event 2")
    assert await settled(ledger) == 0
    assert await recost(ledger, PERIOD) == 0


async def _reverse(ledger: Ledger, key: str) -> None:
    row = await ledger.owner.fetchrow("select target_id, booked_at from operation_keys where key = $1", key)
    command = administration.Reverse(key, b"x", "batch", (tuple(row.values()),), "a test", "root")
    await ledger.ask(command, outcomes.Reversed)


async def test_live_calls_go_on_between_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_price(ledger, "house/chat", HOUSE)
    for _ in range(30):
        await record(ledger, "chat", 1_000, 0)
    await set_price(ledger, "house/chat", {"base": {"input": "1", "output": "1"}})
    monkeypatch.setattr("token_ledger.storage.reads.recostings.MOST_LOOKED_AT", 4)
    recosting = asyncio.create_task(recost(ledger, PERIOD))
    for _ in range(300):  # faster than pages of four are looked at, it would never end
        if recosting.done():
            break
        await record(ledger, "chat", 1_000, 0)
    assert await recosting == 30
    live = await ledger.owner.fetchval("select count(*) from usage_events where recosts is null") - 30
    between = await ledger.owner.fetchval(
        "select count(*) from usage_events where recosts is null and event_id between"
        " (select min(event_id) from usage_events where recosts is not null) and"
        " (select max(event_id) from usage_events where recosts is not null)"
    )
    assert between > 2
    assert await settled(ledger) == (30 + live) * 1_000_000
