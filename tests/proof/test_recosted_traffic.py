"""After random traffic and random changes of prices, re-costed calls cost what the book says in the end.

The reference takes a call's whole usage and prices it as one call that is made now. Accounts, reports and the proof
agree, and re-costing once more changes nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.proof.corrected_prices import found_by, recost
from tests.proof.ledger import Ledger, open_ledger
from tests.proof.test_accounts_and_reports import BUDGETS, MODELS, Traffic, disagreeing_accounts
from token_ledger.core.batch import administration, outcomes
from token_ledger.core.model.budget import Enforcement, Limits
from token_ledger.core.model.charge import charge
from token_ledger.core.model.discount import read_factor
from token_ledger.core.model.other_kinds import REQUESTS
from token_ledger.core.model.price import ModelName, Price, PriceBook
from token_ledger.core.model.usage import KINDS, Usage
from token_ledger.proof.verify import verify_database
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import check_rates, load_price_book
from token_ledger.storage.reads.recostings import Wanted

ALL = Wanted(also_priced=True)
_CALLS = f"""
with costs as (
    select coalesce(recosts, event_id) as event_id, sum(cost_nanos)::bigint as nanos,
           sum(coalesce((others -> '{REQUESTS}' ->> 0)::bigint, 0))::bigint as fees
    from usage_events where tenant_id = $1 and corrects is null group by 1
)
select e.provider, e.model, max(e.event_id) as event_id, e.posted_at, max(e.held_at) as held_at,
       (array_agg(e.served_provider order by e.event_id desc))[1] as served_provider,
       (array_agg(e.served_model order by e.event_id desc))[1] as served_model,
       coalesce(r.requested_provider, e.requested_provider) as requested_provider,
       coalesce(r.requested_model, e.requested_model) as requested_model, r.reservation_id, r.state,
       r.provider as held_provider, r.model as held_model, sum(c.nanos)::bigint as nanos, sum(c.fees)::bigint as fees,
       sum(e.calls)::bigint as calls, {", ".join(f"sum(e.{kind})::bigint as {kind}" for kind in KINDS)}
from usage_events as e join costs as c using (event_id)
left join reservations as r on r.tenant_id = e.tenant_id and r.reservation_id = e.reservation_id
where e.tenant_id = $1 and e.recosts is null and e.corrects is null
group by e.provider, e.model, e.posted_at, e.requested_provider, e.requested_model, r.reservation_id, r.tenant_id,
         case when r.reservation_id is null or r.lease then e.event_id end
"""


class PricedTraffic(Traffic):
    """Traffic during which prices are set, corrected, withdrawn and discounted, also for the past."""

    async def run(self, steps: int) -> None:
        for _ in range(steps // 5):
            await super().run(5)
            await self.random.choice((self._price, self._price, self._discount, self._alias))()

    async def _price(self) -> None:
        base = {"input": str(self.random.randint(1, 9)), "output": str(self.random.randint(1, 9))}
        rates: dict[str, Any] = {"base": base}
        if self.random.random() < 0.3:
            base["requests"] = "5"
        if self.random.random() < 0.3:
            rates["tiers"] = [{"above": 900, "rates": {**base, "input": "20"}}]
        withdrawn = self.random.random() < 0.2
        said, price = (None, None) if withdrawn else (rates, check_rates(rates))
        model = self.random.choice((*MODELS, "gpt-5.4*"))
        set_price = administration.SetPrice("k", b"x", "openai", model, said, price, "root", self._since())
        await self.ledger.ask(set_price, outcomes.Changed)

    async def _discount(self) -> None:
        factor = read_factor(self.random.choice(("0.5", "0.9")))
        model = self.random.choice(MODELS[:-1])
        discount = administration.SetDiscount("k", b"x", "openai", model, factor, "root", self._since())
        await self.ledger.ask(discount, outcomes.Changed)

    async def _alias(self) -> None:
        named = ModelName("openai", self.random.choice(("gpt-5.4", "o1-pro")))
        alias = administration.SetAlias("k", b"x", "openai", "Nobody-Knows", named, "root")
        await self.ledger.ask(alias, outcomes.Changed)

    def _since(self) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self.random.choice((0, 100, 8_000, 100_000, 5_000_000)))


@pytest.mark.parametrize("number", [3, 8, 30, 36])
async def test_every_call_costs_what_the_final_book_says(database_url: str, number: int) -> None:
    async with open_ledger(database_url) as ledger:
        for dimension, window in BUDGETS:
            made = administration.CreateBudget(
                "k", b"x", dimension, ((dimension, "*"),), Limits(10**12, 10**15, 10**9), window, Enforcement.SHADOW
            )
            await ledger.ask(made, outcomes.BudgetAnswer)
        plain = Traffic(ledger, number)
        await plain.run(40)
        assert (await found_by(ledger, ALL)).calls == [], "nothing was corrected"
        await ledger.move_back(1)
        traffic = PricedTraffic(ledger, number)
        traffic.holds, traffic.leases = plain.holds, plain.leases
        count = 0
        for _ in range(3):
            await traffic.run(40)
            await ledger.move_back(1)
            count += await recost(ledger, ALL)
        assert count > 3
        assert await recost(ledger, ALL) == 0
        assert await _otherwise_priced(ledger) == []
        assert await disagreeing_accounts(ledger) == []
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def _otherwise_priced(ledger: Ledger) -> list[Any]:
    """Return the calls that cost something else than the price book says, of those whose model has a price."""
    async with ledger.database.reading(ledger.tenant) as connection:
        book = await load_tenant_book(connection, ledger.tenant, await load_price_book(connection))
    rows = await ledger.owner.fetch(_CALLS, ledger.tenant)
    assert len(rows) > 50
    wrong = []
    for row in rows:
        may_have_more_parts = row["state"] in ("held", "expired") and not row["calls"]
        prices = _prices(book, row)
        costs = {_cost(price, row) for price in prices if price is not None}
        if costs and not may_have_more_parts and None not in prices and row["nanos"] not in costs:
            wrong.append((dict(row), costs))
    return wrong


def _prices(book: PriceBook, row: Any) -> list[Price | None]:
    """Return the price of a call; of one on a hold that says no other name that was served, by either name of it."""
    booked, asked = (
        ModelName(row["provider"], row["model"]),
        ModelName(row["requested_provider"] or "", row["requested_model"] or ""),
    )
    at = row["held_at"] or row["posted_at"]
    if row["reservation_id"] is None:
        return [_price_at(book, asked if row["requested_model"] else booked, row["posted_at"])]
    held = ModelName(row["held_provider"], row["held_model"])
    to_call = asked if row["requested_model"] else held
    if row["served_model"]:
        served = ModelName(row["served_provider"], row["served_model"])
        return [_price_at(book, served, at if served == to_call else row["posted_at"])]
    if booked != held:
        return [_price_at(book, booked, row["posted_at"])]
    return [_price_at(book, to_call, at), _price_at(book, booked, at if booked == to_call else row["posted_at"])]


def _price_at(book: PriceBook, name: ModelName, at: datetime) -> Price | None:
    prices = book.find(*name)
    return None if prices is None else prices.at(at)


def _cost(price: Price, row: Any) -> int:
    usage = Usage(*(row[kind] for kind in KINDS))
    cost, _, _ = charge(price, usage, None, row["calls"], row["posted_at"])
    return cost
