"""Owns the tables of sums: roll-ups, written with every event, and checkpoints of events that are gone."""

from sqlalchemy import (
    BigInteger,
    Column,
    PrimaryKeyConstraint,
    Table,
)

from token_ledger.storage.columns import at, big, figures, metadata, words

hourly_usage = Table(
    "hourly_usage",
    metadata,
    big("tenant_id"),
    at("hour"),
    words("cost_center"),
    words("agent_type"),
    words("model"),
    *figures(),
    PrimaryKeyConstraint("tenant_id", "hour", "cost_center", "agent_type", "model"),
    postgresql_with={"fillfactor": "50"},
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
    PrimaryKeyConstraint("tenant_id", "day", "user_id", "agent_type", "model", "request_type"),
    postgresql_with={"fillfactor": "50"},
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
    PrimaryKeyConstraint("tenant_id", "run_id", "agent_type", "tool", "model"),
    postgresql_with={"fillfactor": "50"},
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
    PrimaryKeyConstraint("tenant_id", "day", "tag", "value"),
    postgresql_with={"fillfactor": "50"},
)


def _checkpoint(rollup: Table, name: str) -> Table:
    key = list(rollup.primary_key.columns)
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
