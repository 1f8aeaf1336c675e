"""Finds what the ledger calls the models of a bill."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from token_ledger.core.model.price import PriceBook
from token_ledger.reconciliation.bill_lines import GLOBAL, BillLine
from token_ledger.reports.utc_usage import UtcUsage

_VERSION: Final = re.compile(r"-\d{8}\b|-v\d+(:\d+)?$|-\d+:\d+$|-instruct\b|(?<=\d)\.0(?!\d)", re.IGNORECASE)
_VENDOR: Final = re.compile(r"^(?:[a-z]+\.)+")
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def ledger_names(lines: Iterable[BillLine], rows: Iterable[UtcUsage], book: PriceBook) -> Mapping[tuple[str, str], str]:
    """Return for each provider and model of a bill what the ledger calls it.

    That is its name in the price book, where aliases count. AWS bills `Claude4.5Sonnet` for what is called as
    `anthropic.claude-sonnet-4-5-20250929-v1:0`: a name that the book does not know is that of the one model in the
    ledger that has the same words and numbers, without vendor, date and version; of two, the
    one that is `global` as well. Else it stays as it is.
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
        like = {each for each in same if _is_global(each) == _is_global(line.model)} or same
        is_known = book.find(*name) is not None
        found[name] = next(iter(like)) if len(like) == 1 and not is_known else book.name_of(*name).model
    return found


def _is_global(model: str) -> bool:
    return model.startswith(GLOBAL)


def _parts(model: str) -> tuple[str, ...]:
    """Return the words and numbers of a model's name in the order of the alphabet."""
    name = _VENDOR.sub("", _VERSION.sub("", model))
    return tuple(sorted(word.lower() for word in _WORDS.findall(name)))
