"""Guesses the mapping of a table from the names of its columns and its first rows.

A guess is for a person to look at before it is used, so what is not certain is said with it. Nothing is guessed that
only the company knows: users, agent types and cost centers are found only where a column is called so.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from token_ledger.imports.counts import DecimalMark, UnclearNumber, count_of, decimal_of
from token_ledger.imports.csv_table import CsvRows
from token_ledger.imports.guess_times import guessed_time
from token_ledger.imports.json_values import json_objects
from token_ledger.imports.mapping import DELIMITERS, TableMapping
from token_ledger.imports.model_providers import provider_and_model
from token_ledger.imports.object_rows import field_getter, field_names
from token_ledger.imports.parquet_table import numbered_rows
from token_ledger.imports.rows import Place, UnreadableFile

Kind = Literal["csv", "jsonl", "parquet"]
LOOKED_AT: Final = 200
"""How many rows are looked at."""

_NAMES: Final[Mapping[str, str]] = {
    "occurred_at": "occurred_at timestamp ts ts_utc timestamp_utc created_at created date_time datetime time "
    "end_time ended_at completed_at finished_at request_time start_time started_at logged_at event_time date day",
    "idempotency_key": "request_id call_id log_id event_id generation_id uuid id",
    "response_id": "response_id completion_id message_id provider_response_id",
    "model": "model model_name model_id model_used response_model served_model main_model model_permaslug "
    "gen_ai_response_model gen_ai_request_model requested_model",
    "provider": "provider provider_name llm_provider custom_llm_provider model_provider vendor gen_ai_system "
    "gen_ai_provider_name",
    "user": "user user_id user_name username user_email email end_user end_user_id customer customer_id account_email "
    "user_api_key_user_id",
    "cost_center": "cost_center cost_centre costcenter team team_name team_alias department team_id project "
    "project_name project_id",
    "agent_type": "agent_type agent agent_name gen_ai_agent_name app app_name application tool_name service "
    "service_name tool",
    "request_type": "request_type call_type operation endpoint gen_ai_operation_name",
    "input_tokens": "input_tokens prompt_tokens tokens_in tokens_prompt input_token_count prompt_token_count "
    "total_input_tokens native_tokens_prompt tokens_input in_tokens n_context_tokens_total prompt_total input_length "
    "gen_ai_usage_input_tokens uncached_input_tokens",
    "output_tokens": "output_tokens completion_tokens tokens_out tokens_completion output_token_count "
    "completion_token_count candidates_token_count generated_tokens n_generated_tokens_total native_tokens_completion "
    "tokens_output out_tokens output_length gen_ai_usage_output_tokens",
    "cache_read_tokens": "cache_read_tokens cached_tokens cache_read_input_tokens cached_input_tokens "
    "input_cached_tokens prompt_cached_tokens tokens_cached cached_prompt_tokens native_tokens_cached cache_hit_tokens "
    "prompt_cache_hit_tokens cached_content_token_count prompt_tokens_details_cached_tokens",
    "cache_write_5m_tokens": "cache_write_5m_tokens cache_creation_5m_input_tokens ephemeral_5m_input_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens cache_creation_1h_input_tokens ephemeral_1h_input_tokens",
    "cache_write_tokens": "cache_write_tokens cache_creation_input_tokens cache_creation_tokens "
    "cache_write_input_tokens cache_write_tokens_total",
    "reasoning_tokens": "reasoning_tokens reasoning_output_tokens thinking_tokens thoughts_token_count "
    "native_tokens_reasoning tokens_reasoning completion_tokens_details_reasoning_tokens",
    "web_searches": "web_searches web_search_requests",
    "usage": "usage usage_object",
    "service_tier": "service_tier tier",
    "outcome": "outcome status success status_code",
    "cost": "cost cost_usd total_cost spend price_usd amount_usd usd cost_in_usd total_cost_usd usage",
    "latency_ms": "latency_ms duration_ms response_time_ms generation_time_ms",
    "first_token_ms": "first_token_ms ttft_ms time_to_first_token_ms",
    "finish_reason": "finish_reason stop_reason",
}  # fmt: skip
"""Names of columns by field, the likeliest first."""
_ONLY_ANTHROPIC: Final = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_5m_input_tokens", "uncached_input_tokens",
     "cache_creation_5m_input_tokens"}
)  # fmt: skip
"""Whoever has these counts input without what was read from or written to a cache."""
_MARKS: Final[tuple[DecimalMark, ...]] = ("comma", "point")
_CACHED: Final = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_write_tokens")
_NEEDED: Final = ("occurred_at", "user", "agent_type", "provider", "model", "input_tokens", "output_tokens")
_BY_OPTION: Final = {"user": "--user", "agent_type": "--agent-type", "provider": "--provider"}


@dataclass(frozen=True, slots=True)
class Guess:
    """A mapping, what is not certain or still missing, as sentences, and the columns that it does not use."""

    mapping: TableMapping
    unsure: Sequence[str]
    unused: Sequence[str]


def guess(kind: Kind, path: Path) -> Guess:
    """Return the likeliest mapping of a file; raises UnreadableFile, also where no column looks like usage."""
    if kind == "csv":
        table = CsvRows(path)
        rows = [cells for _, cells in islice(table.rows(), LOOKED_AT) if len(cells) == len(table.header)]
        return guessed(table.place, table.header, rows, table.delimiter)
    numbered = json_objects(path) if kind == "jsonl" else numbered_rows(path)
    objects = [value for _, value in islice(numbered, LOOKED_AT)]
    columns = field_names(objects)
    cells = [[field_getter(column)(value) for column in columns] for value in objects]
    return guessed(Place(str(path), 0), columns, cells)


def guessed(place: Place, columns: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str | None = None) -> Guess:
    """Return the likeliest mapping of columns with such cells."""
    unsure: list[str] = []
    found = _fields(columns, rows, unsure)
    if "usage" not in found and not {"input_tokens", "output_tokens"} & found.keys():
        problem = f"no column looks like tokens; it has {', '.join(columns)}. Say which is which in a mapping file"
        raise UnreadableFile(place, problem)

    def cells_of(field: str) -> list[Any]:
        at = columns.index(found[field])
        return [row[at] for row in rows if row[at] not in ("", None)]

    said: dict[str, Any] = {"columns": found}
    if "occurred_at" in found:
        said["time"] = guessed_time(cells_of("occurred_at"), unsure)
    if "provider" not in found and "model" in found:
        _guess_provider(said, cells_of("model"), unsure)
    if delimiter is not None:
        counted = [field for field in found if field.endswith("_tokens") or field == "cost"]
        _guess_marks(said, delimiter, [cell for field in counted for cell in cells_of(field)], unsure)
    if "input_tokens" in found and _is_uncached(found, columns, rows, said.get("decimal", "point")):
        said["input_tokens"] = "uncached"
        unsure.append(
            f"{found['input_tokens']} is read as input without cached tokens, as Anthropic counts it; if it is all "
            "input, say `input_tokens: whole`"
        )
    mapping = TableMapping.model_validate(said)
    unsure += _missing(mapping)
    return Guess(mapping, unsure, [name for name in columns if name and name not in found.values()])


def _missing(mapping: TableMapping) -> Iterator[str]:
    """Yield what no column says and every call needs."""
    for field in _NEEDED:
        is_told = field in ("input_tokens", "output_tokens") and "usage" in mapping.columns
        if field in mapping.columns or is_told or (field == "provider" and mapping.provider_from_model):
            continue
        option = f"give {_BY_OPTION[field]}, or " if field in _BY_OPTION else ""
        yield f"no column says the {field}: {option}add it to the mapping"


def _fields(columns: Sequence[str], rows: Sequence[Sequence[Any]], unsure: list[str]) -> dict[str, str]:
    """Return which column is which field; each column is one field at most."""
    by_name: dict[str, list[str]] = {}
    for column in filter(None, columns):
        for name in {_plain(column), _plain(column.rpartition(".")[2])}:
            by_name.setdefault(name, []).append(column)
    blank = {column for index, column in enumerate(columns) if all(row[index] in ("", None) for row in rows)}
    found: dict[str, str] = {}
    for field, names in _NAMES.items():
        likely = [
            column for name in names.split() for column in by_name.get(name, ())
            if column not in found.values() and _can_be(field, column, columns, rows)
        ]  # fmt: skip
        likely = sorted(dict.fromkeys(likely), key=blank.__contains__)  # what says something comes first
        if not likely:
            continue
        found[field] = likely[0]
        others = [column for column in likely[1:] if _plain(column) not in _used_otherwise(field)]
        if others and field in _NEEDED:
            unsure.append(f"{field} is read from {likely[0]}, and could be {' or '.join(others[:3])}")
    if "cache_write_5m_tokens" in found and "cache_write_1h_tokens" in found:
        found.pop("cache_write_tokens", None)
    if "usage" in found:
        found = {field: column for field, column in found.items() if not column.startswith(f"{found['usage']}.")}
    return found


def _used_otherwise(field: str) -> set[str]:
    return {name for other, names in _NAMES.items() if other != field for name in names.split()}


def _can_be(field: str, column: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the cells of a column can be that field: `usage` is an object or dollars, a `tool` may be a number."""
    at = columns.index(column)
    cells = [row[at] for row in rows if row[at] not in ("", None)]
    if field == "usage":
        return any(isinstance(cell, dict) or (isinstance(cell, str) and cell.startswith("{")) for cell in cells)
    if any(isinstance(cell, dict | list) for cell in cells):
        return False
    if field == "idempotency_key":
        return len({*map(str, cells)}) == len(cells)
    return True


def _plain(name: str) -> str:
    """Return a name in lower case with underscores: promptTokens and "Prompt Tokens" are one."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _guess_provider(said: dict[str, Any], models: Sequence[object], unsure: list[str]) -> None:
    unknown = sorted({str(model) for model in models if provider_and_model(str(model))[0] is None})
    if len(unknown) < len({*map(str, models)}):
        said["provider_from_model"] = True
        unsure.append("the provider is taken from the model's name" + _such_as(unknown))


def _such_as(unknown: Sequence[str]) -> str:
    return f"; of {', '.join(unknown[:3])} it is not known: give --provider for those" if unknown else ""


def _is_uncached(
    found: Mapping[str, str], columns: Sequence[str], rows: Sequence[Sequence[Any]], mark: DecimalMark
) -> bool:  # fmt: skip
    """Whether input is counted without cached tokens: some rows have more of these, or columns are named so."""
    parts = [found[kind] for kind in _CACHED if kind in found]
    at, places = columns.index(found["input_tokens"]), [columns.index(part) for part in parts]
    for row in rows:
        counts = [_count(row[place], mark) for place in (at, *places) if row[place] not in ("", None)]
        numbers = [count for count in counts if isinstance(count, int)]
        if len(numbers) == len(counts) > 1 and numbers[0] < sum(numbers[1:]):
            return True
    plain = {_plain(column.rpartition(".")[2]) for column in parts}
    named = _plain(found["input_tokens"].rpartition(".")[2])
    return named == "uncached_input_tokens" or (named == "input_tokens" and bool(plain & _ONLY_ANTHROPIC))


def _count(cell: object, mark: DecimalMark) -> object:
    try:
        return count_of(cell, mark)
    except UnclearNumber:
        return cell


def _guess_marks(said: dict[str, Any], delimiter: str, cells: Sequence[object], unsure: list[str]) -> None:
    """Guess what separates cells, and what a comma in a number means."""
    if delimiter != ",":
        said["delimiter"] = next((name for name, character in DELIMITERS.items() if character == delimiter), None)
    elif not any(isinstance(cell, str) and "," in cell for cell in cells):
        return
    marked = [cell for cell in cells if isinstance(cell, str) and ("," in cell or "." in cell)]
    if not marked:
        return
    fits: list[DecimalMark] = [mark for mark in _MARKS if all(_reads(cell, mark) for cell in marked)]
    said["decimal"] = fits[0] if fits else "comma"
    if len(fits) != 1:
        unsure.append(f"{marked[0]!r} is read with a decimal {said['decimal']}; if that is wrong, change `decimal`")


def _reads(cell: str, mark: DecimalMark) -> bool:
    try:
        return decimal_of(cell, mark) is not None
    except UnclearNumber:
        return False
