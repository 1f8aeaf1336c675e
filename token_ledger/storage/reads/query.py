"""Runs the query of a plain read."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def fetch_rows(connection: AsyncConnection, statement: str, **values: Any) -> Sequence[Any]:
    """Return all rows of a query."""
    return (await connection.execute(text(statement), values)).all()
