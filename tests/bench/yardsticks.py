"""The yardsticks: pgbench on the same server, and a web service that does nothing.

`python -m tests.bench.yardsticks PORT` runs the latter: FastAPI under uvicorn, configured as in
`token_ledger.cli.serve`, with one route that validates the body of a reservation and answers a constant.
"""

import asyncio
import gc
import re
import subprocess
import sys
from typing import Final

import uvicorn
import uvloop
from fastapi import FastAPI

from tests.bench.plan import WARM_UP_SECONDS
from tests.bench.rows import Failure
from tests.bench.servers import BenchServer
from token_ledger.wire.bodies.reservations import ReservationBody

PGBENCH: Final = "pgbench -N -M prepared -c 32"
_SCALE: Final = 10
_TEMPLATE: Final = "yardstick"
_TRANSACTIONS_PER_SECOND = re.compile(r"^tps = ([0-9.]+) ", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: ([0-9]+) ", re.MULTILINE)

NOOP: Final = "FastAPI route that validates and answers a constant"
NOOP_READY_PATH: Final = "/openapi.json"
_ANSWER: Final = {"reservation_id": "1", "state": "held"}


def pgbench(server: BenchServer, seconds: int) -> float:
    """Return the transactions per second of pgbench's own workload, one commit each."""

    async def fill(url: str) -> None:
        _run(server, "-q", "-i", "-s", str(_SCALE), url)

    url = server.template(_TEMPLATE, fill)
    server.execute("vacuum pgbench_accounts", url)
    server.checkpoint()
    workload = PGBENCH.split()[1:]
    _run(server, *workload, "-T", str(WARM_UP_SECONDS), url)
    return read_pgbench(_run(server, *workload, "-T", str(seconds), url))


def read_pgbench(output: str) -> float:
    """Read the rate that pgbench printed. Raises Failure if a transaction failed or there is no rate."""
    rate, failed = _TRANSACTIONS_PER_SECOND.search(output), _FAILED.search(output)
    if rate is None or (failed is not None and failed[1] != "0"):
        raise Failure(f"pgbench failed: {output}")
    return float(rate[1])


def _run(server: BenchServer, *arguments: str) -> str:
    done = subprocess.run([server.program("pgbench"), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"pgbench ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def noop_app() -> FastAPI:
    """Return the service that does nothing."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.post("/v1/reservations", status_code=201)
    async def reserve(body: ReservationBody) -> dict[str, str]:
        return _ANSWER

    return app


def main() -> int:
    """Serve until told to stop."""
    config = uvicorn.Config(
        noop_app(), port=int(sys.argv[1]), http="httptools", access_log=False, log_config=None, server_header=False
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        runner.run(uvicorn.Server(config).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
