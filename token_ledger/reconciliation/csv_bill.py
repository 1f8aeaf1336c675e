"""Reads a bill in CSV with a header of these columns; those that are left out are not said, others are left out.

`date` (a day or an instant of UTC), `amount`, and any of `currency`, `provider`, `model`, `item` (what is charged where
it is no model), `project`, `service_tier`, `input_tokens` (with those of the cache), `output_tokens`,
`cache_read_tokens`, `cache_write_tokens`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from token_ledger_sdk.providers.reading import tier_named

from token_ledger.core.model.usage import PARTS, Usage, usage_from
from token_ledger.imports.counts import UnclearNumber, count_of, decimal_of
from token_ledger.imports.csv_table import CsvRows, wrong_width
from token_ledger.imports.instants import AUTOMATIC, instant_reader
from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.reconciliation.bill_lines import CURRENCY, BillLine, read_amount

_NEEDED: Final = ("date", "amount")
_TOKENS: Final = {
    "input_tokens": "input_tokens", "output_tokens": "output_tokens", "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_5m_tokens",
}  # fmt: skip
_READ: Final = instant_reader(AUTOMATIC, ZoneInfo("UTC"))


def read(paths: Sequence[Path], provider: str | None = None) -> Iterator[BillLine]:
    """Yield the lines of all files; `provider` is that of rows that name none. Raises UnreadableFile."""
    for path in paths:
        table = CsvRows(path)
        header = [name.lower() for name in table.header]
        for name in _NEEDED:
            if name not in header:
                raise UnreadableFile(table.place, f"there is no column {name!r}: its header must have date and amount")
        for line, cells in table.rows():
            place = Place(str(path), line)
            if len(cells) != len(header):
                raise UnreadableFile(place, wrong_width(len(cells), len(header)))
            if any(cells):
                row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
                yield _line(place, row, provider, has_points=table.delimiter == ",")


def _line(place: Place, row: Mapping[str, str], provider: str | None, *, has_points: bool) -> BillLine:
    named = row.get("provider", "").lower() or provider
    if not named:
        raise UnreadableFile(place, "the row names no provider: add a column `provider`, or say --provider")
    try:
        begin = datetime.fromisoformat(_READ(row["date"]))
    except ValueError as error:
        raise UnreadableFile(place, f"date: {error}") from None
    return BillLine(
        place, begin, named, row.get("model") or None, row.get("item") or None, row.get("project") or None,
        read_amount(place, _number(place, row["amount"], has_points), row.get("currency") or CURRENCY),
        _usage(place, row), tier_named(row["service_tier"]) if row.get("service_tier") else None,
    )  # fmt: skip


def _number(place: Place, text: str, has_points: bool) -> Decimal:
    try:
        number = decimal_of(text, "point" if has_points else None)
    except UnclearNumber:
        raise UnreadableFile(
            place, f"{text!r} has decimals or thousands: write amounts with a point and no commas"
        ) from None
    if number is None:
        raise UnreadableFile(place, f"{text!r} is not an amount of money: write dollars such as 12.50")
    return number


def _usage(place: Place, row: Mapping[str, str]) -> Usage:
    counts: dict[str, int] = {}
    for name, kind in _TOKENS.items():
        count = count_of(row.get(name) or 0)
        if not isinstance(count, int) or count < 0:
            raise UnreadableFile(place, f"{name} is {row[name]!r}: write a whole number of tokens, 0 or more")
        counts[kind] = count
    for whole, parts in PARTS.items():
        if sum(counts.get(part, 0) for part in parts) > counts.get(whole, 0):
            raise UnreadableFile(place, f"{whole} must have the tokens of the cache in them: write all of the prompt")
    return usage_from(counts)
