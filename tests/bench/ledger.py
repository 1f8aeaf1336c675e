"""The group `ledger`: operations per second of the ledger, called directly and over HTTP, beside yardsticks.

Every repetition runs in a new process on a new copy of a migrated database, after a checkpoint and a warm-up.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tests.bench import callers as callers_process
from tests.bench import shapes
from tests.bench.plan import WARM_UP_SECONDS, Measurements, Plan
from tests.bench.rows import Failure, Figure, Row, Target, interleave
from tests.bench.scale import scale_rows
from tests.bench.servers import BenchServer, bench_server, http_process, http_server
from tests.bench.wrk import CONNECTIONS, Load, drive
from tests.bench.yardsticks import NOOP, NOOP_READY_PATH, PGBENCH, pgbench
from token_ledger.cli.keys import make_key
from token_ledger.config import Settings
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

GROUP: Final = "ledger"
_CALLERS: Final = 256
_PEPPER: Final = "the pepper of the benchmark"
_CURVE: Final = (1, 10, 100, 1000)
_TRANSACTIONS: Final = f"{PGBENCH}, transactions/s"
_COMMAND: Final = Path(sys.executable).with_name("token-ledger")


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Start the database server that all measurements share, and yield the measurements."""
    with bench_server() as server:
        ledger = LedgerBench(plan, server)
        yield {
            "ops_one_account": partial(
                ledger.operations, "ops_one_account", shapes.ONE_ACCOUNT, _CALLERS, 3, verified=True
            ),
            "ops_six_accounts": partial(ledger.operations, "ops_six_accounts", shapes.SIX_ACCOUNTS, _CALLERS, 2),
            "ops_1000_tenants": partial(ledger.operations, "ops_1000_tenants", shapes.THOUSAND_TENANTS, 1000, 0.7),
            "tenants_curve": ledger.tenants_curve,
            "http_requests": ledger.http_requests,
            "reserve_p99_64": ledger.reserve_p99,
            **scale_rows(ledger),
        }


class LedgerBench:
    """The measurements on one database server; each public method without arguments of its own returns rows."""

    def __init__(self, plan: Plan, server: BenchServer) -> None:
        self.plan = plan
        self.server = server
        self._log = server.directory / "http.log"
        self._settings = Settings(key_pepper=SecretStr(_PEPPER), data_dir=server.directory)

    def operations(
        self, name: str, shape: shapes.Shape, callers: int, at_least: float, *, verified: bool = False
    ) -> list[Row]:
        """Measure operations per second; with `verified`, verify the books after one repetition."""
        to_verify = [verified]  # after one repetition only

        def measure() -> float:
            return self._call(name, shape, shape.tenants, callers, verify=to_verify.pop() if to_verify else False)

        (runs,) = interleave(self.plan.repetitions, self._pgbench, measure)
        return [Row(GROUP, name, "operations/s", _TRANSACTIONS, runs, Target(Figure.RATIO, at_least))]

    def tenants_curve(self) -> list[Row]:
        """Measure the same number of callers on 1, 10, 100 and 1,000 tenants."""
        names = [f"ops_tenants_{tenants}" for tenants in _CURVE]
        measures = [
            partial(self._call, name, shapes.THOUSAND_TENANTS, tenants, _CALLERS)
            for name, tenants in zip(names, _CURVE, strict=True)
        ]
        measured = interleave(self.plan.repetitions, self._pgbench, *measures)
        return [
            Row(GROUP, name, "operations/s", _TRANSACTIONS, runs) for name, runs in zip(names, measured, strict=True)
        ]

    def http_requests(self) -> list[Row]:
        """Measure requests per second, reserves and settles in turn, over 64 connections."""
        (runs,) = interleave(
            self.plan.repetitions,
            lambda: self.noop("http_requests").requests_per_second,
            lambda: self._serve("http_requests", "alternate").requests_per_second,
        )
        return [Row(GROUP, "http_requests", "requests/s", f"{NOOP}, requests/s", runs, Target(Figure.RATIO, 0.4))]

    def reserve_p99(self) -> list[Row]:
        """Measure the 99th percentile of reserves over 64 connections without pauses."""
        (runs,) = interleave(
            self.plan.repetitions,
            lambda: self.noop("reserve_p99_64").p99_ms,
            lambda: self._serve("reserve_p99_64", "reserve").p99_ms,
        )
        return [Row(GROUP, "reserve_p99_64", "ms", f"{NOOP}, ms", runs, Target(Figure.VALUE, 30, at_most=True))]

    def _pgbench(self) -> float:
        rate = pgbench(self.server, self.plan.seconds)
        self.plan.say(f"  pgbench: {rate:,.0f} transactions/s")
        return rate

    def _call(self, name: str, shape: shapes.Shape, tenants: int, callers: int, *, verify: bool = False) -> float:
        """Run the measured process on a copy of a shape's database; return its operations per second."""
        self.server.template(shape.name, shapes.filling(shape))
        with self.server.copy(shape.name) as url:
            self.server.checkpoint()
            process = callers_process.start(
                url, tenants=tenants, callers=callers, accounts=shape.accounts, seconds=self.plan.seconds
            )
            rate = callers_process.report_of(process).operations_per_second
            self.plan.say(f"{name}: {rate:,.0f} operations/s")
            if verify:
                self.verify(name, url)
        return rate

    def verify(self, name: str, url: str) -> None:
        """Verify the books of a run. Raises Failure if they are not right."""
        proof = asyncio.run(verify_database(url, None))
        if not proof.clean:
            raise Failure(f"the books do not verify after the run: {proof.as_text()}")
        self.plan.say(f"{name}: the books of this run are verified, {proof.events:,} events")

    def noop(self, name: str, connections: int = CONNECTIONS) -> Load:
        """Load the yardstick service, which only validates."""
        self.server.checkpoint()
        with http_server(
            lambda port: [sys.executable, "-m", "tests.bench.yardsticks", str(port)], NOOP_READY_PATH, self._log
        ) as base:
            return self.load(f"  {name}, no-op", base, "reserve", "none", connections)

    def _serve(self, name: str, what: str) -> Load:
        """Load the ledger's own service, on a copy of the database of one tenant and one budget."""
        with self.service() as (base, key, _):
            return self.load(name, base, what, key)

    @contextmanager
    def service(self) -> Iterator[tuple[str, str, int]]:
        """Run the service on a copy of the database of one tenant and one budget; yield address, key and process id."""
        with self.service_of(shapes.ONE_ACCOUNT) as (base, [key], pid, _):
            yield base, key, pid

    @contextmanager
    def service_of(self, shape: shapes.Shape) -> Iterator[tuple[str, list[str], int, str]]:
        """Run the service on a copy of a shape's database.

        Yields its address, a key of each tenant, its process id, and the address of the database.
        """
        self.server.template(shape.name, shapes.filling(shape))
        with self.server.copy(shape.name) as url:
            keys = [
                asyncio.run(make_key(self._settings, url, f"tenant-{number}", Role.AGENT, "load"))
                for number in range(shape.tenants)
            ]
            self.server.checkpoint()
            environment = {
                "TOKEN_LEDGER_DATABASE_URL": url,
                "TOKEN_LEDGER_KEY_PEPPER": _PEPPER,
                "TOKEN_LEDGER_DATA_DIR": str(self.server.directory),
                "TOKEN_LEDGER_METRICS_PORT": "0",
            }
            with http_process(_serve_command, "/readyz", self._log, environment) as (base, pid):
                yield base, keys, pid, url

    def load(self, name: str, base: str, what: str, api_key: str, connections: int = CONNECTIONS) -> Load:
        """Load a server, after a warm-up."""
        options = {"what": what, "api_key": api_key, "connections": connections}
        drive(base, keys="warm-up", seconds=WARM_UP_SECONDS, **options)  # type: ignore[arg-type]
        load = drive(base, keys="run", seconds=self.plan.seconds, **options)  # type: ignore[arg-type]
        self.plan.say(f"{name}: {load.requests_per_second:,.0f} requests/s, p99 {load.p99_ms:.1f} ms")
        return load


def _serve_command(port: int) -> list[str]:
    return [str(_COMMAND), "serve", "--quiet", "--port", str(port)]
