"""Owns spans: one for every batch, exported over OTLP when the standard OpenTelemetry variables ask for it.

OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT turns the export on, and so does OTEL_TRACES_EXPORTER
(`otlp`, `console` or `none`). The OpenTelemetry SDK reads the others itself: OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT,
_COMPRESSION, _CERTIFICATE, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*. With none of
them set, or with OTEL_SDK_DISABLED=true, the SDK is not even imported and a span costs one comparison.
"""

import importlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

import token_ledger

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

BATCH = "token_ledger.batch"
TENANTS = "token_ledger.batch.tenants"
OPERATIONS = "token_ledger.batch.operations"
ERROR = "error.type"

FLUSH_SECONDS = 5.0
"""How long the end of a process waits for the last spans: a collector that is away must not hold up a restart."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# The module with the exporter of each protocol, and the package that brings it.
_OTLP_EXPORTERS = {
    "http/protobuf": (
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "opentelemetry-exporter-otlp-proto-http",
    ),
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "opentelemetry-exporter-otlp-proto-grpc"),
}

log = logging.getLogger(__name__)

_NO_SPAN = nullcontext()
_tracer: trace.Tracer | None = None
"""None while nothing is exported."""


def batch_span(batch: Mapping[Any, Sized]) -> AbstractContextManager[object]:
    """Return the span of a batch, given its commands by tenant, as a context manager."""
    if _tracer is None:
        return _NO_SPAN
    attributes = {TENANTS: len(batch), OPERATIONS: sum(map(len, batch.values()))}
    return _span(_tracer, attributes)


@contextmanager
def _span(tracer: trace.Tracer, attributes: Mapping[str, int]) -> Iterator[None]:
    """Make a span of a batch. One that fails says of which kind the error is: its text may quote what callers sent."""
    making = tracer.start_as_current_span(
        BATCH, attributes=attributes, record_exception=False, set_status_on_exception=False
    )
    with making as span:
        try:
            yield
        except Exception as error:
            span.set_attribute(ERROR, type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


@contextmanager
def exported_traces() -> Iterator[None]:
    """Export the spans made within the block if the environment asks for it; flush them at its end.

    Raises ValueError if a variable has a value that is not supported, or asks for a package that is not installed.
    """
    global _tracer
    exporters = [_exporter(name) for name in _exporter_names()]
    if not exporters:
        yield
        return
    provider = _provider(exporters)
    trace.set_tracer_provider(provider)
    _tracer = provider.get_tracer("token_ledger", token_ledger.__version__)
    try:
        yield
    finally:
        _tracer = None
        _flush(provider)


def _exporter_names() -> list[str]:
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        return []
    given = _variable("OTEL_TRACES_EXPORTER").lower()
    if not given:
        return ["otlp"] if any(map(_variable, _ENDPOINTS)) else []
    names = [name.strip() for name in given.split(",")]
    return [] if names == ["none"] else names


def _exporter(name: str) -> "SpanExporter":
    if name == "otlp":
        return _otlp_exporter()
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    raise ValueError(f"OTEL_TRACES_EXPORTER: {name!r} is not supported; use otlp, console or none")


def _otlp_exporter() -> "SpanExporter":
    variable = next(filter(_variable, _PROTOCOLS), _PROTOCOLS[-1])
    protocol = _variable(variable).lower() or "http/protobuf"
    if protocol not in _OTLP_EXPORTERS:
        raise ValueError(f"{variable}: {protocol!r} is not supported; use http/protobuf or grpc")
    if protocol == "http/protobuf":
        _check_endpoint()
    module, package = _OTLP_EXPORTERS[protocol]
    try:
        exporter: SpanExporter = importlib.import_module(module).OTLPSpanExporter()
    except ModuleNotFoundError:
        raise ValueError(
            f"{variable}: {protocol} needs a package that is not installed: pip install {package}"
            " (or leave the variable out: http/protobuf is built in)"
        ) from None
    return exporter


def _check_endpoint() -> None:
    for variable in _ENDPOINTS:
        endpoint = _variable(variable)
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError(f"{variable}: {endpoint!r} must begin with http:// or https://")


def _provider(exporters: list["SpanExporter"]) -> "TracerProvider":
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Attributes from the environment override ours.
    own = {"service.name": "token-ledger", "service.version": token_ledger.__version__}
    resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _flush(provider: "TracerProvider") -> None:
    flushing = threading.Thread(target=provider.shutdown, name="flush-spans", daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)
    if flushing.is_alive():
        log.warning("the last spans were not exported", extra={"waited_seconds": FLUSH_SECONDS})


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()
