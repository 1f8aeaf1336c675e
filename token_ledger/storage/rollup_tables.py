"""Owns the tables of sums: roll-ups, written with every event, and checkpoints of events that are gone.

The sums of a key stand in several rows, one for every *segment* (so many batches of the tenant), and one of segment 0
for all that was folded. A row is so updated a few hundred times at most: while a long transaction somewhere keeps the
database from clearing old versions of rows away, finding the newest of a hundred thousand would take longer and longer.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    text,
)

from token_ledger.storage.columns import at, big, figures, metadata, words


def _segment() -> Column[int]:
    return Column("segment", BigInteger, nullable=False, server_default=text("0"))


def _folded_next(table: str) -> Index:
    return Index(f"{table}_unfolded", "tenant_id", "segment", postgresql_where=text("segment > 0"))


hourly_usage = Table(
    "hourly_usage",
    metadata,
    big("tenant_id"),
    at("hour"),
    words("cost_center"),
    words("agent_type"),
    words("model"),
    *figures(),
    _segment(),
    PrimaryKeyConstraint("tenant_id", "hour", "cost_center", "agent_type", "model", "segment"),
    _folded_next("hourly_usage"),
    postgresql_with={"fillfactor": "10"},
)

daily_usage = Table(
    "daily_usage",
    metadata,
    big("tenant_id"),
    at("day"),
    words("user_id"),
    words("agent_type"),
    words("model"),
    words("request_type"),
    *figures(),
    _segment(),
    PrimaryKeyConstraint("tenant_id", "day", "user_id", "agent_type", "model", "request_type", "segment"),
    _folded_next("daily_usage"),
    postgresql_with={"fillfactor": "10"},
)

run_usage = Table(
    "run_usage",
    metadata,
    big("tenant_id"),
    big("run_id"),
    words("agent_type"),
    words("tool"),
    words("model"),
    *figures(),
    _segment(),
    PrimaryKeyConstraint("tenant_id", "run_id", "agent_type", "tool", "model", "segment"),
    _folded_next("run_usage"),
    postgresql_with={"fillfactor": "10"},
)
"""What runs used, by agent type, tool (empty for none) and model; a sub-run's is its own."""

daily_tag_usage = Table(
    "daily_tag_usage",
    metadata,
    big("tenant_id"),
    at("day"),
    words("tag"),
    words("value"),
    *figures(),
    _segment(),
    PrimaryKeyConstraint("tenant_id", "day", "tag", "value", "segment"),
    _folded_next("daily_tag_usage"),
    postgresql_with={"fillfactor": "10"},
)


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

Older events, and what belongs to them, may be gone (design D11). Only functions of the database write here.
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
"""How many steps of a run are forgotten."""

hourly_checkpoints = _checkpoint(hourly_usage, "hourly_checkpoints")

daily_checkpoints = _checkpoint(daily_usage, "daily_checkpoints")

daily_tag_checkpoints = _checkpoint(daily_tag_usage, "daily_tag_checkpoints")

run_checkpoints = _checkpoint(run_usage, "run_checkpoints")
