"""Owns what an error of the database or its driver means: the one place that reads SQLSTATEs and types of errors.

Whatever is not about the data of a statement is the database's fault, so a state that nobody has thought of is too.
"""

from enum import StrEnum

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_DriverError = AsyncAdapt_asyncpg_dbapi.Error


class Failure(StrEnum):
    """What is wrong, in words that every caller may read."""

    ADDRESS = "the address of the database can't be used"
    AWAY = "the database can't be reached"
    LOGIN = "the database refuses the login, or it lacks a privilege"
    SCHEMA = "the database lacks this version's schema"
    READ_ONLY = "the database is read-only"
    FULL = "the database has no room left"
    SLOW = "the database is busy or too slow"
    BUSY = "the database asked to try again"
    NO_PARTITION = "the database lacks the partition of this month"
    BROKEN = "the database has an error of its own"
    VALUE = "the database can't store a value"
    RULE = "the database has a rule against what would be written"


ABOUT_DATA = frozenset({Failure.VALUE, Failure.RULE})
"""What is about the data of one command: others may be stored meanwhile, and it never will be as it is."""

# By SQLSTATE, or by its class, the first two characters. Triggers and functions raise what they like, usually P0001.
_BY_STATE = {
    "08": Failure.AWAY, "57": Failure.AWAY, "53300": Failure.AWAY, "25P03": Failure.AWAY, "25P04": Failure.AWAY,
    "28": Failure.LOGIN, "3D": Failure.LOGIN, "42501": Failure.LOGIN,
    "3F": Failure.SCHEMA, "42P01": Failure.SCHEMA, "42703": Failure.SCHEMA, "42704": Failure.SCHEMA,
    "42804": Failure.SCHEMA, "42883": Failure.SCHEMA,
    "25006": Failure.READ_ONLY,
    "53": Failure.FULL,
    "55P03": Failure.SLOW, "57014": Failure.SLOW,
    "40": Failure.BUSY,
    "22": Failure.VALUE, "54": Failure.VALUE,
    "09": Failure.RULE, "23": Failure.RULE, "27": Failure.RULE, "38": Failure.RULE, "39": Failure.RULE,
    "44": Failure.RULE, "P0": Failure.RULE,
}  # fmt: skip
_NO_CHECK = "23514"
_NO_ROLE = "22023"
_ENDS_CONNECTION = frozenset({"FATAL", "PANIC"})
_AT_CONNECTING = frozenset({Failure.LOGIN, Failure.SCHEMA})
_AWAY = (
    OSError, TimeoutError, PoolTimeout, _DriverError, DBAPIError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
"""Errors that no server sent: there was no answer, or the connection can't be used any longer."""


def failure_of(error: BaseException) -> Failure | None:
    """Return what an error means, or None if it does not come from the database."""
    error = innermost(error)
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Failure.ADDRESS
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Failure.VALUE  # the driver could not write it for the server
    return Failure.AWAY if isinstance(error, _AWAY) else None


def innermost(error: BaseException) -> BaseException:
    """Return the error that SQLAlchemy and its driver have wrapped."""
    while isinstance(error, DBAPIError | _DriverError):
        inner = error.orig if isinstance(error, DBAPIError) else error.__cause__
        if inner is None:
            return error
        error = inner
    return error


def in_words(error: BaseException) -> str:
    """Return an error as text, with its type where it has none."""
    return " ".join(str(innermost(error)).split()) or type(error).__name__


def _of_server(error: asyncpg.PostgresError) -> Failure:
    state = error.sqlstate or ""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Failure.BUSY  # the schema has changed: the statement is planned anew when it is sent again
    if state == _NO_CHECK and error.constraint_name is None:
        return Failure.NO_PARTITION  # a row that breaks a constraint names it
    ends_connection = error.severity_en in _ENDS_CONNECTION
    if state == _NO_ROLE and ends_connection:
        return Failure.SCHEMA  # the role that connections ask for is made by the first migration
    found = _BY_STATE.get(state) or _BY_STATE.get(state[:2], Failure.BROKEN)
    return Failure.AWAY if ends_connection and found not in _AT_CONNECTING else found
