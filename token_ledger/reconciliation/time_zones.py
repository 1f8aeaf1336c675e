"""Finds out whether a bill's days begin when those of another time zone do."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Final

from token_ledger.reconciliation.cells import Billed, Grid, Key, key_of
from token_ledger.reports.utc_usage import STEP, UtcUsage

EARLIEST, LATEST = timedelta(hours=-12), timedelta(hours=14)
"""How far clocks are from UTC at most."""
_OFFSETS: Final = sorted(
    (EARLIEST + number * STEP for number in range(1 + (LATEST - EARLIEST) // STEP)), key=lambda offset: abs(offset)
)


def offset_from_utc(billed: Mapping[Key, Billed], rows: Iterable[UtcUsage], grid: Grid) -> timedelta:
    """Return by how much clocks that the days of a bill go by are ahead of UTC; 0 unless another is clearly right.

    Tokens are compared where the bill says any, else costs. An offset is clearly right if the bill says too much for
    some days and too little for others, and at least half of all that goes away with it; of several the one that
    leaves least counts, and the one next to UTC. So a bill of a single day is one of UTC.
    """
    models = {key: each for key, each in billed.items() if not key.item}
    by_tokens = any(each.says_tokens for each in models.values())
    bill = {key: each.usage.total_tokens if by_tokens else each.nanos for key, each in models.items()}
    ledger = _series(rows, grid, by_tokens=by_tokens)
    days = [grid.first + timedelta(days=number) for number in range((grid.last - grid.first).days + 1)]
    keys = {key._replace(day=day) for key in bill.keys() | ledger.keys() for day in days}

    def differences(offset: timedelta) -> dict[Key, int]:
        return {key: bill.get(key, 0) - _booked_in(ledger, key, offset) for key in keys}

    in_utc = differences(timedelta())
    by_day = Counter[date]()
    for key, each in in_utc.items():
        by_day[key.day] += each
    best, left = timedelta(), _sum(in_utc)
    if not (min(by_day.values(), default=0) < 0 < max(by_day.values(), default=0)):
        return best
    limit = left // 2
    for offset in _OFFSETS:
        found = _sum(differences(offset))
        if found < left and found <= limit:
            best, left = offset, found
    return best


@dataclass(frozen=True, slots=True)
class _Series:
    """When the ledger has calls, ascending, and how much it has before each of them, and in all."""

    begins: Sequence[datetime]
    before: Sequence[int]

    def between(self, since: datetime, until: datetime) -> int:
        return self.before[bisect_left(self.begins, until)] - self.before[bisect_left(self.begins, since)]


_ANY_DAY: Final = date.min


def _series(rows: Iterable[UtcUsage], grid: Grid, *, by_tokens: bool) -> dict[Key, _Series]:
    """Return what the ledger has of each model and project, under keys of no day."""
    sums: dict[Key, Counter[datetime]] = {}
    for row in rows:
        key = key_of(row, _ANY_DAY, grid)
        sums.setdefault(key, Counter())[row.begin] += row.usage.total_tokens if by_tokens else row.nanos
    return {
        key: _Series(sorted(each), [*accumulate((each[begin] for begin in sorted(each)), initial=0)])
        for key, each in sums.items()
    }


def _booked_in(ledger: Mapping[Key, _Series], key: Key, offset: timedelta) -> int:
    series = ledger.get(key._replace(day=_ANY_DAY))
    begin = datetime.combine(key.day, time(), UTC) - offset
    return 0 if series is None else series.between(begin, begin + timedelta(days=1))


def _sum(differences: Mapping[Key, int]) -> int:
    return sum(map(abs, differences.values()))
