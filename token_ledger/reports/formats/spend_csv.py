"""Writes the report of spend as CSV: a line per row, then the rest and the total, told apart by the first column.

Amounts are dollars with nine digits after a point, times those of the tenant's calendar. The last line says how many
rows there are, of which span and zone, so that a part is not taken for the whole.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Final

from token_ledger.core.model.money import format_money
from token_ledger.core.model.usage import Figures
from token_ledger.reports.calls import Key
from token_ledger.reports.formats.csv_lines import last_line, plain_name
from token_ledger.reports.spend import Spend
from token_ledger.reports.sums import NOTHING

_LINES_AT_A_TIME: Final = 500
_FIGURES: Final = tuple("cost" if name == "cost_nanos" else name for name in Figures._fields)
_NUMBERS: Final = frozenset({"run", "price_entry"})
"""The dimensions whose values are ids: one below 0 is no formula."""

Line = Sequence[str | int]


def spend_csv(spend: Spend) -> Iterator[bytes]:
    """Yield a report as CSV, some hundred lines at a time."""
    hashed, lines = sha256(), _lines(spend)
    while some := [*islice(lines, _LINES_AT_A_TIME)]:
        text = _written(some)
        hashed.update(text)
        yield text
    since, until = (at.isoformat() for at in spend.asked.span)
    zone = spend.calendar.local(spend.asked.span[0]).tzinfo
    told = f"{len(spend.rows)} rows of {spend.count}, from {since} to {until}, {zone}"
    yield last_line(f"{told}, booked until {spend.booked_until.isoformat()}", hashed)


def _lines(spend: Spend) -> Iterator[Line]:
    names = [each.name for each in spend.asked.group_by]
    compared = spend.compared
    figures = (*_FIGURES, *(f"compared_{name}" for name in _FIGURES if compared is not None))
    yield ["line", *names, *figures]
    for row in spend.rows:
        before = [] if compared is None else _figures(compared.sums.rows.get(row.key, NOTHING))
        yield ["row", *_values(names, row.key), *_figures(row.sums), *before]
    nothing = [""] * len(names)
    yield ["rest", *nothing, *_figures(spend.rest), *([] if compared is None else _figures(compared.sums.rest))]
    yield ["total", *nothing, *_figures(spend.total), *([] if compared is None else _figures(compared.sums.total))]


def _values(names: Iterable[str], key: Key) -> Iterator[str]:
    for name, value in zip(names, key, strict=True):
        yield "" if value is None else value if name in _NUMBERS else plain_name(value)


def _figures(sums: Figures) -> list[str | int]:
    *counts, nanos = sums
    return [*counts, format_money(nanos)]


def _written(lines: Iterable[Line]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
