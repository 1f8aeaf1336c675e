"""What the processes that serve share: their logs and their database."""

import logging
import sys
from collections.abc import Iterator
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
