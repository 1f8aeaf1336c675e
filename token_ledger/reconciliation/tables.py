"""Turns a reconciliation into rows for a spreadsheet, and into plain data for JSON."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from typing import Any, Final

from token_ledger.core.model.money import format_money
from token_ledger.reconciliation.compare import Compared, Reconciliation
from token_ledger.reconciliation.reasons import Cause

HEADER: Final = (
    "day", "provider", "model", "item", "project", "billed", "ledger", "difference", "capture_rate", "billed_tokens",
    "ledger_tokens", "ledger_at_list_prices", "events", "unpriced", "corrections", *Cause, "details",
)  # fmt: skip


def csv_rows(found: Reconciliation) -> Iterator[list[str]]:
    """Yield the header and a row for each cell, with a column of dollars for each cause."""
    yield [str(name) for name in HEADER]
    for cell in found.cells:
        by_cause = Counter[Cause]()
        for reason in cell.reasons:
            by_cause[reason.cause] += reason.nanos
        details = "; ".join(f"{reason.cause}: {reason.detail}" for reason in cell.reasons if reason.detail)
        yield [*map(str, _plain(cell).values()), *(_dollars(by_cause.get(cause)) for cause in Cause), details]


def data_of(found: Reconciliation) -> dict[str, Any]:
    """Return all of it as plain data; amounts are dollars."""
    billed = sum(cell.billed_nanos for cell in found.cells)
    ledger = sum(cell.ledger_nanos for cell in found.cells)
    return {
        "billed": format_money(billed), "ledger": format_money(ledger), "difference": format_money(billed - ledger),
        "reasons": {cause.value: format_money(nanos) for cause, nanos in found.by_cause.items()},
        "hours_ahead_of_utc": {name: offset / timedelta(hours=1) for name, offset in found.offsets.items()},
        "cells": [{**_plain(cell), "reasons": _reasons(cell)} for cell in found.cells],
    }  # fmt: skip


def _dollars(nanos: int | None) -> str:
    return "" if nanos is None else format_money(nanos)


def rate_text(rate: Fraction | None) -> str:
    """Return a capture rate with four decimal places, nothing where there is none."""
    return "" if rate is None else f"{float(rate):.4f}"


def _plain(cell: Compared) -> dict[str, Any]:
    day, *names = cell.key
    return {
        "day": day.isoformat(), **dict(zip(HEADER[1:5], names, strict=True)),
        "billed": format_money(cell.billed_nanos), "ledger": format_money(cell.ledger_nanos),
        "difference": format_money(cell.difference_nanos), "capture_rate": rate_text(cell.capture_rate),
        "billed_tokens": cell.billed_tokens, "ledger_tokens": cell.ledger_tokens,
        "ledger_at_list_prices": format_money(cell.list_nanos), "events": cell.events, "unpriced": cell.unpriced,
        "corrections": cell.corrections,
    }  # fmt: skip


def _reasons(cell: Compared) -> list[dict[str, str]]:
    return [
        {"cause": reason.cause.value, "amount": format_money(reason.nanos), "detail": reason.detail}
        for reason in cell.reasons
    ]
