"""Owns the format of log lines: a JSON object per line for machines, or colored text on a terminal."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog


def configure_logs(*, json_lines: bool, cleaned: Callable[[str], str], level: int = logging.INFO) -> None:
    """Send all logs of the standard library's `logging` to standard error, in one format.

    `cleaned` leaves out of a text what no log may have: errors of libraries quote anything.
    """
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer()
    )

    def clean(logger: Any, name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {name: cleaned(value) if isinstance(value, str) else value for name, value in event.items()}

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, clean, renderer],
        )
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It tells of its own start, and of every malformed request; the metrics count those.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.basicConfig(handlers=[handler], level=level, force=True)
