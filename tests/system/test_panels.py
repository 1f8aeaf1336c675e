"""The dashboard and the alert rules against a real Prometheus that scrapes real metrics.

Parsing queries would not notice a label that no metric has; here every query of every panel must return values. Windows
are seconds, so that 15 seconds show what otherwise takes hours.
"""

import json
import math
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from token_ledger.observability.metrics import BookedCalls, BudgetUse, Metrics
from token_ledger.observability.requested_figures import REQUESTED_FIGURES

pytestmark = pytest.mark.system

DASHBOARDS: Final = Path(__file__).parents[2] / "dashboards"
WINDOW: Final = "8s"
PATIENCE_SECONDS: Final = 120.0
"""When a test is given up that waits for what Prometheus never shows."""

# Ignore proxies that the environment names: everything is on the loopback interface.
OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def panel_queries() -> dict[str, str]:
    """Return each panel's expressions with Grafana's variables filled in, by panel title and legend."""
    dashboard = json.loads((DASHBOARDS / "grafana" / "token-ledger.json").read_text(encoding="utf-8"))
    return {
        f"{panel['title']} / {target['legendFormat']}": target["expr"]
        .replace("$tenant", ".*")
        .replace("$__rate_interval", WINDOW)
        .replace("$__range", WINDOW)
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def requested_queries() -> dict[str, str]:
    return {name: expression.replace("[5m]", f"[{WINDOW}]") for name, expression in REQUESTED_FIGURES.items()}


QUERIES: Final = panel_queries() | requested_queries()


class Service:
    """Metrics of a service under load: every scrape counts one more second of traffic."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, version="0.0.0")
        self.healthy = False

    def scrape(self) -> bytes:
        """Count one second of traffic, which raises alerts unless `healthy`, and return the scrape."""
        metrics, healthy = self.metrics, self.healthy
        for user in ("ada", "bob"):
            booked = BookedCalls(
                user, "data_agent", "research", "gpt-5",
                calls=20, input_tokens=40_000, output_tokens=2_000,
                cache_read_tokens=30_000 if healthy else 2_000, cache_write_tokens=1_000,
                cost_nanos=90_000_000,
            )  # fmt: skip
            metrics.count_calls("acme", [booked])
        for cost_nanos in (700_000, 4_500_000, 30_000_000):
            metrics.observe_costs("acme", "gpt-5", [cost_nanos])
        metrics.trigger_firings("acme", "high_cost", "model_downgrade", "true").inc(2)
        succeeded, failed = metrics.optimizations("acme", "model_downgrade")
        succeeded.inc(9)
        failed.inc(0 if healthy else 3)
        before, after = metrics.compression_input_tokens("acme")
        before.inc(10_000)
        after.inc(4_000)
        metrics.denials("acme", "daily", "tokens", "hard").inc()
        metrics.thresholds("acme", "daily", "tokens", "90").inc()
        metrics.stream_events("acme").inc(40)
        metrics.operations("reserve", "granted").inc(40)
        metrics.batch_seconds.observe(0.003)
        metrics.batch_operations.observe(12)
        metrics.count_at_once("booked")
        metrics.http_request_seconds("/v1/reservations", "POST", "201").observe(0.006)
        for exceptions in (
            metrics.overruns, metrics.late_settles, metrics.unpriced_calls, metrics.quarantined_events,
            metrics.duplicates,
        ):  # fmt: skip
            exceptions("acme").inc()
        metrics.doubtful_calls("acme", "other_usage").inc()
        used = 40 if healthy else 95
        metrics.show_budget_use([BudgetUse("acme", "daily", "user=ada", used, 100)])
        metrics.show_open_holds({"acme": 7})
        metrics.show_connections(12, 1_000)
        metrics.count_refused_connection("slow")
        metrics.count_duty_failure("tend accounts", "acme")
        return generate_latest(self.registry)


class Prometheus:
    """A Prometheus server on its own loopback port."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the data of an API response."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with OPENER.open(url, timeout=PATIENCE_SECONDS) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

    def values(self, expression: str) -> list[float]:
        """Return the current values of an instant query, without NaN."""
        found = [float(row["value"][1]) for row in self.get("query", query=expression)["result"]]
        return [value for value in found if not math.isnan(value)]

    def firing(self) -> set[str]:
        """Return the names of the firing alerts."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait until the condition holds; fail with what was last seen."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.25)


def shown(prometheus: Prometheus, expression: str) -> list[float]:
    """Return the values of an instant query as soon as it has any: on a busy machine a scrape may come late."""
    found: list[float] = []

    def has_values() -> bool:
        found[:] = prometheus.values(expression)
        return bool(found)

    until(has_values, lambda: expression)
    return found


def hurried_rules() -> str:
    """Return the rules with seconds instead of minutes, and with least traffic that a few seconds reach."""
    rules = (DASHBOARDS / "rules" / "token-ledger.yml").read_text(encoding="utf-8")
    rules = re.sub(r"\bfor: \d+m", "for: 1s", rules).replace("interval: 1m", "interval: 1s")
    return rules.replace("[30m]", f"[{WINDOW}]").replace("> 100000\n", "> 10000\n")


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.fixture(scope="module")
def scrape_address(service: Service) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = service.scrape()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(scrape_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    assert shutil.which("prometheus"), "Prometheus is missing: apt-get install prometheus"
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules").mkdir()
    (folder / "rules" / "token-ledger.yml").write_text(hurried_rules(), encoding="utf-8")
    configuration = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [scrape_address]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Prometheus(address)
        until(lambda: ready(server, process), (folder / "log").read_text)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ready(server: Prometheus, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Prometheus exited"
    try:
        return bool(server.values("up == 1"))
    except (urllib.error.URLError, ConnectionError):
        return False


def test_promtool_accepts_every_query_as_a_recording_rule(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(QUERIES.values())]
    document = tmp_path / "queries.yml"
    document.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run(
        ["promtool", "check", "rules", str(document)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


@pytest.mark.parametrize("title", QUERIES)
def test_every_query_returns_values(title: str, prometheus: Prometheus) -> None:
    assert shown(prometheus, QUERIES[title])


def test_queries_compute_the_figures_of_the_traffic(prometheus: Prometheus) -> None:
    requested = requested_queries()
    assert shown(prometheus, requested["cache_hit_rate"]) == [pytest.approx(0.05)]
    assert shown(prometheus, requested["prompt_compression_ratio"]) == [pytest.approx(0.4)]
    assert shown(prometheus, requested["optimization_trigger_rate"]) == [pytest.approx(2 / 40)]
    assert shown(prometheus, requested["token_cost_per_request"]) == [pytest.approx(0.0352 / 3)]
    assert shown(prometheus, requested["model_selection_distribution"]) == [pytest.approx(1.0)]


def test_alerts_fire_and_resolve(service: Service, prometheus: Prometheus) -> None:
    wasteful = {"BudgetNearlyUsed", "CacheHitRateLow", "OptimizationFailuresHigh"}
    until(lambda: prometheus.firing() == wasteful, prometheus.firing)
    service.healthy = True
    until(lambda: prometheus.firing() == set(), prometheus.firing)
