"""Compares a bill with the ledger: capture rate, difference and reasons for each day, model and project."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from token_ledger.core.model.price import PriceBook
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reconciliation.cells import (
    Billed,
    Booked,
    Cell,
    Key,
    bill_sums,
    booked_sums,
    grid_of,
    says_cache,
    with_shares_of_the_cache,
)
from token_ledger.reconciliation.names import ledger_names
from token_ledger.reconciliation.reasons import Cause, Reason, reasons_of
from token_ledger.reconciliation.time_zones import offset_from_utc
from token_ledger.reports.utc_usage import UtcUsage


@dataclass(frozen=True, slots=True)
class Compared:
    """One cell: both sides, and why they differ. The ledger's side is in the days of UTC, with what was booked."""

    key: Key
    billed_nanos: int
    ledger_nanos: int
    list_nanos: int
    billed_tokens: int
    ledger_tokens: int
    events: int
    unpriced: int
    corrections: int
    reasons: tuple[Reason, ...]
    adjustments: int = 0
    """How many of the ledger's events were booked of bills."""

    @property
    def difference_nanos(self) -> int:
        """What the bill has more than the ledger."""
        return self.billed_nanos - self.ledger_nanos

    @property
    def capture_rate(self) -> Fraction | None:
        """The ledger's part of the bill's tokens, or of its dollars where it says no tokens; None of nothing."""
        if self.billed_tokens:
            return Fraction(self.ledger_tokens, self.billed_tokens)
        return Fraction(self.ledger_nanos, self.billed_nanos) if self.billed_nanos else None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """All cells in the order of their keys, and by how much the bill's days are ahead of UTC, by provider."""

    cells: tuple[Compared, ...]
    offsets: dict[str, timedelta]

    @property
    def by_cause(self) -> dict[Cause, int]:
        """What each cause explains in all, in the order in which they are looked for."""
        found: dict[Cause, int] = {}
        for cause in Cause:
            nanos = [reason.nanos for cell in self.cells for reason in cell.reasons if reason.cause is cause]
            if nanos:
                found[cause] = sum(nanos)
        return found


def compare(lines: Sequence[BillLine], rows: Sequence[UtcUsage], book: PriceBook) -> Reconciliation:
    """Compare a bill with what the ledger booked, for every day from its first to its last.

    `rows` should begin half a day before and end half a day after, so that days of other zones are known. Raises
    ValueError if the bill has no amounts or no lines.
    """
    if not any(line.amount.nanos for line in lines):
        raise ValueError("the files say no amounts of money: name the export of costs, too, or instead")
    billed = bill_sums(lines, ledger_names(lines, rows, book))
    fees = {(key.provider, key.day) for key in billed if key.item}
    offsets: dict[str, timedelta] = {}
    compared: list[Compared] = []
    for provider in sorted({key.provider for key in billed}):
        bill = {key: each for key, each in billed.items() if key.provider == provider}
        cells, offsets[provider] = _cells(bill, [row for row in rows if row.provider == provider])
        compared += (
            _compared(cell, reasons_of(cell, book, has_fees=(provider, cell.key.day) in fees)) for cell in cells
        )
    return Reconciliation(tuple(sorted(compared, key=lambda each: each.key)), offsets)


def _cells(bill: dict[Key, Billed], rows: Iterable[UtcUsage]) -> tuple[list[Cell], timedelta]:
    """Return the cells of one provider, and by how much its days are ahead of UTC."""
    grid = grid_of(bill)
    calls = [row for row in rows if not row.is_adjustment]
    adjusted = booked_sums((row for row in rows if row.is_adjustment), grid)
    offset = offset_from_utc(bill, calls, grid)
    in_utc, booked = booked_sums(calls, grid), booked_sums(calls, grid, offset)
    if not says_cache(bill.values()):
        bill = {key: with_shares_of_the_cache(each, booked.get(key, Booked())) for key, each in bill.items()}
    cells = [
        Cell(
            key, bill.get(key, Billed()), booked.get(key, Booked()), in_utc.get(key, Booked()),
            adjusted.get(key, Booked()).nanos, adjusted.get(key, Booked()).events,
        )
        for key in bill.keys() | booked.keys() | in_utc.keys() | adjusted.keys()
    ]  # fmt: skip
    return cells, offset


def _compared(cell: Cell, reasons: tuple[Reason, ...]) -> Compared:
    rows = cell.in_utc.rows
    return Compared(
        cell.key, cell.billed.nanos, cell.in_utc.nanos + cell.adjusted_nanos,
        sum(row.list_nanos for row in rows) + cell.adjusted_nanos,
        cell.billed.usage.total_tokens, cell.in_utc.usage.total_tokens, cell.in_utc.events,
        cell.in_utc.unpriced.events, sum(row.corrections for row in rows), reasons, cell.adjustments,
    )  # fmt: skip
