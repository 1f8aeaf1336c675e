"""Reads a table of calls in JSON: an object a line, or one array; gzip or plain."""

from collections.abc import Iterator
from pathlib import Path

from token_ledger.imports.json_values import json_objects
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.object_rows import rows_of_objects
from token_ledger.imports.rows import Defaults, Row
from token_ledger.imports.stated_costs import StatedCosts


def read(path: Path, defaults: Defaults, mapping: TableMapping, stated: StatedCosts | None = None) -> Iterator[Row]:
    """Yield every row of a file; `stated` gets what its rows say that they cost. Raises UnreadableFile."""
    return rows_of_objects(path, json_objects(path), defaults, mapping, stated)
