"""Reads LiteLLM's spend logs: the table LiteLLM_SpendLogs as JSON (`/spend/logs`), as CSV, or from `pg_dump`.

A call is booked when it ended. Its user is the end user that the request named, else the user of its key; its cost
center is the key's team. LiteLLM stores instants in UTC without saying so. What it says that a call cost goes to
`stated`, since the ledger prices calls itself.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from token_ledger_sdk.providers import UsageMissing, reading_of
from token_ledger_sdk.providers.reading import Reading

from token_ledger.imports.copied_table import copied_rows
from token_ledger.imports.counts import count_of
from token_ledger.imports.csv_table import CsvRows, wrong_width
from token_ledger.imports.instants import AUTOMATIC, instant_reader
from token_ledger.imports.json_values import first_line, json_objects, parsed
from token_ledger.imports.model_providers import provider_and_model
from token_ledger.imports.row_keys import key_of_id
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkippedRow, SkipReason, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts

SOURCE: Final = "import-litellm"
TABLE: Final = "LiteLLM_SpendLogs"
AGENT_TYPE: Final = "litellm"
"""The kind of agent of calls of which nobody says it."""
_NEEDED: Final = ("request_id", "model", "prompt_tokens", "completion_tokens", "startTime")
_DUMP: Final = ("--", "COPY ", "SET ", "\\", "BEGIN", "SELECT ")
_TRUE: Final = frozenset({"true", "t", "1"})
_REQUEST_TYPES: Final = {
    "completion": "chat", "acompletion": "chat", "responses": "chat", "aresponses": "chat", "": "chat",
    "anthropic_messages": "chat", "text_completion": "completion", "atext_completion": "completion",
    "embedding": "embedding", "aembedding": "embedding", "rerank": "rerank", "arerank": "rerank",
    "image_generation": "image", "aimage_generation": "image", "transcription": "transcription",
    "atranscription": "transcription", "speech": "speech", "aspeech": "speech", "moderation": "moderation",
    "amoderation": "moderation", "ocr": "ocr", "aocr": "ocr",
}  # fmt: skip
_MOST_TAGS: Final = 8
_LONGEST_NAME: Final = 200
_read_instant: Final = instant_reader(AUTOMATIC, ZoneInfo("UTC"))

Values = Mapping[str, Any]


def read(path: Path, defaults: Defaults, stated: StatedCosts | None = None) -> Iterator[Row]:
    """Yield every row of an export; raises UnreadableFile."""
    for line, values in _values(path):
        yield _row(Place(str(path), line), values, defaults, stated)


def _values(path: Path) -> Iterator[tuple[int, Values]]:
    begin = first_line(path)
    if begin.startswith(("[", "{")):
        for line, value in json_objects(path):
            rows = value.get("data")
            if isinstance(rows, list):  # a page of the newer routes
                yield from ((line, each) for each in rows if isinstance(each, dict))
            else:
                yield line, value
    elif begin.startswith(_DUMP):
        yield from copied_rows(path, TABLE)
    else:
        yield from _of_csv(path)


def _of_csv(path: Path) -> Iterator[tuple[int, Values]]:
    table = CsvRows(path)
    missing = [name for name in _NEEDED if name not in table.header]
    if missing:
        problem = (
            f"there is no column {missing[0]!r}, so this is not the table {TABLE}: export it with "
            f"`\\copy \"{TABLE}\" to 'logs.csv' csv header`, or import it as csv with a mapping"
        )
        raise UnreadableFile(table.place, problem)
    for line, cells in table.rows():
        if len(cells) != len(table.header):
            raise UnreadableFile(Place(str(path), line), wrong_width(len(cells), len(table.header)))
        yield line, dict(zip(table.header, cells, strict=True))


def _row(place: Place, values: Values, defaults: Defaults, stated: StatedCosts | None) -> Row:
    identifier = _text(values.get("request_id"))
    if identifier is None:
        raise UnreadableFile(place, _no_log(values))
    at = _ended(place, values)
    spend = _dollars(values.get("spend"))
    model = _text(values.get("model")) or ""
    if stated is not None and values.get("spend") not in (None, ""):
        stated.add(at[:10], model, spend)
    metadata = _inner(values.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    failed = "failure" in (values.get("status"), metadata.get("status"))
    reading = _reading(values, metadata)
    usage = reading.usage.to_json()
    if not any(usage.values()) and (failed or not spend):
        return SkippedRow(place, SkipReason.NO_USAGE)
    event: dict[str, Any] = {
        "source": SOURCE, "idempotency_key": key_of_id(identifier), "occurred_at": at,
        "agent_type": _text(values.get("agent_id")) or defaults.agent_type or AGENT_TYPE,
        "request_type": _request_type(_text(values.get("call_type")) or ""), "usage": usage,
        "service_tier": reading.service_tier,
        **_who(values, metadata, defaults), **_which(values, model, defaults),
    }  # fmt: skip
    tags = _tags(values, metadata)
    if tags:
        event["tags"] = tags
    measured = _measured(values, metadata, failed=failed)
    if measured:
        event["measured"] = measured
    if str(values.get("cache_hit")).lower() in _TRUE:
        event["type"] = "cache_hit"
    else:
        event |= {"outcome": "error"} if failed else {"response_id": key_of_id(identifier)}
    return CallRow(place, event)


def _no_log(values: Values) -> str:
    if "models" in values or "users" in values:
        return "these are sums by day: ask for the calls, with `/spend/logs?…&summarize=false`"
    return f"the row has no request_id, so this is not the table {TABLE}: see its documentation for what is read"


def _ended(place: Place, values: Values) -> str:
    written = values.get("endTime") or values.get("startTime")
    try:
        return _read_instant(written or "")
    except ValueError as error:
        raise UnreadableFile(place, f"endTime: {error}") from None


def _reading(values: Values, metadata: Values) -> Reading:
    """Return what the call used: as the provider reported it, where that was kept, else the table's own counts."""
    told = metadata.get("usage_object")
    if not isinstance(told, dict) or not told:
        further = metadata.get("additional_usage_values")
        told = dict(further) if isinstance(further, dict) else {}
        for kind in ("prompt_tokens", "completion_tokens", "total_tokens"):
            count = count_of(values.get(kind) or 0)
            told[kind] = count if isinstance(count, int) else 0
    if told.get("pages_processed"):
        told = {"usage_info": told}
    try:
        return reading_of(told)
    except UsageMissing:
        return _NOTHING


_NOTHING: Final = reading_of({"prompt_tokens": 0, "completion_tokens": 0})


def _who(values: Values, metadata: Values, defaults: Defaults) -> dict[str, str]:
    user = _text(values.get("end_user")) or _text(values.get("user")) or defaults.user
    team = _text(metadata.get("user_api_key_team_alias")) or _text(values.get("team_id")) or defaults.cost_center
    said = {"user": user, "cost_center": team}
    return {name: text for name, text in said.items() if text is not None}


def _which(values: Values, model: str, defaults: Defaults) -> dict[str, str]:
    """Return provider and model, the model without its provider before it."""
    provider = _text(values.get("custom_llm_provider"))
    if provider is None and model:
        known, model = provider_and_model(model)
        provider = known or defaults.provider
    elif provider is not None:
        model = model.removeprefix(f"{provider}/")
    said = {"provider": provider, "model": model}
    return {name: text for name, text in said.items() if text}


def _request_type(call_type: str) -> str:
    return _REQUEST_TYPES.get(call_type, call_type)


def _tags(values: Values, metadata: Values) -> dict[str, str]:
    """Return the tags that a name and a value can be made of; LiteLLM's own about the client's program are left out."""
    tags: dict[str, str] = {}
    alias = _text(metadata.get("user_api_key_alias"))
    if alias is not None:
        tags["key"] = alias
    given = _inner(values.get("request_tags"))
    for tag in given if isinstance(given, list) else ():
        if isinstance(tag, str) and not tag.startswith("User-Agent:"):
            name, found, value = tag.partition(":")
            tags.setdefault(name.strip(), value.strip() if found else "yes")
    fitting = [(name, value) for name, value in tags.items() if _is_name(name) and _is_name(value)]
    return dict(fitting[:_MOST_TAGS])


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and len(text.encode(errors="replace")) <= 256


def _measured(values: Values, metadata: Values, *, failed: bool) -> dict[str, Any]:
    begin, end, first = (_instant(values.get(name)) for name in ("startTime", "endTime", "completionStartTime"))
    measured: dict[str, Any] = {}
    if begin is not None and end is not None and end >= begin:
        measured["latency_ms"] = _milliseconds(begin, end)
        if first is not None and begin <= first < end:
            measured["first_token_ms"] = _milliseconds(begin, first)
    error = metadata.get("error_information")
    kind = _text(error.get("error_class")) if failed and isinstance(error, dict) else None
    if kind is not None and len(kind) <= 64 and kind.isprintable():
        measured["error_kind"] = kind
    return measured


def _instant(written: object) -> datetime | None:
    try:
        return datetime.fromisoformat(_read_instant(written)).astimezone(UTC) if written else None
    except ValueError:
        return None


def _milliseconds(begin: datetime, end: datetime) -> int:
    return min(round((end - begin).total_seconds() * 1_000), 365 * 86_400_000)


def _text(value: object) -> str | None:
    text = value.strip() if isinstance(value, str) else "" if value is None else str(value)
    return text or None


def _dollars(value: object) -> Decimal | None:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def _inner(value: object) -> Any:
    """Return what stands in a column of JSON, which CSV and dumps have as text; None if it is none."""
    if not isinstance(value, str):
        return value
    try:
        return parsed(value) if value else None
    except ValueError:
        return None
