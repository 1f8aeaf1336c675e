"""The command `serve`: the HTTP server and, unless told otherwise, a worker beside it."""

import argparse
import asyncio
import socket
from functools import partial
from types import FrameType
from typing import Any, Literal

import prometheus_client
import uvicorn
from starlette.types import ASGIApp

from token_ledger.api.app import create_app
from token_ledger.api.connections import BoundedProtocol, Connections
from token_ledger.api.early_refusals import EarlyRefusals
from token_ledger.api.metrics_page import MetricsPage
from token_ledger.cli.event_loop import collect_less_garbage, loop_factory
from token_ledger.cli.laptop import Credentials
from token_ledger.cli.process import prepared_database, start_logs
from token_ledger.cli.sockets import closing_all, listen, most_connections
from token_ledger.config import Settings
from token_ledger.observability.traces import exported_traces
from token_ledger.runtime import Service
from token_ledger.worker.repeating import repeat
from token_ledger.worker.schedule import process_duty
from token_ledger.worker.worker import Worker

GREETING_SECONDS = 2
"""After how long a process says that it waits for its database."""
MOST_SCRAPERS = 64
"""Most connections to the metrics."""


class Server(uvicorn.Server):
    """A server that prints where it listens once it is ready, and ends live streams as soon as it is asked to stop.

    It serves the metrics on sockets of their own, and closes connections whose clients are overdue.
    """

    def __init__(
        self, config: uvicorn.Config, connections: Connections, scrapes: uvicorn.Config, scrapers: Connections,
        service: Service, credentials: Credentials | None,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._connections = connections
        self._scrapes = scrapes
        self._scrapers = scrapers
        self._service = service
        self._credentials = credentials
        self._greeting: asyncio.Task[None] | None = None

    async def listen(self, requests: list[socket.socket], metrics: list[socket.socket]) -> None:
        """Serve requests on some sockets and metrics on others, until told to stop."""
        self._metrics_sockets = metrics
        await self.serve(requests)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen and print the address."""
        await super().startup(sockets)
        assert sockets
        self._scrapes.load()
        loop = asyncio.get_running_loop()
        for each in self._metrics_sockets:
            # One of `servers`, so that it is closed with the others.
            self.servers.append(await loop.create_server(self._metrics_connection, sock=each))
        self._greeting = asyncio.create_task(self._greet(f"http://{self.config.host}:{_port(sockets)}"))

    def _metrics_connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self._scrapes.http_protocol_class(
            config=self._scrapes, server_state=self.server_state, app_state={}
        )  # type: ignore[call-arg]
        return made

    async def on_tick(self, counter: int) -> bool:
        """Every second, close the connections that are overdue; uvicorn calls this ten times as often."""
        if counter % 10 == 0:
            for connections in (self._connections, self._scrapers):
                connections.close_overdue(asyncio.get_running_loop().time())
            self._service.metrics.show_connections(len(self._connections), self._connections.most)
        return await super().on_tick(counter)

    async def _greet(self, base: str) -> None:
        """Print the address as soon as requests are answered; or earlier, if the database is long in coming."""
        try:
            await asyncio.wait_for(self._service.reached.wait(), GREETING_SECONDS)
        except TimeoutError:
            print(f"Token Ledger listens on {base} and waits for the database", flush=True)
            await self._service.reached.wait()
            print("the database was reached", flush=True)
        else:
            print(_greeting(base, self._credentials), flush=True)

    def end_greeting(self) -> None:
        """Wait for the database no longer."""
        if self._greeting is not None:
            self._greeting.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop accepting requests; those under way are answered."""
        self._service.stopping.set()
        super().handle_exit(sig, frame)
        # uvicorn would raise the signal again after its shutdown, and the process would die of it, not exit with 0.
        self._captured_signals.clear()


def serve_requests(settings: Settings, options: argparse.Namespace) -> int:
    """Serve HTTP requests until told to stop."""
    start_logs(quiet=options.quiet)
    # First of all, so that a port in use is said before anything else is started.
    with (
        closing_all(listen(settings.host, settings.port, "--port")) as requests,
        closing_all(listen(settings.metrics_host, settings.port_of_metrics(), "TOKEN_LEDGER_METRICS_PORT")) as metrics,
        exported_traces(),
        prepared_database(settings, make=True) as (url, credentials),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        return runner.run(_serve(settings, url, credentials, requests, metrics, worker=not options.no_worker))


async def _serve(
    settings: Settings, url: str, credentials: Credentials | None, requests: list[socket.socket],
    metrics: list[socket.socket], *, worker: bool,
) -> int:  # fmt: skip
    # Without this, every counter also shows when it was created, which doubles a scrape.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    service = Service(settings, url)
    bounds = partial(
        Connections,
        most_per_address=settings.max_connections_per_address,
        request_seconds=settings.request_seconds,
        largest_body=settings.max_body_bytes,
        refused=service.metrics.count_refused_connection,
    )
    lists = EarlyRefusals(service.authenticator, service.room, service.metrics)
    connections = bounds(most=most_connections(settings.max_connections), lists=lists)
    scrapers = bounds(most=MOST_SCRAPERS)
    prometheus_client.ProcessCollector(registry=service.registry)  # descriptors and memory of the process
    page = MetricsPage(service.registry, service.metrics)
    server = Server(
        _config(settings, create_app(service), connections), connections,
        _config(settings, page, scrapers, lifespan="off"), scrapers,
        service, credentials,
    )  # fmt: skip
    gauges = process_duty(service.database, service.metrics)
    beside = [asyncio.create_task(repeat(gauges.name, gauges.seconds, gauges.do))]
    if worker:
        recurring = Worker(
            service.database, service.submit, service.metrics.count_duty_failure,
            retention_months=settings.retention_months,
        )  # fmt: skip
        beside.append(asyncio.create_task(recurring.work()))
    collect_less_garbage()
    try:
        await server.listen(requests, metrics)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        server.end_greeting()
    return 0 if server.started else 1


def _config(
    settings: Settings, app: ASGIApp, connections: Connections, *, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Config:
    protocol: Any = partial(BoundedProtocol, connections=connections)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        access_log=False,
        log_config=None,
        lifespan=lifespan,
        server_header=False,
        proxy_headers=False,  # the application looks at them where it needs to
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.drain_seconds,
    )


def _port(sockets: list[socket.socket]) -> int:
    port: int = sockets[0].getsockname()[1]  # for port 0 the system has picked a free one
    return port


def _greeting(base: str, credentials: Credentials | None) -> str:
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
