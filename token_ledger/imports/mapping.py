"""Owns the mapping file of a table: which column says what of a call, and how it is written there."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from token_ledger.imports.counts import DecimalMark
from token_ledger.imports.instants import AUTOMATIC, FORMATS
from token_ledger.imports.yaml_file import read_yaml
from token_ledger.wire.fields import Body, Name, Words
from token_ledger.wire.token_kinds import UsageBody
from token_ledger.wire.validation_errors import first_error

COUNTS: Final = (*UsageBody.model_fields, "cache_write_tokens")
"""The kinds of a usage, and the tokens written to a cache where nobody says for how long: they count as 5 minutes."""
MEASURED: Final = ("latency_ms", "first_token_ms", "retries", "error_kind", "finish_reason")
TEXTS: Final = (
    "agent_type", "provider", "model", "user", "cost_center", "request_type", "tool", "service_tier", "outcome",
    "response_id", "estimated",
)  # fmt: skip
FIELDS: Final = frozenset((*TEXTS, *COUNTS, *MEASURED, "idempotency_key", "occurred_at", "usage", "cost"))
"""What a column may be. `usage` is a provider's usage as JSON."""
SOURCE: Final = "import-table"
DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
COST_UNITS: Final = {"dollars": 1, "cents": 100, "micro_dollars": 1_000_000, "nano_dollars": 1_000_000_000}


def _is_field(name: str) -> str:
    if name in FIELDS:
        return name
    raise ValueError(f"{name!r} is no field of a call; use {', '.join(sorted(FIELDS))}, or `tags`")


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write one such as Europe/Berlin or UTC") from None
    return name


def _is_format(form: str) -> str:
    if form in FORMATS or "%" in form:
        return form
    raise ValueError(f"{form!r} is no format; use one of {', '.join(FORMATS)}, or a pattern such as '%d.%m.%Y %H:%M'")


def _as_text(value: Any) -> Any:
    # A person writes `1: error` and means what stands in the cell.
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


FieldName = Annotated[StrictStr, AfterValidator(_is_field)]
Column = Annotated[StrictStr, Field(min_length=1)]
Cell = Annotated[StrictStr, BeforeValidator(_as_text)]


class TimeTerms(Body):
    """How instants are written; `zone` is that of those without one."""

    format: Annotated[StrictStr, AfterValidator(_is_format)] = AUTOMATIC
    zone: Annotated[StrictStr, AfterValidator(_is_zone)] | None = None


class TableMapping(Body):
    """The whole file. Every key but `columns` may be left out."""

    columns: Annotated[dict[FieldName, Column], Field(min_length=1)]
    tags: Annotated[dict[Name, Column], Field(max_length=8)] = {}
    constants: dict[FieldName, Cell] = {}
    values: dict[FieldName, dict[Cell, Cell]] = {}
    provider_from_model: bool = False
    input_tokens: Literal["whole", "uncached"] = "whole"
    output_tokens: Literal["whole", "without_reasoning"] = "whole"
    token_unit: Literal[1, 1_000, 1_000_000] = 1
    cost_unit: Literal["dollars", "cents", "micro_dollars", "nano_dollars"] = "dollars"
    time: TimeTerms = TimeTerms()
    delimiter: Literal["comma", "semicolon", "tab", "bar"] | None = None
    decimal: DecimalMark | None = None
    encoding: Literal["utf-8", "utf-16", "windows-1252", "iso-8859-1"] | None = None
    source: Words = SOURCE

    @field_validator("columns", mode="before")
    @classmethod
    def _tags_stand_beside(cls, value: Any) -> Any:
        if isinstance(value, dict) and "tags" in value:
            raise ValueError("`tags` stands beside `columns`, as `tags: {team: name of its column}`")
        return value

    @model_validator(mode="after")
    def _what_is_read(self) -> "TableMapping":
        if "cost" in self.constants or "usage" in self.constants:
            raise ValueError("cost and usage are read from a column only")
        return self


def read_mapping(path: Path) -> TableMapping:
    """Return what a mapping file says; ValueError says in one sentence where it is wrong."""
    try:
        value = read_yaml(path)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    if value is None:
        raise ValueError(f"{path} is empty: it must have `columns:`, with a column for each field")
    try:
        return TableMapping.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_error(error)}") from None


def mapping_text(mapping: TableMapping) -> str:
    """Return a mapping as the file that says the same."""
    value = mapping.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
