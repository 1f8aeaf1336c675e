"""Turns what went wrong in a command into one sentence: what is wrong, where, and what to do next."""

import tempfile
import traceback
from collections.abc import Container
from typing import Any

from pydantic import ValidationError

from token_ledger.core.model.secrets import without_secrets
from token_ledger.ledger.errors import LedgerError
from token_ledger.storage.database import DatabaseAway, Refusal, refusal_of, without_values
from token_ledger.wire.problems import ProblemError
from token_ledger.wire.validation_errors import first_error, what_is_wrong

_FIX_CONNECTION = "start PostgreSQL, or correct TOKEN_LEDGER_DATABASE_URL"


def error_message(error: Exception) -> str:
    """Return the sentence for any error; one that nobody expected is written to a file for a bug report.

    Neither has a secret in it.
    """
    return without_secrets(_message(error))


def _message(error: Exception) -> str:
    refused = refusal_of(error)
    if isinstance(error, ValidationError):
        return first_error(error)
    if isinstance(error, ProblemError):
        return error.detail
    if isinstance(error, DatabaseAway):
        return f"{error}; {_FIX_CONNECTION}"
    if isinstance(error, ValueError | OSError | LedgerError):
        return str(error)
    return _database_message(*refused) if refused is not None else _unexpected_message(error)


def setting_error(error: ValidationError, options: Container[str]) -> str:
    """Return the first setting that is wrong, as the option or variable that gave it, and what would be right."""
    first: Any = error.errors()[0]
    name = str(first["loc"][0])
    given = f"--{name.replace('_', '-')}" if name in options else f"TOKEN_LEDGER_{name.upper()}"
    return f"{given}: {what_is_wrong(first)}"


def _database_message(refusal: Refusal, words: str) -> str:
    """Return why the database refuses, in its own words, and what to do about it."""
    words = " ".join(words.split())
    match refusal:
        case Refusal.ADDRESS:
            return f"TOKEN_LEDGER_DATABASE_URL can't be used: {words}"
        case Refusal.LOGIN:
            return f"the database refuses: {words}; correct TOKEN_LEDGER_DATABASE_URL, or grant its role more"
        case Refusal.SCHEMA:
            return f"the database lacks this version's schema ({words}); run token-ledger migrate as its owner"
        case Refusal.BUSY:
            return f"the database is busy ({words}); nothing was changed, try again"
        case Refusal.AWAY:
            return f"the database can't be reached: {words}; {_FIX_CONNECTION}"


def _unexpected_message(error: Exception) -> str:
    text = without_secrets(without_values("".join(traceback.format_exception(error))))
    summary = " ".join(without_values(traceback.format_exception_only(error)[-1]).split())
    with tempfile.NamedTemporaryFile("w", prefix="token-ledger-", suffix=".txt", delete=False) as file:
        file.write(text)
    return f"unexpected error: {summary}; this is a bug: please report it with the file {file.name}"
