"""The command `worker`: does the recurring work, or stands by while another process does."""

import argparse
import asyncio
import signal

from token_ledger.cli.event_loop import loop_factory
from token_ledger.cli.process import prepared_database, start_logs
from token_ledger.config import Settings
from token_ledger.observability.traces import exported_traces
from token_ledger.runtime import Service
from token_ledger.worker.worker import Worker


def run_worker(settings: Settings, options: argparse.Namespace) -> int:
    """Do the recurring work until told to stop."""
    start_logs(quiet=options.quiet)
    with (
        exported_traces(),
        prepared_database(settings, make=False) as (url, _),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        runner.run(_work(settings, url))
    return 0


async def _work(settings: Settings, url: str) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopping.set))
    service = Service(settings, url)
    async with service.running():
        worker = Worker(
            service.database, service.submit, service.metrics.count_duty_failure,
            retention_months=settings.retention_months,
        )  # fmt: skip
        working = asyncio.create_task(worker.work())
        print("Token Ledger's worker is running", flush=True)
        await stopping.wait()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
