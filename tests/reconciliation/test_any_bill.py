"""Whatever a bill and the ledger say, the dollars of the reasons add up to the difference, cell by cell."""

import random
from datetime import timedelta

import pytest

from tests.reconciliation.sides import CHEAP, DAY, NEW, OLD, billed, booked, cost, reconciled
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reports.utc_usage import UtcUsage

TIERS = (None, "standard", "batch", "priority", "flex")


def tokens(chance: random.Random) -> Usage:
    whole = chance.choice((0, chance.randrange(2_000_000)))
    cached, written = sorted((chance.randrange(whole + 1), chance.randrange(whole + 1)))
    return Usage(whole, chance.randrange(200_000), cached, written - cached, 0, 0)


def a_row(chance: random.Random) -> UtcUsage:
    price = chance.choice((NEW, OLD, CHEAP))
    changes = {
        "begin": DAY + chance.randrange(-20, 200) * timedelta(minutes=30), "unpriced": chance.random() < 0.2,
        "service_tier": chance.choice((None, "batch")), "project": chance.choice((None, "web")),
        "is_adjustment": chance.random() < 0.1, "unit_nanos": chance.choice((0, 1_000)),
    }  # fmt: skip
    if chance.random() < 0.2:
        changes |= {"price_id": 0, "model": "nobody-knows"}
    return booked(tokens(chance), price, **changes)


def a_line(chance: random.Random) -> BillLine:
    usage = tokens(chance) if chance.random() < 0.7 else Usage()
    changes = {
        "begin": DAY + timedelta(days=chance.randrange(4)), "service_tier": chance.choice(TIERS),
        "project": chance.choice((None, "web")),
    }  # fmt: skip
    names = (("big", None), ("small", None), ("nobody-knows", None), (None, "web search"), (None, None))
    model, item = chance.choice(names)
    nanos = chance.choice((0, cost(usage), cost(usage, OLD), chance.randrange(-5 * 10**9, 10**10)))
    return billed(nanos, usage, chance.choice((1, 5_000_000)), model=model, item=item, **changes)


@pytest.mark.parametrize("seed", range(200))
def test_reasons_add_up(seed: int) -> None:
    chance = random.Random(seed)
    lines = [a_line(chance) for _ in range(chance.randrange(12))]
    rows = [a_row(chance) for _ in range(chance.randrange(30))]
    found = reconciled([*lines, billed(1)], rows)
    assert sum(found.by_cause.values()) == sum(cell.difference_nanos for cell in found.cells)
