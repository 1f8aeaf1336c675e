"""Owns the metadata of the schema and the columns that many of its tables have."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    MetaData,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from token_ledger.core.model.usage import KINDS, PARTS, Figures

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)

Instant = DateTime(timezone=True)


def big(name: str, *, null: bool = False, default: str | None = None) -> Column[int]:
    """Return a column of whole numbers, such as ids, tokens and nano-dollars."""
    return Column(name, BigInteger, nullable=null, server_default=text(default) if default else None)


def words(name: str, *, null: bool = False) -> Column[str]:
    """Return a column of text."""
    return Column(name, Text, nullable=null)


def at(name: str, *, null: bool = False) -> Column[Any]:
    """Return a column of instants."""
    return Column(name, Instant, nullable=null)


def small(name: str, *, default: str | None = "0") -> Column[int]:
    """Return a column of small whole numbers, 0 unless told otherwise."""
    return Column(name, SmallInteger, nullable=False, server_default=text(default) if default else None)


def flag(name: str) -> Column[bool]:
    """Return a column that is false unless told otherwise."""
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def usage() -> list[Column[int]]:
    """Return a column for every kind of tokens."""
    return [big(kind) for kind in KINDS]


PARTS_FIT = " and ".join(f"{' + '.join(parts)} <= {whole}" for whole, parts in PARTS.items())
"""That no kind's parts are more than itself."""
STILL_UNPRICED = "unpriced and corrects is null and recosts is null"
"""What is said of events of which a part had no price, as in their index; they may be re-costed since."""
LONG_HELD = "posted_at - held_at > interval '01:00:00'"
"""What is said of calls of a lease that was given more than an hour before, as in their index."""

MARKED = "unpriced or estimated or late or failed or corrects is not null or recosts is not null"
"""What is said of events that reports tell by themselves, as in their index."""


def figures() -> list[Column[int]]:
    """Return the columns that roll-ups add up."""
    return [big(figure) for figure in Figures._fields]


def facts() -> list[Column[Any]]:
    """Return the columns that say what a call was for."""
    return [
        words("user_id"), words("cost_center"), words("agent_type"), words("request_type"), words("provider"),
        words("model"), big("run_id", null=True), words("tool", null=True), Column("tags", JSONB),
    ]  # fmt: skip


FACTS = tuple(column.name for column in facts())

_dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


def quoted(names: Iterable[str]) -> list[str]:
    """Return names as they stand in a statement."""
    return [_dialect.identifier_preparer.quote(name) for name in names]


def sql_type(column: Column[Any]) -> str:
    """Return the type of a column as it stands in a statement."""
    return column.type.compile(_dialect).lower()
