"""Finds what the ledger calls the models of a bill."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from token_ledger.core.model.price import PriceBook
from token_ledger.reconciliation.bill_lines import BillLine
from token_ledger.reports.utc_usage import UtcUsage

_VERSION: Final = re.compile(r"-\d{8}\b|-v\d+(:\d+)?$|-\d+:\d+$|-instruct\b|(?<=\d)\.0(?!\d)", re.IGNORECASE)
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def ledger_names(lines: Iterable[BillLine], rows: Iterable[UtcUsage], book: PriceBook) -> Mapping[tuple[str, str], str]:
    """Return for each provider and model of a bill what the ledger calls it.

    That is its name in the price book, where aliases count. AWS bills `Claude4.5Sonnet` for what is called as
    `anthropic.claude-sonnet-4-5-20250929-v1:0`: a name that the book does not know is that of the one model in the
    ledger that has the same words and numbers, without vendor, date and version. Else it stays as it is.
    """
    alike: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for row in rows:
        alike.setdefault((row.provider, _parts(row.model)), set()).add(row.model)
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        name = (line.provider, line.model or "")
        if line.model is None or name in found:
            continue
        same = alike.get((line.provider, _parts(line.model)), set())
        is_known = book.find(*name) is not None
        found[name] = next(iter(same)) if len(same) == 1 and not is_known else book.name_of(*name).model
    return found


def _parts(model: str) -> tuple[str, ...]:
    """Return the words and numbers of a model's name in the order of the alphabet."""
    name = _VERSION.sub("", model)
    if name[:1].islower() and not name[:1].isdigit():
        vendor, _, rest = name.rpartition(".")
        name = rest if vendor and not rest[:1].isdigit() else name
    return tuple(sorted(word.lower() for word in _WORDS.findall(name)))
