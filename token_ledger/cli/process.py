"""What commands that do much work share: their logs, their database, their event loop and when garbage is collected."""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from token_ledger.cli.connections import named_database
from token_ledger.cli.laptop import Credentials, prepare_laptop
from token_ledger.config import Settings
from token_ledger.core.model.secrets import without_secrets
from token_ledger.observability.logs import configure_logs
from token_ledger.storage.database import without_values
from token_ledger.storage.embedded import has_embedded, share_embedded

log = logging.getLogger(__name__)


def start_logs(*, quiet: bool) -> None:
    """Log to standard error: as text on a terminal, as JSON lines anywhere else."""
    level = logging.WARNING if quiet else logging.INFO
    configure_logs(json_lines=not sys.stderr.isatty(), cleaned=_cleaned, level=level)


def _cleaned(text: str) -> str:
    return without_secrets(without_values(text))


@contextmanager
def prepared_database(settings: Settings, *, make: bool) -> Iterator[tuple[str, Credentials | None]]:
    """Yield the address of the database, and of an embedded one also its keys; the last process to leave one stops it.

    With `make`, an embedded one is made if there is none; otherwise ValueError says that there is none.
    """
    if settings.database_url is not None or not (make or has_embedded(settings.data_dir)):
        with named_database(settings, log.info) as url:
            yield url, None
        return
    log.info("database: embedded PostgreSQL in %s", settings.data_dir)
    with share_embedded(settings.data_dir, leave_running=False) as url:
        yield url, prepare_laptop(settings, url)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def collect_less_garbage() -> None:
    """Collect garbage rarely, and never what is there by now.

    Operations create many short-lived objects and no cycles, so this lowers the tail latency a lot.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
