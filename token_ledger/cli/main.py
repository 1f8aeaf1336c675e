"""The program `token-ledger`: runs one command. Every error ends here, as one sentence and an exit status."""

import argparse
import gc
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from token_ledger.cli.parser import parse
from token_ledger.config import Settings

FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; `commands.EXIT_STATUSES` says what they mean."""
    options = parse(arguments)
    if threading.current_thread() is threading.main_thread():
        # As Ctrl-C does, so that a PostgreSQL that this command has started is stopped.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status: int = _function(options.command.run)(_settings(options), options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough, as in `token-ledger keys acme | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        from token_ledger.cli.error_messages import error_message

        print(f"token-ledger: {error_message(error)}", file=sys.stderr)
        return FAILED


def _function(name: str) -> Callable[..., int]:
    """Import a function. What its modules make stays, so to look for garbage meanwhile is a sixth of the time."""
    gc.disable()
    try:
        function: Callable[..., int] = pkgutil.resolve_name(name)
        return function
    finally:
        gc.enable()


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings, where options take the place of variables; ValueError names the one that is wrong."""
    values = {name: getattr(options, name, None) for name in ("host", "port", "data_dir", "database_url")}
    given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if "data_dir" in given:
        given["data_dir"] = given["data_dir"].expanduser().absolute()
        given.setdefault("database_url", None)  # who names a directory means the database in it
    try:
        return Settings(**given)
    except ValidationError as error:
        from token_ledger.cli.error_messages import setting_error

        raise ValueError(setting_error(error, given)) from None
