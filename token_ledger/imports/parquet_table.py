"""Reads a table of calls in Parquet, with pyarrow, which is installed with the extra `parquet` only.

A place's line is the number of the row.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from token_ledger.imports.json_values import Object
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.object_rows import rows_of_objects
from token_ledger.imports.rows import Defaults, Place, Row, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts

ROWS_AT_ONCE: Final = 4_096


def read(path: Path, defaults: Defaults, mapping: TableMapping, stated: StatedCosts | None = None) -> Iterator[Row]:
    """Yield every row of a file; `stated` gets what its rows say that they cost. Raises UnreadableFile."""
    return rows_of_objects(path, numbered_rows(path), defaults, mapping, stated)


def numbered_rows(path: Path) -> Iterator[tuple[int, Object]]:
    """Yield each row with its number, counted from 1."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        problem = "reading Parquet takes another package: pip install 'token-ledger[parquet]'"
        raise UnreadableFile(Place(str(path), 0), problem) from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in _rows(batch):
                    number += 1
                    yield number, row
    except FileNotFoundError:
        raise UnreadableFile(Place(str(path), 0), "it can't be opened: No such file or directory") from None
    except (ArrowException, OSError) as error:
        place = Place(str(path), number + 1 if number else 0)
        raise UnreadableFile(place, f"it is not Parquet, or damaged ({_short(error)}): export it anew") from None


def _rows(batch: Any) -> list[Object]:
    rows: list[Object] = batch.to_pylist()
    return rows


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:160]
