"""Owns spans: one per batch. Without a provider they cost nothing; a process that wants them configures one."""

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

BATCH = "token_ledger.batch"
TENANTS = "token_ledger.batch.tenants"
OPERATIONS = "token_ledger.batch.operations"


def tracer() -> trace.Tracer:
    """Return the service's tracer."""
    return trace.get_tracer("token_ledger")


def configure_traces(exporter: SpanExporter) -> TracerProvider:
    """Send spans to an exporter; return the provider, whose shutdown flushes."""
    provider = TracerProvider(resource=Resource.create({"service.name": "token-ledger"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider
