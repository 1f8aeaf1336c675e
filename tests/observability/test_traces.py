"""Spans reach an OTLP collector when the standard OpenTelemetry variables ask for it, and cost nothing otherwise."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

import token_ledger
from tests.faults.clients import Caller, reservation
from tests.faults.processes import COMMAND, PATIENCE_SECONDS, PEPPER, ServiceProcess, free_port, wait_until
from tests.observability.collector import Collector, running_collector
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings
from token_ledger.observability.traces import exported_traces

ONE_SPAN = """
import sys
from token_ledger.observability.traces import batch_span, exported_traces
with exported_traces():
    with batch_span({1: [1, 2], 2: [3]}):
        pass
print("sdk imported" if "opentelemetry.sdk" in sys.modules else "sdk not imported")
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


def _environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**inherited, **variables}


def _make_one_span(**variables: str) -> str:
    """Make a span in a process with these variables; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_SPAN], env=_environment(**variables), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def _reserve(service: ServiceProcess, database_url: str, calls: int) -> None:
    _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), database_url, "acme", "UTC")
    caller = Caller([service.url], key)
    for number in range(calls):
        answer = await caller.post("/v1/reservations", reservation(f"call-{number}", user="ada"))
        assert answer.status_code == 201
    await caller.close()


@pytest.mark.parametrize(
    ("endpoint", "path", "compression"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces", "gzip"),
    ],
)
async def test_a_service_exports_a_span_for_every_batch(
    endpoint: str, path: str, compression: str, collector: Collector, database_url: str, tmp_path: Path
) -> None:
    variables = {
        endpoint: collector.url + path,
        "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=secret",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    service = ServiceProcess(database_url, tmp_path, {}, environment=variables).start()
    try:
        await service.ready()
        await _reserve(service, database_url, 3)
        service.terminate()
        assert await service.exit_status(PATIENCE_SECONDS) == 0
    finally:
        service.end()
    assert service.unexpected_errors() == []
    assert len(collector.spans) >= 3
    for span in collector.spans:
        assert (span.name, span.scope) == ("token_ledger.batch", "token_ledger")
        assert span.attributes == {"token_ledger.batch.tenants": 1, "token_ledger.batch.operations": 1}
        assert span.resource["service.name"] == "token-ledger"
        assert span.resource["service.version"] == token_ledger.__version__
        assert span.resource["deployment.environment.name"] == "test"
    assert set(collector.paths) == {"/v1/traces"}
    for headers in collector.headers:
        assert headers["x-api-key"] == "secret"
        assert headers["content-type"] == "application/x-protobuf"
        assert headers.get("content-encoding", "none") == compression


async def test_a_worker_exports_its_batches(collector: Collector, database_url: str, tmp_path: Path) -> None:
    service = ServiceProcess(database_url, tmp_path, {}).start()
    try:
        await service.ready()
        await _reserve(service, database_url, 1)
        service.terminate()
        await service.exit_status(PATIENCE_SECONDS)
    finally:
        service.end()
    owner = await asyncpg.connect(database_url)
    await owner.execute("update reservations set expires_at = now()")

    async def has_expired() -> bool:
        return bool(await owner.fetchval("select count(*) from reservations where state = 'expired'"))

    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "upkeep"}
    worker = ServiceProcess(database_url, tmp_path, {}, verb="worker", environment=variables).start()
    try:
        await wait_until(has_expired, PATIENCE_SECONDS, "the worker expires the hold")
        worker.terminate()
        assert await worker.exit_status(PATIENCE_SECONDS) == 0
    finally:
        worker.end()
        await owner.close()
    assert {(span.name, span.resource["service.name"]) for span in collector.spans} == {
        ("token_ledger.batch", "upkeep")
    }


async def test_a_collector_that_is_away_does_not_hold_up_the_end(database_url: str, tmp_path: Path) -> None:
    await _ends(f"http://127.0.0.1:{free_port()}", database_url, tmp_path)


async def test_a_collector_that_never_answers_does_not_hold_up_the_end(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = await _ends(f"http://127.0.0.1:{silent.getsockname()[1]}", database_url, tmp_path)
    assert "the last spans were not exported" in service.log.read_text()


async def _ends(endpoint: str, database_url: str, directory: Path) -> ServiceProcess:
    """Check that a service ends long before its exporter, which waits for an hour, gives the collector up."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
    service = ServiceProcess(database_url, directory, {}, environment=variables).start()
    try:
        await service.ready()
        await _reserve(service, database_url, 1)
        service.terminate()
        assert await service.exit_status(PATIENCE_SECONDS) == 0
    finally:
        service.end()
    return service


def test_without_variables_the_sdk_is_not_imported() -> None:
    assert _make_one_span() == "sdk not imported\n"


def test_a_span_of_a_batch_that_failed_has_the_kind_of_the_error_and_not_its_text(collector: Collector) -> None:
    failing = ONE_SPAN.replace("        pass", "        raise ValueError('what somebody sent')")
    failing = failing.replace("with exported", "import contextlib\nwith contextlib.suppress(ValueError), exported")
    done = subprocess.run(
        [sys.executable, "-c", failing],
        env=_environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [span] = collector.spans
    assert span.attributes["error.type"] == "ValueError"
    assert "STATUS_CODE_ERROR" in collector.received()
    assert "somebody" not in collector.received()


def test_spans_count_tenants_and_operations(collector: Collector) -> None:
    assert _make_one_span(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) == "sdk imported\n"
    [span] = collector.spans
    assert span.attributes == {"token_ledger.batch.tenants": 2, "token_ledger.batch.operations": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")],
)
def test_variables_that_turn_the_export_off(name: str, value: str, collector: Collector) -> None:
    _make_one_span(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **{name: value})
    assert collector.spans == []


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"OTEL_SERVICE_NAME": "ledger-eu"}, "ledger-eu"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ledger-us"}, "ledger-us"),
        ({"OTEL_SERVICE_NAME": "ledger-eu", "OTEL_RESOURCE_ATTRIBUTES": "service.name=ledger-us"}, "ledger-eu"),
    ],
)
def test_the_environment_may_name_the_service(variables: dict[str, str], name: str, collector: Collector) -> None:
    _make_one_span(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **variables)
    assert [span.resource["service.name"] for span in collector.spans] == [name]


def test_console_prints_spans() -> None:
    assert '"name": "token_ledger.batch"' in _make_one_span(OTEL_TRACES_EXPORTER="console")


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: 'zipkin' is not supported; use otlp, console or none",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' is not supported; use http/protobuf or grpc",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: grpc needs a package that is not installed:"
            " pip install opentelemetry-exporter-otlp-proto-grpc",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' must begin with http:// or https://",
        ),
    ],
)
def test_values_that_are_not_supported_are_named(
    variables: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"), exported_traces():
        pass


@pytest.mark.parametrize("verb", ["serve", "worker"])
def test_a_value_that_is_not_supported_ends_the_command(verb: str, database_url: str, tmp_path: Path) -> None:
    settings = {"TOKEN_LEDGER_DATABASE_URL": database_url, "TOKEN_LEDGER_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [COMMAND, verb],
        env=_environment(**settings, OTEL_TRACES_EXPORTER="zipkin"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "token-ledger: OTEL_TRACES_EXPORTER: 'zipkin' is not supported; use otlp, console or none\n"
