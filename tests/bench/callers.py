"""The measured process: callers on one GroupCommit, each of which reserves and settles in turn.

`python -m tests.bench.callers --url ...` prints one JSON line. The event loop and the garbage collector are configured
as in `token_ledger.cli.serve`. Every key is new, fingerprints are computed from a request's text as the API does, and
every outcome is checked.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import uvloop

from tests.bench.plan import WARM_UP_SECONDS
from tests.bench.rows import Failure
from tests.bench.traffic import Caller, caller, size
from token_ledger.core.batch.commands import Reserve, Settle
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.batch.outcomes import Granted, Settled
from token_ledger.core.model.tenant import TenantId
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.group_commit import GroupCommit
from token_ledger.storage import database as storage_database
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.tenants import all_tenants


@dataclass(slots=True)
class Tally:
    """Operations answered so far, and whether callers should stop after their current one."""

    operations: int = 0
    stop: bool = False
    settle_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What one process measured."""

    operations: int
    seconds: float
    settle_p99_ms: float
    process_seconds: float
    """Processor time of the process."""

    @property
    def operations_per_second(self) -> float:
        return self.operations / self.seconds


def start(
    url: str, *, tenants: int = 1, callers: int, accounts: int = 1, seconds: int, keys: str = "",
    plan_cache_mode: str = "",
) -> "subprocess.Popen[str]":  # fmt: skip
    """Start a measured process; with another `plan_cache_mode` of PostgreSQL than the service's, if one is given."""
    command = [
        sys.executable, "-m", "tests.bench.callers", "--url", url, "--tenants", str(tenants), "--callers", str(callers),
        "--accounts", str(accounts), "--warm-up-seconds", str(WARM_UP_SECONDS), "--seconds", str(seconds),
        "--keys", keys, "--plan-cache-mode", plan_cache_mode,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(process: "subprocess.Popen[str]") -> Report:
    """Wait for a measured process and return its report. Raises Failure if it failed."""
    output, errors = process.communicate()
    if process.returncode:
        raise Failure(f"the measured process ended with status {process.returncode}: {errors[-2000:]}")
    return Report(**json.loads(output))


async def measure(
    url: str, *, tenants: int, callers: int, accounts: int, warm_up_seconds: float, seconds: float, keys: str = "",
    plan_cache_mode: str = "",
) -> Report:  # fmt: skip
    """Run callers on the first tenants of a database; count the operations answered after the warm-up."""
    if plan_cache_mode:
        storage_database._WRITER_SETTINGS["plan_cache_mode"] = plan_cache_mode
    database = Database(url)
    async with database.reading() as connection:
        chosen = sorted(await all_tenants(connection))[:tenants]
        prices = await load_price_book(connection)
    if len(chosen) < tenants:
        raise Failure(f"the database has {len(chosen)} tenants, not {tenants}")
    prices.find("openai", "")
    commits = GroupCommit(database, prices)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            # With more tenants than callers, each caller takes turns over its own share of them.
            own = chosen[number::callers] or [chosen[number % tenants]]
            group.create_task(_call(commits, own, number, accounts, tally, keys))
        report = await _count(tally, warm_up_seconds, seconds)
        tally.stop = True
    await commits.drain()
    await database.close()
    return report


async def _count(tally: Tally, warm_up_seconds: float, seconds: float) -> Report:
    await asyncio.sleep(warm_up_seconds)
    before, started, used = tally.operations, time.perf_counter(), time.process_time()
    tally.settle_ms.clear()
    await asyncio.sleep(seconds)
    slowest_first = sorted(tally.settle_ms, reverse=True)
    p99 = slowest_first[len(slowest_first) // 100] if slowest_first else 0.0
    return Report(tally.operations - before, time.perf_counter() - started, p99, time.process_time() - used)


async def _call(
    commits: GroupCommit, tenants: Sequence[TenantId], number: int, accounts: int, tally: Tally, keys: str
) -> None:
    who = caller(number)
    calls = 0
    while not tally.stop:
        tenant = tenants[calls % len(tenants)]
        key = f"{keys}{number}-{calls}"
        granted = await commits.submit(tenant, _reserve(who, key, calls))
        if not isinstance(granted, Granted) or len(granted.reservation.path) != accounts:
            raise Failure(f"expected a reserve granted on {accounts} accounts, got {granted}")
        tally.operations += 1
        asked = time.perf_counter()
        settled = await commits.submit(tenant, _settle(granted.reservation.reservation_id, key, calls))
        tally.settle_ms.append((time.perf_counter() - asked) * 1_000)
        if not isinstance(settled, Settled):
            raise Failure(f"expected a settle, got {settled}")
        tally.operations += 1
        calls += 1


def _reserve(who: Caller, key: str, call: int) -> Reserve:
    input_tokens, output_tokens = size(call)
    request = (
        f'{{"agent_type":"{who.agent_type}","provider":"{who.provider}","model":"{who.model}",'
        f'"input_tokens":{input_tokens},"max_output_tokens":{2 * output_tokens},'
        f'"user":"{who.user}","cost_center":"{who.cost_center}"}}'
    )
    return Reserve(
        key=key,
        fingerprint=fingerprint(request.encode()),
        agent_type=who.agent_type,
        provider=who.provider,
        model=who.model,
        input_tokens=input_tokens,
        max_output_tokens=2 * output_tokens,
        user=who.user,
        cost_center=who.cost_center,
    )


def _settle(reservation_id: int, key: str, call: int) -> Settle:
    input_tokens, output_tokens = size(call)
    request = f'{{"usage":{{"input_tokens":{input_tokens},"output_tokens":{output_tokens}}}}}'
    return Settle(
        key=key,
        fingerprint=fingerprint(request.encode()) + reservation_id.to_bytes(8, "big"),
        reservation_id=reservation_id,
        usage=Usage(input_tokens, output_tokens),
    )


def main() -> int:
    """Parse the arguments, measure and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.callers")
    parser.add_argument("--url", required=True)
    for name in "tenants", "callers", "accounts":
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in "warm-up-seconds", "seconds":
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--keys", default="", help="prefix of the idempotency keys, when several processes run at once")
    parser.add_argument("--plan-cache-mode", default="", help="PostgreSQL's setting, if not the service's")
    options = vars(parser.parse_args())
    status = 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(measure(options.pop("url"), **options))
        print(json.dumps(asdict(report)))
        status = 0
    except* Failure as failures:  # all callers fail in the same way; report one
        print(f"callers: {failures.exceptions[0]}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
