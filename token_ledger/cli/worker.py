"""Runs the worker alone: a process without HTTP that does what recurs, or stands by while another does."""

import asyncio
import logging
import signal
import sys

from token_ledger.api.service import Service
from token_ledger.cli.serve import loop_factory
from token_ledger.cli.setup import prepare_laptop
from token_ledger.config import Settings
from token_ledger.observability.logs import configure_logs
from token_ledger.worker.upkeep import Upkeep


def work(settings: Settings, *, quiet: bool = False) -> int:
    """Do what recurs until told to stop; return the exit status."""
    configure_logs(json_lines=not sys.stderr.isatty(), level=logging.WARNING if quiet else logging.INFO)
    url = settings.database_url
    if url is None:
        url, _ = prepare_laptop(settings)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_work(settings, url))
    return 0


async def _work(settings: Settings, url: str) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopping.set))
    service = Service(settings, url)
    async with service.running():
        upkeep = Upkeep(service.database, service.submit, retention_months=settings.retention_months)
        working = asyncio.create_task(upkeep.work())
        print("Token Ledger's worker is at work", flush=True)
        await stopping.wait()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
