"""Turns objects into calls, as a mapping says: those of JSON, and rows of Parquet.

A column is a field of the objects, or a path to one with dots: `usage.prompt_tokens`. Where an object has no such field
its cell is blank.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from token_ledger.imports.json_values import Object
from token_ledger.imports.mapped_rows import RowMaker
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.rows import Defaults, Place, Row, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts

_LOOKED_AT: Final = 100
"""How many objects must have a field between them that every call needs, or the mapping has the wrong name for it."""
_NEEDED: Final = ("occurred_at", "model", "provider", "user", "agent_type", "input_tokens", "output_tokens", "usage")


def rows_of_objects(
    path: Path, objects: Iterator[tuple[int, Object]], defaults: Defaults, mapping: TableMapping,
    stated: StatedCosts | None,
) -> Iterator[Row]:  # fmt: skip
    """Yield a row for each object, which has the number of its line; raises UnreadableFile."""
    columns = [*{*mapping.columns.values(), *mapping.tags.values()}]
    if mapping.decimal is None:
        mapping = mapping.model_copy(update={"decimal": "point"})
    maker = RowMaker(Place(str(path), 0), columns, mapping, defaults, stated, _content)
    first = [*islice(objects, _LOOKED_AT)]
    _check_fields(path, mapping, [value for _, value in first])
    getters = [field_getter(column) for column in columns]
    file, row = str(path), maker.row
    for line, value in chain(first, objects):
        yield row(Place(file, line), [get(value) for get in getters], value)


def field_getter(column: str) -> Callable[[Object], Any]:
    """Return what finds a column in an object."""
    if "." not in column:
        return lambda value: value.get(column)
    return partial(_at_path, column, column.split("."))


def field_names(values: Sequence[Object], within: str = "") -> Sequence[str]:
    """Return the columns that objects have between them, in the order in which they come."""
    found: dict[str, None] = {}
    for value in values:
        for name, inner in value.items():
            if isinstance(inner, dict) and inner and not within:
                found |= dict.fromkeys(field_names([inner], f"{name}."))
            found[f"{within}{name}"] = None
    return [*found]


def _at_path(column: str, names: Sequence[str], value: Object) -> Any:
    found: Any = value.get(column)
    if found is not None:
        return found
    found = value
    for name in names:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _content(value: Object) -> bytes:
    return json.dumps(value, sort_keys=True, default=str, separators=(",", ":")).encode()


def _check_fields(path: Path, mapping: TableMapping, first: Sequence[Object]) -> None:
    for field in _NEEDED:
        column = mapping.columns.get(field)
        if column is None or field in mapping.constants or not first:
            continue
        get = field_getter(column)
        if all(get(value) is None for value in first):
            problem = (
                f"none of the first {len(first)} objects has {column!r}, which the mapping has for {field}; they have "
                f"{', '.join(field_names(first)[:40])}"
            )
            raise UnreadableFile(Place(str(path), 0), problem)
