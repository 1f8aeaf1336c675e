"""Finds out whether a bill's days begin when those of another time zone do."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from token_ledger.reconciliation.cells import Billed, Booked, Grid, Key, booked_sums
from token_ledger.reports.utc_usage import STEP, UtcUsage

EARLIEST, LATEST = timedelta(hours=-12), timedelta(hours=14)
"""How far clocks are from UTC at most."""
_OFFSETS: Final = sorted(
    (EARLIEST + number * STEP for number in range(1 + (LATEST - EARLIEST) // STEP)), key=lambda offset: abs(offset)
)


def offset_from_utc(billed: Mapping[Key, Billed], rows: Sequence[UtcUsage], grid: Grid) -> timedelta:
    """Return by how much clocks that the days of a bill go by are ahead of UTC; 0 unless another is clearly right.

    Tokens are compared where the bill says any, else costs. An offset is clearly right if the bill says too much for
    some days and too little for others, and at least half of all that goes away with it; of several the one that
    leaves least counts, and the one next to UTC. So a bill of a single day is one of UTC.
    """
    models = {key: each for key, each in billed.items() if not key.item}
    by_tokens = any(each.says_tokens for each in models.values())
    differences = _differences(models, booked_sums(rows, grid), by_tokens=by_tokens)
    by_day: dict[object, int] = {}
    for key, each in differences.items():
        by_day[key.day] = by_day.get(key.day, 0) + each
    if not (min(by_day.values(), default=0) < 0 < max(by_day.values(), default=0)):
        return timedelta()
    best, left = timedelta(), _sum(differences)
    limit = left // 2
    for offset in _OFFSETS:
        found = _sum(_differences(models, booked_sums(rows, grid, offset), by_tokens=by_tokens))
        if found < left and found <= limit:
            best, left = offset, found
    return best


def _differences(billed: Mapping[Key, Billed], booked: Mapping[Key, Booked], *, by_tokens: bool) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for key in billed.keys() | booked.keys():
        bill, ledger = billed.get(key, Billed()), booked.get(key, Booked())
        if by_tokens:
            found[key] = bill.usage.total_tokens - ledger.usage.total_tokens
        else:
            found[key] = bill.nanos - ledger.nanos
    return found


def _sum(differences: Mapping[Key, int]) -> int:
    return sum(map(abs, differences.values()))
