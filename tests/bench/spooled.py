"""Rows of the group `sdk` about the spool: what a leased call takes, sending what waits, the memory of much of it."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx2
from token_ledger_sdk import TokenLedger, Usage

from tests.bench.ledger import LedgerBench
from tests.bench.rows import Figure, Row, Run, Target

_CALL: Final[dict[str, Any]] = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600,
    "max_output_tokens": 400,
}  # fmt: skip
_USED: Final = Usage(500, 100)
_BURSTS, _BURST = 10, 2_000
_EVENTS: Final = 20_000
_WAITING: Final = 100_000


def leased_call(group: str, ledger: LedgerBench) -> list[Row]:
    """Measure what a call on a lease takes in the process: its admission, and its settle with a line in the spool.

    Calls come in bursts of 2,000; what they used is sent between the bursts, to a service that takes no time.
    """
    runs = [_leased(ledger.server.directory) for _ in range(ledger.plan.repetitions)]
    appends = [_append_us(ledger.server.directory) for _ in runs]
    at_most: list[tuple[str, str, float]] = [
        ("leased_call", "p50", 25), ("leased_call_p99", "p99", 150), ("leased_admission", "admission", 10),
    ]  # fmt: skip
    rows = [
        Row(group, name, "µs", "a write of 500 bytes to a file, µs", _paired(runs, figure, appends),
            Target(Figure.VALUE, most, at_most=True))
        for name, figure, most in at_most
    ]  # fmt: skip
    rate = _paired(runs, "rate", [1_000_000 / each for each in appends])
    return [*rows, Row(group, "leased_calls", "calls/s", "writes of 500 bytes/s", rate, Target(Figure.VALUE, 30_000))]


def _paired(runs: list[dict[str, float]], figure: str, yardsticks: list[float]) -> tuple[Run, ...]:
    return tuple(Run(run[figure], yardstick) for run, yardstick in zip(runs, yardsticks, strict=True))


def _leased(directory: Path) -> dict[str, float]:
    admissions, calls = [], []
    with tempfile.TemporaryDirectory(dir=directory) as spool:
        transport = httpx2.MockTransport(_granted)
        ledger = TokenLedger("http://ledger.test", "tl_test_1_secret", transport=transport, spool=spool)
        with ledger, ledger.lease(user="ada", calls=100_000, ttl_seconds=3_600, **_CALL) as leases:
            for _ in range(_BURSTS):
                for _ in range(_BURST):
                    began = time.perf_counter()
                    call = leases.reserve()
                    admitted = time.perf_counter()
                    call.settle(_USED)
                    calls.append(time.perf_counter() - began)
                    admissions.append(admitted - began)
                leases.flush()
    rate = len(calls) / sum(calls)
    calls.sort()
    return {
        "p50": median(calls) * 1e6, "p99": calls[len(calls) * 99 // 100] * 1e6, "admission": median(admissions) * 1e6,
        "rate": rate,
    }  # fmt: skip


def _append_us(directory: Path) -> float:
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        line = b"x" * 500
        return median(_seconds(lambda: file.write(line)) for _ in range(_BURST)) * 1e6


def _granted(request: httpx2.Request) -> httpx2.Response:
    body = json.loads(request.content)
    if "operations" in body:
        results = [{"status": 200, "body": {"cost": "0.0005"}} for _ in body["operations"]]
        return httpx2.Response(200, json={"results": results})
    rates = {"input": "1", "output": "4", "cache_read": "0.1", "cache_write_5m": "1", "cache_write_1h": "2"}
    granted: dict[str, object] = {
        "lease_id": "1", "state": "held", "created_at": "2026-11-20T12:00:00Z", "expires_at": "2026-11-20T13:00:00Z",
        "run_id": None, "provider": "openai", "model": "gpt-5.4-mini", "directive": {}, "warnings": [],
        "held": {"tokens": 1_000 * body["calls"], "cost": "1000", "calls": body["calls"]}, "calls": body["calls"],
        "price": {"tiers": [{"above_input_tokens": 0, **rates, "reasoning": "4"}]}, "replayed": False,
    }  # fmt: skip
    return httpx2.Response(201, json=granted)


def flush(group: str, ledger: LedgerBench) -> list[Row]:
    """Measure how fast a live service takes what waits in a spool; afterwards all of it must be booked."""
    runs = []
    for _ in range(ledger.plan.repetitions):
        with (
            ledger.service() as (base, key, _),
            tempfile.TemporaryDirectory(dir=ledger.server.directory) as spool,
            TokenLedger(base, key, spool=spool, flush_seconds=100_000, timeout=60) as client,
            client.run(user="ada") as run,
        ):
            began = time.perf_counter()
            for _ in range(_EVENTS):
                run.track_usage(_USED, agent_type="data_agent", provider="openai", model="gpt-5.4-mini")
            appended = time.perf_counter() - began
            waiting = client._sender.outbox.spool.waiting
            sent = _seconds(client.flush)
            assert client._sender.outbox.spool.waiting == 0
            balance = run.read().balance
            assert balance is not None
            assert balance.settled.calls == _EVENTS, f"{balance.settled.calls} of {_EVENTS} calls are booked"
            runs.append(Run(waiting / sent, _EVENTS / appended))
    target = Target(Figure.VALUE, 10_000)
    return [Row(group, "flush", "events/s", "events kept in the spool/s", tuple(runs), target)]


def spool_100k(group: str, ledger: LedgerBench) -> list[Row]:
    """Measure the memory of a process in whose spool 100,000 events wait for a service that is away."""
    runs = tuple(Run(_waiting_mb(_WAITING), _waiting_mb(0)) for _ in range(ledger.plan.repetitions))
    target = Target(Figure.VALUE, 100, at_most=True)
    return [Row(group, "spool_100k", "MB", "with nothing that waits, MB", runs, target)]


def _waiting_mb(events: int) -> float:
    with tempfile.TemporaryDirectory() as spool:
        command = [sys.executable, "-m", "tests.bench.waiting", str(events), spool]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
