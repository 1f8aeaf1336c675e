"""A second opinion on the prices of the 100 most used models: litellm's, with every difference explained.

The figures are facts taken from litellm's price file, for development only. The models are those that most calls of the
recorded traffic are of, filled up with models that genai-prices lists as current, provider by provider.
"""

import csv
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from tests.api.world import World
from token_ledger.core.model.money import ATTOS_PER_DOLLAR
from token_ledger.core.model.price import Price, PriceBook
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book

DATA = Path(__file__).resolve().parent.parent / "data"
OPINION = json.loads((DATA / "litellm_prices.json").read_text(encoding="utf-8"))
WRITTEN = datetime(2026, 11, 29, 12, tzinfo=UTC)
KINDS = {
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_read_input_token_cost": "cache_read",
    "input_cost_per_token": "input",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_token": "output",
}
TIERS = {"_batches": "batch", "_flex": "flex", "_priority": "priority", "": None}
FIGURE = re.compile(rf"({'|'.join(KINDS)})(?:_above_([0-9]+)k_tokens)?({'|'.join(TIERS)})")


class Difference(NamedTuple):
    """A figure that two sources do not agree on, in dollars per million tokens."""

    model: str
    figure: str
    ours: str
    litellm: str


def differences(prices: PriceBook, model: str, figures: dict[str, str]) -> list[Difference]:
    """Return where the price book differs from litellm's figures of a model."""
    found = prices.find(*model.split("/", 1))
    price = None if found is None else found.at(WRITTEN)
    if price is None:
        return [Difference(model, "all", "", "")]
    differ = []
    for figure, theirs in figures.items():
        ours = _rate(price, figure)
        if ours is not None and ours != Decimal(theirs):
            differ.append(Difference(model, figure, f"{ours:f}", theirs))
    for above, _ in price.tiers:
        if (
            above in (128_000, 200_000, 272_000)
            and f"input_cost_per_token_above_{above // 1_000}k_tokens" not in figures
        ):
            differ.append(Difference(model, f"above_{above // 1_000}k_tokens", "has a tier", ""))
    return differ


def _rate(price: Price, figure: str) -> Decimal | None:
    """Return our rate for a figure of litellm's, None where we have none for its service tier."""
    matched = FIGURE.fullmatch(figure)
    assert matched is not None, figure
    kind, above, tier = matched.groups()
    served = price.served_as(TIERS[tier], WRITTEN)
    if served is None:
        return None
    rates = served.rates_for(int(above or 0) * 1_000 + 1)
    return (Decimal(getattr(rates, KINDS[kind])) / ATTOS_PER_DOLLAR).normalize()


async def test_every_difference_from_litellm_is_explained(world: World) -> None:
    database = Database(world.url)
    async with database.reading() as connection:
        prices = await load_price_book(connection)
    await database.close()
    models = OPINION["models"]
    assert len(models) == 100
    found = {each for model, said in models.items() for each in differences(prices, model, said["dollars_per_million"])}
    with (DATA / "litellm_differences.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    explained = {Difference(*(row[name] for name in Difference._fields)) for row in rows}
    assert found - explained == set(), "new differences: who is right, and why?"
    assert explained - found == set(), "explanations of differences that are gone: take them out"
    assert all(row["reason"] for row in rows)
    compared = sum(len(said["dollars_per_million"]) for said in models.values())
    assert compared > 650
