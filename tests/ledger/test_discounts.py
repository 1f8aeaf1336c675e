"""A discount counts in holds, leases and events from its instant on; every event keeps what it costs without."""

from datetime import timedelta
from typing import Any

from tests.proof.ledger import HOLD, Ledger, open_ledger
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.discount import read_factor
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.proof.verify import verify_database
from token_ledger.storage.prices import check_rates, load_price_book

_numbers = iter(range(1_000_000))
INPUT = 5_000_000_000  # nano-dollars of a million tokens of gpt-5.4, which is above its tier


def set_discount(name: str, factor: str | None, **fields: Any) -> administration.SetDiscount:
    provider, _, model = name.partition("/")
    value = None if factor is None else read_factor(factor)
    return administration.SetDiscount(f"discount {next(_numbers)}", b"x", provider, model, value, "root", **fields)


async def cost(ledger: Ledger, commits: GroupCommit | None = None, **fields: Any) -> tuple[int, int | None]:
    """Record a call of a million tokens of input; return its cost, and what it costs everybody."""
    call: dict[str, Any] = {"provider": "openai", "model": "gpt-5.4", **fields}
    event = commands.Record(
        f"call {next(_numbers)}", b"x", "test", "data", usage=Usage(1_000_000, 0), user="ada", **call
    )
    outcome = await (commits or ledger.commits).submit(ledger.tenant, event)
    assert isinstance(outcome, outcomes.Recorded), outcome
    return outcome.event.cost_nanos, outcome.event.list_cost_nanos


async def test_a_discount_counts_in_every_process_until_its_end(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        async with ledger.database.reading() as connection:
            other = GroupCommit(ledger.database, await load_price_book(connection))
        assert await cost(ledger, other) == (INPUT, None)
        now = await ledger.owner.fetchval("select clock_timestamp()")
        past = set_discount(
            "openai/*", "0.5", valid_from=now - timedelta(hours=3), valid_until=now - timedelta(hours=1)
        )
        await ledger.ask(past, outcomes.Changed)
        await ledger.ask(set_discount("OpenAI/gpt-5*", "0.85"), outcomes.Changed)
        for commits in (ledger.commits, other):
            assert await cost(ledger, commits) == (INPUT * 85 // 100, INPUT)
            assert await cost(ledger, commits, model="o3") == (2_000_000_000, None)
            assert await cost(ledger, commits, occurred_at=now - timedelta(hours=2)) == (INPUT // 2, INPUT)
        await ledger.ask(set_discount("openai/gpt-5*", None), outcomes.Changed)
        assert await cost(ledger, other) == (INPUT, None)
        await other.drain()
        assert (await verify_database(database_url)).clean


async def test_a_hold_keeps_the_discount_that_it_was_given_with(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await ledger.ask(set_discount("openai/gpt-5.4", "0.5"), outcomes.Changed)
        hold = await ledger.hold(model="gpt-5.4")
        assert await ledger.owner.fetchval("select held_nanos from reservations") > 0
        await ledger.ask(set_discount("openai/gpt-5.4", None), outcomes.Changed)
        dear = await ledger.hold(model="gpt-5.4")
        cheap_nanos, dear_nanos = (
            row[0] for row in await ledger.owner.fetch("select held_nanos from reservations order by reservation_id")
        )
        assert dear_nanos == 2 * cheap_nanos
        await ledger.settle(hold, 1_000, 0)
        await ledger.settle(dear, 1_000, 0)
        booked = await ledger.owner.fetch("select cost_nanos, list_cost_nanos from usage_events order by event_id")
        assert [tuple(row) for row in booked] == [(1_250_000, 2_500_000), (2_500_000, None)]
        assert (await verify_database(database_url)).clean


async def test_a_lease_carries_rates_with_the_discount_also_when_it_is_asked_for_again(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await ledger.ask(set_discount("*/*", "0.5"), outcomes.Changed)
        asked = commands.Lease("lease", b"x", **{**HOLD, "model": "gpt-5.4"}, calls=2)
        first = await ledger.commits.submit(ledger.tenant, asked)
        await ledger.ask(set_discount("*/*", None), outcomes.Changed)
        again = await ledger.commits.submit(ledger.tenant, asked)
        for outcome in (first, again):
            assert isinstance(outcome, outcomes.Granted)
            assert outcome.price is not None
            assert outcome.price.base.input == 1_250_000_000_000_000_000
        assert isinstance(first, outcomes.Granted)
        lease = first.reservation.reservation_id
        await ledger.settle(lease, 1_000, 0, part=True)
        await ledger.settle(lease, 1_000, 0, part=True, model="o3")  # priced now, when there is no discount
        booked = await ledger.owner.fetch("select cost_nanos, list_cost_nanos from usage_events order by event_id")
        assert [tuple(row) for row in booked] == [(1_250_000, 2_500_000), (2_000_000, None)]
        assert (await verify_database(database_url)).clean


async def test_a_price_of_the_tenants_own_has_no_discount_and_the_published_one_beside_it(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await ledger.ask(set_discount("*/*", "0.5"), outcomes.Changed)
        stored = {"base": {"input": "1", "output": "1"}}
        price = check_rates(stored)
        for provider, model in (("openai", "gpt-5.4"), ("house", "new")):
            own = administration.SetPrice(f"p {model}", b"x", provider, model, stored, price, "root")
            await ledger.ask(own, outcomes.Changed)
        assert await cost(ledger) == (1_000_000_000, INPUT)
        assert await cost(ledger, provider="house", model="new") == (1_000_000_000, None)
        row = await ledger.owner.fetchrow("select price_id, list_price_id, discount_id from usage_events limit 1")
        assert row["price_id"] < 0 < row["list_price_id"]
        assert row["discount_id"] is None
        assert (await verify_database(database_url)).clean


async def test_what_is_set_already_changes_nothing_and_a_reversal_takes_back_both_costs(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await ledger.ask(set_discount("openai/*", "0.5"), outcomes.Changed)
        entry = (await ledger.ask(set_discount("OpenAI/*", "0.50"), outcomes.Changed)).entry
        assert entry.before == entry.after
        entry = (await ledger.ask(set_discount("anthropic/*", None), outcomes.Changed)).entry
        assert entry.before is entry.after is None
        assert await ledger.owner.fetchval("select count(*) from tenant_discounts") == 1
        assert await cost(ledger) == (INPUT // 2, INPUT)
        key, event_id, booked_at = await ledger.owner.fetchrow(
            "select key, event_id, e.booked_at from operation_keys join usage_events as e on event_id = target_id"
        )
        reversal = administration.Reverse(key, b"x", "test", ((event_id, booked_at),), "wrong", "root")
        await ledger.ask(reversal, outcomes.Reversed)
        sums = await ledger.owner.fetchrow("select sum(cost_nanos), sum(list_cost_nanos), count(*) from usage_events")
        assert tuple(sums) == (0, 0, 2)
        assert (await verify_database(database_url)).clean


async def test_parts_of_a_call_add_up_to_both_costs_of_the_whole(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await ledger.ask(set_discount("openai/*", "0.9"), outcomes.Changed)
        hold = await ledger.hold(model="gpt-5.4")
        for part in (True, True, False):
            await ledger.settle(hold, 100_000, 0, part=part)
        booked = await ledger.owner.fetch("select cost_nanos, list_cost_nanos from usage_events order by event_id")
        # With the third part all 300,000 tokens have the rate above 272,000: 5 dollars in place of 2.50.
        assert [row["list_cost_nanos"] for row in booked] == [250_000_000, 250_000_000, 1_000_000_000]
        assert sum(row["cost_nanos"] for row in booked) == 1_350_000_000
        assert (await verify_database(database_url)).clean
