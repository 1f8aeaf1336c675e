"""Owns the tables of sums: roll-ups, written with every event, and checkpoints of events that are gone.

The sums of a key are in one row per *segment* (a number of batches of the tenant) and one of segment 0 for all that was
folded. A row is updated a few hundred times at most: while a long transaction keeps the database from removing old
versions of rows, finding the newest of many takes ever longer.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    text,
)

from token_ledger.storage.schema.columns import at, big, figures, metadata, words


def _rollup(name: str, *key: Column[Any]) -> Table:
    return Table(
        name,
        metadata,
        big("tenant_id"),
        *key,
        *figures(),
        big("segment", default="0"),
        PrimaryKeyConstraint("tenant_id", *(column.name for column in key), "segment"),
        Index(f"{name}_unfolded", "tenant_id", "segment", postgresql_where=text("segment > 0")),
        postgresql_with={"fillfactor": "10"},
    )


hourly_usage = _rollup("hourly_usage", at("hour"), words("cost_center"), words("agent_type"), words("model"))

daily_usage = _rollup(
    "daily_usage", at("day"), words("user_id"), words("agent_type"), words("model"), words("request_type")
)

run_usage = _rollup("run_usage", big("run_id"), words("agent_type"), words("tool"), words("model"))
"""What runs used, by agent type, tool (empty for none) and model; a sub-run's is its own."""

daily_tag_usage = _rollup("daily_tag_usage", at("day"), words("tag"), words("value"))

ROLLUPS = (hourly_usage, daily_usage, run_usage, daily_tag_usage)


def key_of(rollup: Table) -> tuple[str, ...]:
    """Return the columns that say what a sum of a tenant is of."""
    return tuple(column.name for column in rollup.primary_key if column.name not in ("tenant_id", "segment"))


def _checkpoint(rollup: Table, name: str) -> Table:
    key = [column for column in rollup.primary_key.columns if column.name != "segment"]
    return Table(
        name,
        metadata,
        *(Column(column.name, column.type, nullable=False, autoincrement=False) for column in key),
        *figures(),
        PrimaryKeyConstraint(*(column.name for column in key)),
    )


checkpoints = Table(
    "checkpoints",
    metadata,
    Column("tenant_id", BigInteger, primary_key=True, autoincrement=False),
    big("last_id"),
    at("booked_at"),
    at("made_at"),
)
"""Up to which id the events of a tenant are added up in the tables below, and when the last of them was booked.

Older events, and what belongs to them, may be gone. Only functions of the database write here.
"""

account_checkpoints = Table(
    "account_checkpoints",
    metadata,
    big("tenant_id"),
    big("account_id"),
    big("settled_tokens"),
    big("settled_nanos"),
    big("settled_calls"),
    PrimaryKeyConstraint("tenant_id", "account_id"),
)

step_checkpoints = Table(
    "step_checkpoints",
    metadata,
    big("tenant_id"),
    big("run_id"),
    big("steps"),
    PrimaryKeyConstraint("tenant_id", "run_id"),
)
"""How many steps of a run were deleted."""

hourly_checkpoints = _checkpoint(hourly_usage, "hourly_checkpoints")

daily_checkpoints = _checkpoint(daily_usage, "daily_checkpoints")

daily_tag_checkpoints = _checkpoint(daily_tag_usage, "daily_tag_checkpoints")

run_checkpoints = _checkpoint(run_usage, "run_checkpoints")
