"""Owns the metadata of the schema and the columns that many of its tables have."""

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
from sqlalchemy.dialects.postgresql import JSONB

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


def figures() -> list[Column[int]]:
    """Return the columns that roll-ups add up."""
    names = (
        "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
        "cost_nanos",
    )  # fmt: skip
    return [big(name) for name in names]


def facts() -> list[Column[Any]]:
    """Return the columns that say what a call was for."""
    return [
        words("user_id"), words("cost_center"), words("agent_type"), words("request_type"), words("provider"),
        words("model"), big("run_id", null=True), words("tool", null=True), Column("tags", JSONB),
    ]  # fmt: skip
