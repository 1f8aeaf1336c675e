"""Reads traces in the JSON of OTLP: a document, or a line for each batch, as the file exporter of a collector writes.

Counted are spans that say what a model used, by the conventions of OpenTelemetry (`gen_ai.*`), of OpenInference and of
the libraries before them. Other spans, metrics and logs are no calls.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from token_ledger.imports import attributes as attributes_of
from token_ledger.imports import calls
from token_ledger.imports.calls import Malformed
from token_ledger.imports.json_lines import files_of, kind_of
from token_ledger.imports.rows import Defaults, Row, SkipReason
from token_ledger.imports.span_usage import usage_of_attributes
from token_ledger.imports.spans import Span, SpanCall, rows_of_spans

SOURCE = "otlp"
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAILED = (2, "2", "STATUS_CODE_ERROR")
_VALUES = ("stringValue", "intValue", "doubleValue", "boolValue")


def read(paths: Sequence[Path], defaults: Defaults) -> Iterator[Row]:
    """Yield the calls of traces, and how many of their spans are none; raises UnreadableFile."""
    return rows_of_spans(files_of(paths, SUFFIXES), _spans_in, SOURCE, defaults)


def _spans_in(value: dict[str, Any]) -> Iterator[Span | SkipReason]:
    if _either(value, "resourceSpans", "resource_spans") is None:
        if not any(name.startswith("resource") for name in value):
            raise Malformed("this is no OTLP: an object with resourceSpans must stand here")
        yield SkipReason.NO_CALL  # metrics or logs
    for resource_spans in _list(value, "resourceSpans", "resource_spans"):
        resource = calls.object_in(resource_spans, "resource") or {}
        shared = _attributes(resource)
        for scope_spans in _list(resource_spans, "scopeSpans", "scope_spans", "instrumentationLibrarySpans"):
            for span in _list(scope_spans, "spans"):
                yield _span(span, shared)


def _span(span: dict[str, Any], shared: Mapping[str, Any]) -> Span:
    attributes = _attributes(span)
    names = [_text(span, *each) for each in (("traceId", "trace_id"), ("spanId", "span_id"))]
    if not all(names):
        raise Malformed("a span has no traceId and spanId; both must be there, as texts")

    def read_call() -> SpanCall:
        ended = _either(span, "endTimeUnixNano", "end_time_unix_nano")
        # The resource says what all spans of a process have in common, such as its user.
        call = attributes_of.call_of({**shared, **attributes}, _instant(ended))
        status = calls.object_in(span, "status") or {}
        call.failed = status.get("code") in _FAILED
        service = attributes_of.first_text(shared, ("service.name",))
        call.tags |= calls.tags_of(service=service)
        return call

    return Span(
        trace_id=names[0] or "",
        span_id=names[1] or "",
        parent_id=_text(span, "parentSpanId", "parent_span_id"),
        kind=attributes_of.kind_of_span(attributes),
        usage=usage_of_attributes(attributes),
        read_call=read_call,
    )


def _attributes(value: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span or resource that are texts or numbers, by their names."""
    found: dict[str, Any] = {}
    for attribute in _list(value, "attributes"):
        key, inner = attribute.get("key"), attribute.get("value")
        if inner is None:
            continue
        if not isinstance(key, str) or not isinstance(inner, dict):
            raise Malformed("an attribute must be an object with a key and a value, as in {'key': 'k', 'value': {…}}")
        for kind in _VALUES:
            if kind in inner:
                found[key] = inner[kind]
    return found


def _instant(nanoseconds: object) -> str:
    """Return an instant that is written as nanoseconds since 1970, mostly as a text."""
    if isinstance(nanoseconds, str) and nanoseconds.isdecimal() and len(nanoseconds) <= 20:
        nanoseconds = int(nanoseconds)
    if not isinstance(nanoseconds, int) or isinstance(nanoseconds, bool) or not 0 < nanoseconds < 2**64:
        said = kind_of(nanoseconds) if nanoseconds is None or isinstance(nanoseconds, dict | list) else "no instant"
        raise Malformed(f"endTimeUnixNano is {said}; it must be nanoseconds since 1970, such as 1763717400000000000")
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1_000)).isoformat()


def _either(value: Mapping[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _text(value: Mapping[str, Any], *names: str) -> str | None:
    return next((found for name in names if (found := calls.text_in(value, name)) is not None), None)


def _list(value: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    found = _either(value, *names)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Malformed(f"{names[0]} is {kind_of(found)}; it must be a list of objects, [{{…}}]")
    return found
