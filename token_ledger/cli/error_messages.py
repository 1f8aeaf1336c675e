"""Turns what went wrong in a command into one sentence: what is wrong, where, and what to do next."""

import tempfile
import traceback
from collections.abc import Container
from typing import Any

from pydantic import ValidationError

from token_ledger.core.model.secrets import without_secrets
from token_ledger.ledger.errors import LedgerError, OutcomeUnknown, Unavailable
from token_ledger.storage.database import CommitLost, DatabaseAway, without_values
from token_ledger.storage.failures import ABOUT_DATA, Failure, failure_of, in_words
from token_ledger.wire.problems import ProblemError
from token_ledger.wire.validation_errors import first_error, what_is_wrong

_CHECK_SERVER = "nothing was changed; look into the log of PostgreSQL, and run the command again"
_AGAIN = "nothing was changed; run the command again"
_REMEDIES = {
    Failure.ADDRESS: "correct TOKEN_LEDGER_DATABASE_URL",
    Failure.AWAY: "start PostgreSQL, or correct TOKEN_LEDGER_DATABASE_URL",
    Failure.LOGIN: "correct TOKEN_LEDGER_DATABASE_URL, or grant its role more",
    Failure.SCHEMA: "run token-ledger migrate as its owner",
    Failure.READ_ONLY: "nothing was changed; name the primary server, or let it write (default_transaction_read_only)",
    Failure.FULL: "nothing was changed; give PostgreSQL more disk, memory or locks, and run the command again",
    Failure.SLOW: _AGAIN,
    Failure.BUSY: _AGAIN,
    Failure.NO_PARTITION: _CHECK_SERVER,
    Failure.BROKEN: _CHECK_SERVER,
}
"""What to do about the database, by what is wrong with it."""


def error_message(error: Exception) -> str:
    """Return the sentence for any error; one that nobody expected is written to a file for a bug report.

    Neither has a secret in it.
    """
    return without_secrets(_message(error))


def _message(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_error(error)
    if isinstance(error, ProblemError):
        return error.detail
    if isinstance(error, CommitLost | OutcomeUnknown):
        return f"{error}; the change was made or not: look before you run the command again"
    if isinstance(error, DatabaseAway):
        return f"{error}; {_REMEDIES[error.failure]}"
    if isinstance(error, Unavailable):
        return f"{error}; {_AGAIN}"
    failure = failure_of(error)
    if isinstance(error, OSError) and error.filename is not None:
        return _file_message(error)
    if isinstance(error, ValueError | OSError | LedgerError) and failure is not Failure.ADDRESS:
        return str(error)
    if failure is None or failure in ABOUT_DATA:
        return _unexpected_message(error)
    return f"{failure}: {in_words(error)}; {_REMEDIES[failure]}"


def _file_message(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {error.filename}; name one that exists"
    return f"{error.filename} can't be used: {error.strerror}"


def setting_error(error: ValidationError, options: Container[str]) -> str:
    """Return the first setting that is wrong, as the option or variable that gave it, and what would be right."""
    first: Any = error.errors()[0]
    name = str(first["loc"][0])
    given = f"--{name.replace('_', '-')}" if name in options else f"TOKEN_LEDGER_{name.upper()}"
    return f"{given}: {what_is_wrong(first)}"


def _unexpected_message(error: Exception) -> str:
    text = without_secrets(without_values("".join(traceback.format_exception(error))))
    summary = " ".join(without_values(traceback.format_exception_only(error)[-1]).split())
    with tempfile.NamedTemporaryFile("w", prefix="token-ledger-", suffix=".txt", delete=False) as file:
        file.write(text)
    return f"unexpected error: {summary}; this is a bug: please report it with the file {file.name}"
