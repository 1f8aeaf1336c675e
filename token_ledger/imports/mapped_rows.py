"""Turns the rows of any table into calls, as a mapping says: CSV, JSON and Parquet differ in how they are read only."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Final
from zoneinfo import ZoneInfo

from token_ledger_sdk.providers.reading import tier_named

from token_ledger.imports.counts import UnclearNumber, decimal_of
from token_ledger.imports.instants import instant_reader
from token_ledger.imports.mapped_usage import UsageReader
from token_ledger.imports.mapping import COST_UNITS, MEASURED, TEXTS, TableMapping
from token_ledger.imports.model_providers import provider_and_model
from token_ledger.imports.row_keys import RowKeys, key_of_id
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkippedRow, SkipReason, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts

Event = dict[str, Any]
Cells = Sequence[Any]

SYNTHETIC: Final = "<synthetic>"
"""What Claude Code names as the model of an answer that it made up itself."""
_NEEDED: Final = {
    "occurred_at": "when each call was",
    "model": "the model of each call",
    "provider": "its provider; --provider says it for all rows, `provider_from_model: true` takes it from the model",
    "agent_type": "the kind of agent; --agent-type says it for all rows",
    "user": "the user; --user says it for all rows",
}
_OUTCOMES: Final = {
    "success": "ok", "succeeded": "ok", "completed": "ok", "true": "ok", "200": "ok",
    "failure": "error", "failed": "error", "false": "error",
}  # fmt: skip
_LONGEST_LABEL: Final = 64
_DAY: Final = 86_400_000
"""Milliseconds; no call takes longer."""
_TRUE: Final = frozenset({"1", "true", "yes", "t", "y"})
_READ: Final = frozenset({"outcome", "service_tier", "estimated"})
"""Texts that do not stand in an event as they stand in a file."""


class RowMaker:
    """What makes calls of the rows of one file; `stated` gets what they say that they cost.

    `columns` are the names of the file's columns, and a row is given as their cells in that order: text, or what JSON
    and Parquet have besides. `content` returns all that a row says, for its key if it has no id. Raises UnreadableFile
    where the mapping does not fit the file.
    """

    def __init__(
        self, place: Place, columns: Sequence[str], mapping: TableMapping, defaults: Defaults,
        stated: StatedCosts | None, content: Callable[[Any], bytes],
    ) -> None:  # fmt: skip
        self._mapping, self._stated, self._content = mapping, stated, content
        where = _places(place, columns, mapping)
        constants = _for_all(defaults) | mapping.constants
        _check_needed(place, mapping, {*where, *constants})
        self._texts = [(name, where[name], mapping.values.get(name)) for name in TEXTS if name in where]
        self._measured = [(name, where[name]) for name in MEASURED if name in where]
        self._tags = [(tag, where[f"tags.{tag}"]) for tag in mapping.tags]
        self._at, self._key, self._cost = (where.get(name) for name in ("occurred_at", "idempotency_key", "cost"))
        self._usage = UsageReader(where, constants, mapping)
        zone = defaults.time_zone if mapping.time.zone is None else ZoneInfo(mapping.time.zone)
        self._instant = instant_reader(mapping.time.format, zone)
        self._event: Event = {"source": mapping.source}
        self._event |= {name: _text(name, text) for name, text in constants.items() if name in TEXTS}
        if "occurred_at" in constants:
            self._event["occurred_at"] = self._read_instant(place, constants["occurred_at"])
        self._keys = RowKeys()

    def row(self, place: Place, cells: Cells, whole: Any) -> Row:
        """Return what a row is; `whole` is what its content is taken from."""
        try:
            usage = self._usage.read(cells)
        except UnclearNumber as error:
            raise UnreadableFile(place, str(error)) from None
        if usage is None:
            return SkippedRow(place, SkipReason.NO_USAGE)
        event = self._event.copy()
        event["usage"] = usage
        for name, index, values in self._texts:
            cell = cells[index]
            if values is not None:
                cell = values.get(str(cell), cell)
            if not is_blank(cell):
                event[name] = cell.strip() if name not in _READ and type(cell) is str else _text(name, cell)
        if event.get("model") == SYNTHETIC:
            return SkippedRow(place, SkipReason.SYNTHETIC)
        if self._at is not None and not (is_blank(cells[self._at]) and "occurred_at" in event):
            event["occurred_at"] = self._read_instant(place, cells[self._at])
        self._add_rest(event, cells, place)
        identifier = None if self._key is None else cells[self._key]
        event["idempotency_key"] = (
            self._keys.key(self._content(whole)) if is_blank(identifier) else key_of_id(str(identifier).strip())
        )
        return CallRow(place, event)

    def _read_instant(self, place: Place, cell: object) -> str:
        try:
            return self._instant("" if is_blank(cell) else cell)
        except ValueError as error:
            raise UnreadableFile(place, str(error)) from None

    def _add_rest(self, event: Event, cells: Cells, place: Place) -> None:
        """Add what few tables have."""
        if self._tags:
            tags = {tag: str(cells[index]).strip() for tag, index in self._tags if not is_blank(cells[index])}
            if tags:
                event["tags"] = tags
        if self._measured:
            said = ((name, self._measurement(name, cells[index])) for name, index in self._measured)
            measured = {name: value for name, value in said if value is not None}
            if measured:
                event["measured"] = measured
        if self._cost is not None and self._stated is not None and not is_blank(cells[self._cost]):
            self._state_cost(self._stated, event, cells[self._cost], place)
        if self._mapping.provider_from_model and isinstance(event.get("model"), str):
            provider, event["model"] = provider_and_model(event["model"])
            if provider is not None:
                event["provider"] = provider

    def _measurement(self, name: str, cell: object) -> object:
        """Return what was measured, None where that can't be read: no call is kept in quarantine for it."""
        if is_blank(cell):
            return None
        if name in ("error_kind", "finish_reason"):
            text = str(cell).strip()
            return text if 0 < len(text) <= _LONGEST_LABEL and text.isprintable() else None
        try:
            number = decimal_of(str(cell), self._mapping.decimal if isinstance(cell, str) else "point")
        except UnclearNumber:
            return None
        return None if number is None or not 0 <= number < _DAY else round(number)

    def _state_cost(self, stated: StatedCosts, event: Event, cell: object, place: Place) -> None:
        try:
            mark = self._mapping.decimal if isinstance(cell, str) else "point"
            amount = decimal_of(str(cell).strip().strip("$€"), mark)
        except UnclearNumber as error:
            raise UnreadableFile(place, str(error)) from None
        dollars = None if amount is None else amount / COST_UNITS[self._mapping.cost_unit]
        stated.add(event["occurred_at"][:10], str(event.get("model", "")), dollars)


def is_blank(cell: object) -> bool:
    """Whether a cell says nothing: tables of numbers keep that as a number that is not equal to itself."""
    return cell is None or cell == "" or cell != cell


def _text(name: str, cell: object) -> object:
    text = str(cell).strip()
    match name:
        case "service_tier":
            return tier_named(text)
        case "outcome":
            return _OUTCOMES.get(text.lower(), text)
        case "estimated":
            return text.lower() in _TRUE
    return text


def _for_all(defaults: Defaults) -> dict[str, str]:
    said = {name: getattr(defaults, name) for name in ("user", "cost_center", "agent_type", "provider")}
    return {name: text for name, text in said.items() if text is not None}


def _places(place: Place, columns: Sequence[str], mapping: TableMapping) -> dict[str, int]:
    """Return where the cell of each field stands in a row."""
    wanted = mapping.columns | {f"tags.{tag}": column for tag, column in mapping.tags.items()}
    found = {column: index for index, column in enumerate(columns)}
    for field, column in wanted.items():
        if column not in found:
            near = get_close_matches(column, columns, n=1)
            advice = f"did the mapping mean {near[0]!r}?" if near else f"it has {', '.join(columns)}"
            raise UnreadableFile(place, f"there is no column {column!r}, which the mapping has for {field}; {advice}")
    return {field: found[column] for field, column in wanted.items()}


def _check_needed(place: Place, mapping: TableMapping, said: set[str]) -> None:
    if mapping.provider_from_model:
        said = {*said, "provider"}
    for field, what in _NEEDED.items():
        if field not in said:
            raise UnreadableFile(place, f"the mapping has no column and no constant for {field}, which says {what}")
    if "usage" not in said:
        for field in ("input_tokens", "output_tokens"):
            if field not in said:
                problem = (
                    f"the mapping has no column for {field}; where there are none, say `constants: {{{field}: 0}}`"
                )
                raise UnreadableFile(place, problem)
