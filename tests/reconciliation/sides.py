"""Made-up bills and books: a bill is written as the ledger's own rows, changed by what makes it differ."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from token_ledger.core.model.charge import charge
from token_ledger.core.model.money import rate_attos
from token_ledger.core.model.price import ModelPrices, Price, PriceBook, Rates
from token_ledger.core.model.usage import Usage
from token_ledger.imports.rows import Place
from token_ledger.reconciliation.bill_lines import Amount, BillLine
from token_ledger.reconciliation.compare import Compared, Reconciliation, compare
from token_ledger.reports.utc_usage import UtcUsage

DAY = datetime(2026, 11, 2, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
HERE = Place("bill.json", 1)


def rates(*dollars: str) -> Rates:
    """Input, output, and what is read from a cache; writing to it and reasoning cost what the whole does."""
    given, output, cached = (rate_attos(Decimal(each)) for each in dollars)
    return Rates(given, output, cached, given, given, output)


BATCH = {"batch": (Price(0, rates("1", "4", "0.1")),), "priority": (Price(0, rates("4", "16", "0.4")),)}
OLD = Price(1, rates("3", "12", "0.3"), service_tiers={"batch": (Price(0, rates("1.5", "6", "0.15")),)})
NEW = Price(2, rates("2", "8", "0.2"), valid_from=datetime(2026, 10, 1, tzinfo=UTC), service_tiers=BATCH)
CHEAP = Price(3, rates("0.5", "1", "0.05"))
BOOK = PriceBook(
    {
        ("openai", name): ModelPrices("openai", name, entries)
        for name, entries in (("big", (OLD, NEW)), ("small", (CHEAP,)))
    },
    lambda provider, model: None,
)
ENTRIES = {each.price_id: each for each in (OLD, NEW, CHEAP)}
USED = Usage(1_000_000, 100_000, 400_000)
"""At NEW it costs 1.20 + 0.80 + 0.08 = 2.08 dollars."""
COST = 2_080_000_000


def cost(usage: Usage, price: Price = NEW, tier: str | None = None) -> int:
    return charge(price, usage, tier, 1, NOON)[0]


def booked(usage: Usage = USED, price: Price = NEW, **changes: Any) -> UtcUsage:
    """Return a row of the ledger at noon, with the cost that the price gives."""
    tier = changes.get("service_tier")
    nanos = cost(usage, price, tier)
    row = UtcUsage(
        NOON, "openai", "big" if price is not CHEAP else "small", None, None, price.price_id, None,
        False, False, 10, 0, usage, nanos, nanos, 0,
    )  # fmt: skip
    return replace(row, **changes)


def billed(nanos: int, usage: Usage = USED, bound: int = 1, **changes: Any) -> BillLine:
    line = BillLine(HERE, DAY, "openai", "big", amount=Amount(nanos, bound), usage=usage)
    return replace(line, **changes)


def reconciled(lines: list[BillLine], rows: list[UtcUsage], book: PriceBook = BOOK) -> Reconciliation:
    found = compare(lines, rows, book)
    for cell in found.cells:
        assert sum(reason.nanos for reason in cell.reasons) == cell.difference_nanos, cell
    return found


def the_cell(lines: list[BillLine], rows: list[UtcUsage], book: PriceBook = BOOK) -> Compared:
    (cell,) = reconciled(lines, rows, book).cells
    return cell


def causes(cell: Compared) -> dict[str, int]:
    return {reason.cause.value: reason.nanos for reason in cell.reasons}


def shifted(hours: float, days: int = 4) -> tuple[list[BillLine], list[UtcUsage]]:
    """Return a bill in days that begin so many hours before those of UTC, and calls of every hour."""
    rows = [
        booked(Usage(100 * (1 + number**2 % 101)), begin=DAY + timedelta(hours=number / 2), events=1)
        for number in range(-48, 48 * (days + 1))
    ]
    lines = []
    for day in range(days):
        begin = DAY + timedelta(days=day)
        own = [row for row in rows if begin <= row.begin + timedelta(hours=hours) < begin + timedelta(days=1)]
        lines.append(
            billed(sum(row.nanos for row in own), Usage(sum(row.usage.input_tokens for row in own)), begin=begin)
        )
    return lines, rows
