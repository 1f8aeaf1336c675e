"""Reads Anthropic's usage report, as `/v1/organizations/usage_report/messages` answers; a result of a bucket is a sum.

It is booked at the start of its bucket. Input is reported without what was read from or written to a cache. Export
finished buckets, and always with the same `group_by`: a result that is grouped otherwise is another one, and would be
booked besides. With `context_window` among them, very long prompts are known as such.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from token_ledger_sdk.providers import usage_from_anthropic
from token_ledger_sdk.providers.reading import tier_named

from token_ledger.imports.aggregates import key_of, parts_of
from token_ledger.imports.instants import AUTOMATIC, instant_reader
from token_ledger.imports.json_values import Object
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkippedRow, SkipReason, UnreadableFile
from token_ledger.imports.usage_buckets import count, model_of, results_of, tags_of

SOURCE: Final = "import-anthropic-usage"
AGENT_TYPE: Final = "anthropic-usage"
PROVIDER: Final = "anthropic"
_TAGS: Final = {
    "workspace": "workspace_id", "api_key": "api_key_id", "context_window": "context_window",
    "inference_geo": "inference_geo",
}  # fmt: skip
_GROUPED_BY: Final = (
    "account_id", "service_account_id", "workspace_id", "api_key_id", "model", "service_tier", "context_window",
    "inference_geo", "speed",
)  # fmt: skip
_LONG: Final = "200k-1M"
_read_instant: Final = instant_reader(AUTOMATIC, None)


def read(path: Path, defaults: Defaults) -> Iterator[Row]:
    """Yield the rows that the results of a file are booked as; raises UnreadableFile."""
    for place, bucket, result in results_of(path, "starting_at"):
        yield from _rows(place, bucket, result, defaults)


def _rows(place: Place, bucket: Object, result: Object, defaults: Defaults) -> Iterator[Row]:
    if "amount" in result:
        raise UnreadableFile(place, "these are costs, which say no tokens: compare them with the ledger's instead")
    usage = usage_of(place, result)
    if not any(usage.values()):
        yield SkippedRow(place, SkipReason.NO_USAGE)
        return
    begin = begin_of(place, bucket)
    event: dict[str, Any] = {
        "source": SOURCE, "idempotency_key": key_of(begin, *(result.get(name) for name in _GROUPED_BY)),
        "agent_type": defaults.agent_type or AGENT_TYPE,
        "provider": PROVIDER, "model": model_of(place, result), "usage": usage, "occurred_at": begin,
        "service_tier": tier_named(result.get("speed"), result.get("service_tier")), "tags": tags_of(result, _TAGS),
    }  # fmt: skip
    user = result.get("account_id") or result.get("service_account_id") or defaults.user
    event |= {} if user is None else {"user": str(user)}
    event |= {} if defaults.cost_center is None else {"cost_center": defaults.cost_center}
    for part in parts_of(event, requests=None, long_prompts=result.get("context_window") == _LONG):
        yield CallRow(place, part)


def usage_of(place: Place, result: Object) -> dict[str, int]:
    """Return the usage of a result, read as that of a response, whose input has another name."""
    names = ("uncached_input_tokens", "cache_read_input_tokens", "output_tokens")
    counts = {name: count(place, result, name) for name in names}
    written = result.get("cache_creation")
    written = written if isinstance(written, dict) else {
        f"ephemeral_{ttl}_input_tokens": result.get(f"cache_creation_{ttl}_input_tokens") for ttl in ("5m", "1h")
    }  # fmt: skip
    for name in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"):
        count(place, written, name)
    response = {
        **counts, "input_tokens": counts["uncached_input_tokens"], "cache_creation": written,
        "cache_creation_input_tokens": result.get("cache_creation_input_tokens"),
        "server_tool_use": result.get("server_tool_use"),
    }  # fmt: skip
    return {
        name: number
        for name, number in usage_from_anthropic(response).to_json().items()
        if number or name in ("input_tokens", "output_tokens")
    }


def begin_of(place: Place, bucket: Object) -> str:
    """Return when a bucket begins, in UTC."""
    try:
        return _read_instant(bucket["starting_at"])
    except ValueError as error:
        raise UnreadableFile(place, f"starting_at: {error}") from None
