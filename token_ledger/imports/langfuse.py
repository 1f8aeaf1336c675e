"""Reads exports of Langfuse: a trace with its observations, pages and lists of them, or an observation on each line.

Counted are observations that say what a model used. Those without traces around them, as in exports to blob storage,
name their trace and parent, and where the export is an enriched one, the user and session.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from token_ledger_sdk.providers import STANDARD
from token_ledger_sdk.providers.reading import tier_named

from token_ledger.imports import attributes as attributes_of
from token_ledger.imports import calls
from token_ledger.imports.calls import Malformed
from token_ledger.imports.json_lines import files_of, kind_of, value_of
from token_ledger.imports.rows import Defaults, Row, SkipReason
from token_ledger.imports.span_usage import SpanUsage, usage_of_details
from token_ledger.imports.spans import EMBEDDING, Kind, Span, SpanCall, merged_tags, rows_of_spans

SOURCE = "langfuse"
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_TIME_ZONE = ZoneInfo("UTC")
"""Exports to blob storage write instants of UTC without saying so."""
_CALLS = ("GENERATION", "EMBEDDING")
_USAGE = ("usageDetails", "usage_details", "usage")
_OLD_USAGE = {
    "input": ("inputUsage", "promptTokens", "input_usage"),
    "output": ("outputUsage", "completionTokens", "output_usage"),
    "total": ("totalUsage", "totalTokens", "total_usage"),
}
_Object = Mapping[str, Any]


def read(paths: Sequence[Path], defaults: Defaults) -> Iterator[Row]:
    """Yield the calls of traces, and how many of their observations are none; raises UnreadableFile."""
    return rows_of_spans(files_of(paths, SUFFIXES), _spans_of, SOURCE, defaults)


def _spans_of(value: dict[str, Any]) -> Iterator[Span | SkipReason]:
    for each in _objects_in(value, "data"):
        yield from _spans_in(each)


def _spans_in(value: dict[str, Any]) -> Iterator[Span | SkipReason]:
    """Yield the observations of a trace, or the one that this is."""
    trace = calls.object_in(value, "trace") or value
    observations = value.get("observations", trace.get("observations"))
    if isinstance(observations, list):
        for observation in observations:
            if isinstance(observation, dict):
                yield _span(observation, trace)
            else:
                yield SkipReason.NO_CALL  # in lists of traces, only the ids
    elif _either(value, "traceId", "trace_id") is not None and "type" in value:
        yield _span(value, {})
    elif "timestamp" in trace and "id" in trace:
        yield SkipReason.NO_CALL  # a trace, whose observations are in another file
    else:
        raise Malformed("this is no export of Langfuse: a trace with observations, or an observation, must stand here")


def _span(observation: dict[str, Any], trace: _Object) -> Span:
    span_id = calls.text_in(observation, "id")
    trace_id = _text(observation, "traceId", "trace_id") or calls.text_in(trace, "id")
    if span_id is None or trace_id is None:
        raise Malformed("an observation has no id and traceId; both must be there, as texts")
    kind = (calls.text_in(observation, "type") or "").upper()
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_text(observation, "parentObservationId", "parent_observation_id"),
        kind=Kind.CALL if kind in _CALLS else Kind.TOOL if kind == "TOOL" else Kind.OTHER,
        usage=_usage(observation),
        read_call=lambda: _call(observation, trace, kind),
    )


def _usage(observation: _Object) -> SpanUsage | None:
    found = _either(observation, *_USAGE)
    details = _parsed(found) if isinstance(found, str) else found
    if details is not None and not isinstance(details, dict):
        raise Malformed(f"usageDetails is {kind_of(details)}; it must be an object, {{…}}")
    usage = usage_of_details(details or {})
    if usage is not None:
        return usage
    return usage_of_details({kind: _either(observation, *names) or 0 for kind, names in _OLD_USAGE.items()})


def _call(observation: _Object, trace: _Object, kind: str) -> SpanCall:
    metadata = _object(observation.get("metadata"))
    # Some values within are texts of JSON as well, with quotation marks.
    plain = {name: _parsed(found) if isinstance(found, str) else found for name, found in metadata.items()}
    attributes = {**plain, **_object(metadata.get("attributes"))}
    ended = _either(observation, "endTime", "end_time", "startTime", "start_time")
    call = attributes_of.call_of(attributes, calls.instant_of(ended, "endTime", _TIME_ZONE))
    # What Langfuse shows as the model is what the response said, or else what was asked for.
    shown = _text(observation, "model", "providedModelName", "provided_model_name")
    call.requested_model = call.requested_model or shown
    call.response_model = shown or call.response_model
    call.user = _text(observation, "userId", "user_id") or _text(trace, "userId", "user_id") or call.user
    call.failed = calls.text_in(observation, "level") == "ERROR"
    if kind == "EMBEDDING":
        call.request_type = EMBEDDING
    if call.service_tier == STANDARD:
        parameters = _object(_either(observation, "modelParameters", "model_parameters"))
        call.service_tier = tier_named(parameters.get("service_tier"))
    call.tags = merged_tags(_tags(observation, trace), call.tags)
    return call


def _tags(observation: _Object, trace: _Object) -> dict[str, str]:
    """Return session and environment, and the tags of the trace: `team:core` names its value, others are `true`."""
    session = _text(observation, "sessionId", "session_id") or _text(trace, "sessionId", "session_id")
    environment = calls.text_in(observation, "environment")
    tags = calls.tags_of(session=session, environment=None if environment == "default" else environment)
    listed = _either(observation, "tags") or trace.get("tags")
    for tag in listed if isinstance(listed, list) else ():
        if isinstance(tag, str):
            name, _, value = tag.partition(":")
            name = calls.name_of(name) or ""
            tags |= calls.tags_of(**{name: value or "true"}) if name else {}
    return tags


def _objects_in(value: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a page, or the only one."""
    page = value.get(name)
    if not isinstance(page, list):
        yield value
        return
    for each in page:
        if not isinstance(each, dict):
            raise Malformed(f"an item of {name} is {kind_of(each)}; it must be an object, {{…}}")
        yield each


def _object(value: object) -> dict[str, Any]:
    """Return an object that may be written as a text of JSON; an empty one for anything else."""
    found = _parsed(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else {}


def _parsed(text: str) -> object:
    try:
        return value_of(text)
    except ValueError:
        return text


def _either(value: _Object, *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _text(value: _Object, *names: str) -> str | None:
    return next((found for name in names if (found := calls.text_in(value, name)) is not None), None)
