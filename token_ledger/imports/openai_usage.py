"""Reads OpenAI's usage of an organization, as `/v1/organization/usage/…` answers; a result of a bucket is a sum.

It is booked at the start of its bucket. `input_tokens` includes cached tokens. Export finished buckets, and always with
the same `group_by`: a result that is grouped otherwise is another one, and would be booked besides.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from token_ledger_sdk.providers.reading import tier_named

from token_ledger.imports.aggregates import key_of, parts_of
from token_ledger.imports.json_values import Object
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkippedRow, SkipReason, UnreadableFile
from token_ledger.imports.usage_buckets import count, model_of, results_of, tags_of

SOURCE: Final = "import-openai-usage"
AGENT_TYPE: Final = "openai-usage"
PROVIDER: Final = "openai"
_RESULT: Final = "organization.usage."
_COSTS: Final = "organization.costs."
_TAGS: Final = {"project": "project_id", "api_key": "api_key_id"}
_GROUPED_BY: Final = (
    "project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "source", "size", "api_source",
)  # fmt: skip
_PIECES: Final = {
    "images": ("images", "images"),
    "audio_speeches": ("characters", "characters"),
    "audio_transcriptions": ("seconds", "audio_seconds"),
}
"""What is counted by the piece: the kind of result, its field, and what the ledger calls it."""
_REQUEST_TYPES: Final = {
    "completions": "chat", "embeddings": "embedding", "moderations": "moderation", "images": "image",
    "audio_speeches": "speech", "audio_transcriptions": "transcription",
}  # fmt: skip


def read(path: Path, defaults: Defaults) -> Iterator[Row]:
    """Yield the rows that the results of a file are booked as; raises UnreadableFile."""
    for place, bucket, result in results_of(path, "start_time"):
        yield from _rows(place, bucket, result, defaults)


def _rows(place: Place, bucket: Object, result: Object, defaults: Defaults) -> Iterator[Row]:
    kind = kind_of(place, result)
    if kind not in _REQUEST_TYPES:
        yield SkippedRow(place, SkipReason.NO_CALL)  # storage and sessions, which are no calls of a model
        return
    usage = usage_of(place, kind, result)
    if not any(usage.values()):
        yield SkippedRow(place, SkipReason.NO_USAGE)
        return
    event: dict[str, Any] = {
        "source": SOURCE,
        "idempotency_key": key_of(kind, bucket["start_time"], *(result.get(name) for name in _GROUPED_BY)),
        "agent_type": defaults.agent_type or AGENT_TYPE,
        "provider": PROVIDER, "model": model_of(place, result), "usage": usage,
        "occurred_at": begin_of(place, bucket), "request_type": _REQUEST_TYPES[kind],
        "service_tier": "batch" if result.get("batch") is True else tier_named(result.get("service_tier")),
        "tags": tags_of(result, _TAGS),
    }  # fmt: skip
    user = result.get("user_id") or defaults.user
    event |= {} if user is None else {"user": str(user)}
    event |= {} if defaults.cost_center is None else {"cost_center": defaults.cost_center}
    requests = count(place, result, "num_model_requests") or None
    for part in parts_of(event, requests=requests):
        yield CallRow(place, part)


def kind_of(place: Place, result: Object) -> str:
    """Return what kind of calls a result sums up, such as `completions`."""
    name = result.get("object")
    if isinstance(name, str) and name.startswith(_COSTS):
        raise UnreadableFile(place, "these are costs, which say no tokens: compare them with the ledger's instead")
    if not (isinstance(name, str) and name.startswith(_RESULT)):
        raise UnreadableFile(place, f"a result must be an {_RESULT}….result, not {name!r}: save the answer as it came")
    return name.removeprefix(_RESULT).removesuffix(".result")


def usage_of(place: Place, kind: str, result: Object) -> dict[str, int]:
    """Return the usage of a result. Where cached audio is counted by itself, the other count of audio is without it."""
    if kind in _PIECES:
        field, unit = _PIECES[kind]
        return {"input_tokens": 0, "output_tokens": 0, unit: count(place, result, field)}
    counts = {
        "input_tokens": count(place, result, "input_tokens"),
        "output_tokens": count(place, result, "output_tokens"),
        "cache_read_tokens": count(place, result, "input_cached_tokens"),
        "cache_write_5m_tokens": count(place, result, "input_cache_write_tokens"),
        "audio_cache_read_tokens": count(place, result, "input_cached_audio_tokens"),
        "image_cache_read_tokens": count(place, result, "input_cached_image_tokens"),
        "audio_input_tokens": count(place, result, "input_audio_tokens"),
        "image_input_tokens": count(place, result, "input_image_tokens"),
        "audio_output_tokens": count(place, result, "output_audio_tokens"),
        "image_output_tokens": count(place, result, "output_image_tokens"),
    }
    counts["audio_input_tokens"] += counts["audio_cache_read_tokens"]
    counts["image_input_tokens"] += counts["image_cache_read_tokens"]
    return {name: number for name, number in counts.items() if number or name in ("input_tokens", "output_tokens")}


def begin_of(place: Place, bucket: Object) -> str:
    """Return when a bucket begins, in UTC."""
    try:
        return datetime.fromtimestamp(bucket["start_time"], UTC).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        problem = f"start_time is {bucket['start_time']!r}: it must be seconds since 1970; save the answer as it came"
        raise UnreadableFile(place, problem) from None
