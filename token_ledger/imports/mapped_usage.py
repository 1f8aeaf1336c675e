"""Reads what a row of a table says that its call used, as the ledger counts it: input and output are the whole."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from token_ledger_sdk.providers import UsageMissing, usage_from

from token_ledger.imports.counts import count_of
from token_ledger.imports.json_values import parsed
from token_ledger.imports.mapping import COUNTS, TableMapping

Usage = dict[str, Any]
_DIGITS: Final = 18
"""As many as the count of any call has by far."""


class UsageReader:
    """What reads the usage in the rows of one file; `where` says in which cell a kind stands."""

    def __init__(self, where: Mapping[str, int], constants: Mapping[str, str], mapping: TableMapping) -> None:
        self._mapping = mapping
        self._counts = [
            (name, where[name], mapping.values.get(name), mapping.token_unit if name.endswith("_tokens") else 1)
            for name in COUNTS
            if name in where
        ]
        self._told = where.get("usage")
        self._of_all: Usage = {name: count_of(text) for name, text in constants.items() if name in COUNTS}
        has_only_a_total = "cache_write_tokens" in {*where, *constants}
        self._is_whole = (mapping.input_tokens, mapping.output_tokens) == ("whole", "whole") and not has_only_a_total

    def read(self, cells: Sequence[Any]) -> Usage | None:
        """Return the usage in a row, None if it has none; a cell that is no count stays, for the ledger to refuse.

        Raises UnclearNumber.
        """
        usage = self._of_all.copy()
        is_said = False
        for name, index, values, unit in self._counts:
            cell = cells[index]
            if values is not None:
                cell = values.get(str(cell), cell)
            if type(cell) is str and cell.isdecimal() and len(cell) < _DIGITS:
                usage[name] = int(cell) * unit
            elif cell is None or cell == "" or cell != cell:  # as `is_blank`, without the call
                continue
            else:
                usage[name] = count_of(cell, self._mapping.decimal, unit)
            is_said = True
        if self._told is not None:
            told = _told_by_provider(cells[self._told])
            if told is not None:
                return {**told, **usage}
        if not is_said:
            return None
        return usage if self._is_whole else self._whole(usage)

    def _whole(self, usage: Usage) -> Usage:
        written = usage.pop("cache_write_tokens", None)
        if written is not None and "cache_write_5m_tokens" not in usage:
            hour = usage.get("cache_write_1h_tokens", 0)
            usage["cache_write_5m_tokens"] = max(0, written - hour) if type(written) is type(hour) is int else written
        if self._mapping.input_tokens == "uncached":
            _add_to(usage, "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
        if self._mapping.output_tokens == "without_reasoning":
            _add_to(usage, "output_tokens", "reasoning_tokens")
        return usage


def _add_to(usage: Usage, whole: str, *parts: str) -> None:
    counts = [usage.get(kind, 0) for kind in (whole, *parts)]
    if whole in usage and all(type(count) is int for count in counts):
        usage[whole] = sum(counts)


def _told_by_provider(cell: object) -> Usage | None:
    """Return the usage that a provider reported, None if there is none that can be read."""
    if not cell or cell != cell:
        return None
    try:
        return usage_from(parsed(cell) if isinstance(cell, str) else cell).to_json()
    except (UsageMissing, ValueError):
        return None
