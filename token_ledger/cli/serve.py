"""Starts the service: its own PostgreSQL where none is configured, the schema, the HTTP server, the upkeep."""

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable
from types import FrameType

import prometheus_client
import uvicorn

from token_ledger.api.app import create_app
from token_ledger.api.service import Service
from token_ledger.cli.setup import Credentials, prepare_laptop
from token_ledger.config import Settings
from token_ledger.observability.logs import configure_logs
from token_ledger.worker.upkeep import Upkeep


class Server(uvicorn.Server):
    """A server that says where it listens, and tells live streams to end as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, service: Service, credentials: Credentials | None) -> None:
        super().__init__(config)
        self._service = service
        self._credentials = credentials

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen and print where."""
        await super().startup(sockets)
        if self.started:
            # Of port 0 the system makes one that is free.
            port = self.servers[0].sockets[0].getsockname()[1]
            print(_greeting(self.config.host, port, self._credentials), flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; those under way get their answers."""
        self._service.stopping.set()
        super().handle_exit(sig, frame)
        # uvicorn would raise these again once it is done, and the process would die of them instead of ending well.
        self._captured_signals.clear()


def serve(settings: Settings, *, quiet: bool = False, worker: bool = True) -> int:
    """Run the service until it is told to stop, with the worker beside it; return the exit status."""
    configure_logs(json_lines=not sys.stderr.isatty(), level=logging.WARNING if quiet else logging.INFO)
    credentials = None
    url = settings.database_url
    if url is None:
        url, credentials = prepare_laptop(settings)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(settings, url, credentials, worker=worker))


async def _serve(settings: Settings, url: str, credentials: Credentials | None, *, worker: bool) -> int:
    # One more series per counter, with the time it was made: nobody asks for it, and it doubles a scrape.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    service = Service(settings, url)
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        http="httptools",
        access_log=False,
        log_config=None,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    server = Server(config, service, credentials)
    upkeep = Upkeep(service.database, service.submit, retention_months=settings.retention_months)
    beside = [asyncio.create_task(upkeep.show_gauges(service.metrics))]
    if worker:
        beside.append(asyncio.create_task(upkeep.work()))
    # Requests make many short-lived objects and no cycles: collecting rarely takes the tail latency down by far.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        await server.serve()
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return 0 if server.started else 1


def _greeting(host: str, port: int, credentials: Credentials | None) -> str:
    base = f"http://{host}:{port}"
    lines = [f"Token Ledger listens on {base} (documentation: {base}/docs)"]
    if credentials is not None:
        lines += [
            f"admin key: {credentials.admin_key}",
            "try:",
            f"  curl -s {base}/v1/reservations -H 'Authorization: Bearer {credentials.admin_key}' \\",
            "    -H 'Content-Type: application/json' -d '"
            '{"idempotency_key":"first","user":"ada","agent_type":"data_agent","provider":"openai",'
            '"model":"gpt-5.4","input_tokens":1000,"max_output_tokens":500}\'',
        ]
    return "\n".join(lines)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
