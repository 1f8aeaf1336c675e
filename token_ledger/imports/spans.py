"""Owns what a span of a trace is, and which spans are calls.

Frameworks repeat the usage of calls on the spans around them: an agent has the sum of its generations, and a library's
span that of the one within. So a span with usage that has another one below it is no call, unless a tool stands between
them: a generation whose tool runs another agent is a call itself. Spans arrive in any order, children mostly first and
often in another file, so all files are read twice: for who stands above whom, and for the calls.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any

from token_ledger_sdk.providers import STANDARD, Reading, served_model

from token_ledger.imports import calls
from token_ledger.imports.calls import Malformed
from token_ledger.imports.json_lines import SkippedRows, check_can_be_read_again, is_empty
from token_ledger.imports.json_values import UnfinishedLine, json_objects
from token_ledger.imports.rows import CallRow, Defaults, Place, Row, SkipReason, UnreadableFile
from token_ledger.imports.span_usage import SpanUsage

EMBEDDING = "embedding"
LONGEST_TRACE = 32 * 2**20
"""Characters of a line, or of one object in a list: of a trace with all its prompts and answers."""
_MOST_TAGS = 8
_PROVIDERS = (
    ("gcp.", "google"), ("google", "google"), ("vertex", "google"), ("gemini", "google"), ("az.", "azure"),
    ("azure", "azure"), ("aws", "aws"), ("bedrock", "aws"), ("amazon", "aws"), ("x_ai", "x-ai"), ("xai", "x-ai"),
    ("mistral", "mistral"), ("openai", "openai"), ("anthropic", "anthropic"), ("cohere", "cohere"),
)  # fmt: skip
"""What names of providers begin with in traces, such as gcp.vertex.agent, and the name in the price data."""
_NO_PROVIDERS = frozenset({"langchain", "llamaindex", "llama_index", "litellm", "crewai", "_other", "other", "unknown"})
"""Names of frameworks that some libraries give as the provider."""


class Kind(Enum):
    """What a span stands for, as far as it matters."""

    CALL = "call of a model"
    TOOL = "tool"
    OTHER = "something else"


@dataclass(slots=True)
class Span:
    """A span: where it stands in its trace, and what it says about a call."""

    trace_id: str
    span_id: str
    parent_id: str | None
    kind: Kind
    usage: SpanUsage | None
    read_call: Callable[[], "SpanCall"]
    """What it says about the call; only calls are asked."""

    @property
    def has_usage(self) -> bool:
        """Whether it says that anything was used."""
        used = None if self.usage is None else self.usage.usage
        return used is not None and bool(used.input_tokens or used.output_tokens)


@dataclass(slots=True)
class SpanCall:
    """What a span says about a call besides its figures; `ended` is RFC 3339."""

    ended: str
    requested_model: str | None
    response_model: str | None
    provider: str | None
    user: str | None
    agent: str | None
    response_id: str | None = None
    failed: bool = False
    service_tier: str = STANDARD
    request_type: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


Read = Callable[[dict[str, Any]], Iterator[Span | SkipReason]]
"""Yields the spans of a document or line, and why its other rows are none; raises Malformed."""


def rows_of_spans(files: Sequence[Path], read: Read, source: str, defaults: Defaults) -> Iterator[Row]:
    """Yield the calls of traces, and the rows that are none; raises UnreadableFile."""
    above = _Above()
    for path in files:
        check_can_be_read_again(path)
        for _, found in _placed(path, read):
            if isinstance(found, Span):
                above.add(found)
    repeated = above.spans_with_calls_below()
    seen: set[int] = set()
    for path in files:
        skipped = SkippedRows(path)
        for number, found in _placed(path, read):
            reason = found if isinstance(found, SkipReason) else _reason(found, seen, repeated)
            if isinstance(found, SkipReason) or reason is not None:
                skipped.add(reason or SkipReason.NO_CALL, number)
                continue
            place = Place(str(path), number)
            try:
                yield CallRow(place, _event(found, source, defaults))
            except Malformed as error:
                raise UnreadableFile(place, f"span {found.span_id[:40]!r}: {error}") from None
        yield from skipped.rows()


def provider_named(name: str | None) -> str | None:
    """Return a provider by the name of the price data, None for a name that is that of a framework."""
    if name is None or (lower := name.strip().lower()) in _NO_PROVIDERS:
        return None
    return next((provider for begin, provider in _PROVIDERS if lower.startswith(begin)), calls.name_of(lower))


def merged_tags(*parts: dict[str, str]) -> dict[str, str]:
    """Return as many tags as a call may have, the first ones before others."""
    merged: dict[str, str] = {}
    for part in parts:
        for name, value in part.items():
            if len(merged) < _MOST_TAGS:
                merged.setdefault(name, value)
    return merged


class _Above:
    """Who stands above whom, of all spans, by numbers made of their ids."""

    def __init__(self) -> None:
        self._parents: dict[int, tuple[int | None, bool]] = {}
        self._with_usage: list[int] = []

    def add(self, span: Span) -> None:
        """Take in a span."""
        own = _number(span.trace_id, span.span_id)
        parent = None if not span.parent_id else _number(span.trace_id, span.parent_id)
        self._parents[own] = parent, span.kind is Kind.TOOL
        if span.has_usage:
            self._with_usage.append(own)

    def spans_with_calls_below(self) -> dict[int, bool]:
        """Return the spans that have usage below them; True where a tool stands between them and all of it."""
        found: dict[int, bool] = {}
        for number in self._with_usage:
            behind_tool = False
            above, _ = self._parents[number]
            # What is marked already has marked all that is above it.
            while above is not None and found.get(above, True) and found.get(above) is not behind_tool:
                found[above] = behind_tool
                parent, is_tool = self._parents.get(above, (None, False))
                behind_tool = behind_tool or is_tool
                above = parent
        return found


def _placed(path: Path, read: Read) -> Iterator[tuple[int, Span | SkipReason]]:
    """Yield what a file has, each with the line of the document it is in."""
    if is_empty(path):
        return  # an exporter has opened it
    try:
        for line, value in json_objects(path, LONGEST_TRACE):
            try:
                for found in read(value):
                    yield line, found
            except Malformed as error:
                raise UnreadableFile(Place(str(path), line), str(error)) from None
    except UnfinishedLine as error:
        yield error.place.line, SkipReason.UNFINISHED_LINE


def _reason(span: Span, seen: set[int], repeated: dict[int, bool]) -> SkipReason | None:
    """Return why a span is no call of its own, None if it is one."""
    number = _number(span.trace_id, span.span_id)
    if number in seen:
        return SkipReason.SAME_CALL
    seen.add(number)
    if not span.has_usage:
        return SkipReason.NO_USAGE if span.kind is Kind.CALL else SkipReason.NO_CALL
    behind_tool = repeated.get(number)
    if behind_tool is None or (behind_tool and span.kind is Kind.CALL):
        return None
    return SkipReason.PARENT


def _number(trace_id: str, span_id: str) -> int:
    text = f"{trace_id}\n{span_id}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=12).digest(), "big")


def _event(span: Span, source: str, defaults: Defaults) -> dict[str, Any]:
    assert span.usage is not None
    call = span.read_call()
    model, provider = _model_and_provider(span.usage, call, defaults)
    event: dict[str, Any] = {
        "source": source,
        "idempotency_key": calls.key_of(span.trace_id, span.span_id),
        "agent_type": calls.name_of(call.agent) or defaults.agent_type or source,
        "provider": provider,
        "model": model,
        "usage": span.usage.usage.to_json(),
        "occurred_at": call.ended,
        "tags": call.tags,
    }
    calls.add_owner(event, defaults, call.user)
    if call.response_id is not None:
        event["response_id"] = call.response_id
    if call.request_type is not None:
        event["request_type"] = call.request_type
    if call.failed:
        event["outcome"] = "error"
    is_whole = span.usage.is_whole or call.request_type == EMBEDDING
    calls.add_rare(event, tier=call.service_tier, estimated=not is_whole, finish_reason=None)
    return event


def _model_and_provider(usage: SpanUsage, call: SpanCall, defaults: Defaults) -> tuple[str, str]:
    requested, response = _bare_model(call.requested_model), _bare_model(call.response_model)
    named = requested or response
    model = calls.required_name(named, "the model", "a span with usage must name it, as gen_ai.request.model does")
    provider = provider_named(call.provider) or calls.provider_of_model(call.requested_model or model)
    provider = provider or defaults.provider
    if provider is None:
        raise Malformed(f"nothing says whose model {model!r} is; name the provider of all calls that do not say it")
    if response is not None and requested is not None:
        model = served_model(provider, model, Reading(usage.usage, response)) or model
    return calls.required_name(model, "the model", "it must be the name of a model"), provider


def _bare_model(name: str | None) -> str | None:
    """Return a model without where it runs: projects/p/locations/l/publishers/google/models/gemini-2.5-flash."""
    if name is None or "/models/" not in name:
        return name
    return name.rpartition("/models/")[2]
