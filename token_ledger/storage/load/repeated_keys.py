"""Loads the rows that repeated idempotency keys are answered with, but for holds and runs, which their modules load."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import rows
from token_ledger.storage.schema.row_format import RowFormat

Replay = tuple[TenantId, str, int, datetime]
"""Tenant, kind of row, its id and when it was booked."""

# The instant of booking leads to the one partition that holds the event.
LOAD_EVENTS = f"""
select {rows.EVENT.select("e")}
from unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) as wanted (tenant_id, event_id, booked_at)
join usage_events as e using (tenant_id, event_id, booked_at)
"""


def _by_id(stored: RowFormat[Any], condition: str = "true") -> str:
    key = stored.names[0]
    return (
        f"select {stored.select('t')} from unnest($1::bigint[], $2::bigint[]) as wanted (tenant_id, {key})"
        f" join {stored.table.name} as t using (tenant_id, {key}) where {condition}"
    )


_LOAD: dict[str, tuple[RowFormat[Any], str, str]] = {
    "denial": (rows.DENIAL, "denials", _by_id(rows.DENIAL)),
    "kept": (rows.KEPT, "kept", _by_id(rows.KEPT)),
    # Budgets in use are part of the set-up.
    "budget": (rows.BUDGET, "archived_budgets", _by_id(rows.BUDGET, "t.archived_at is not null")),
    "step": (rows.STEP, "steps", _by_id(rows.STEP)),
    "grant": (rows.GRANT, "grants", _by_id(rows.GRANT)),
    "increase": (rows.INCREASE, "increases", _by_id(rows.INCREASE)),
    "audit": (rows.AUDIT, "audit", _by_id(rows.AUDIT)),
}
"""For each kind of row: its format, where it goes in `Loaded`, and the statement."""


async def load_replay_targets(connection: Any, loaded: Mapping[TenantId, Loaded], replays: Iterable[Replay]) -> None:
    """Load what stored keys point to; reservations and runs are loaded with those that commands name."""
    by_answer: dict[str, list[Replay]] = {}
    for replay in replays:
        by_answer.setdefault(replay[1], []).append(replay)
    if events := by_answer.get("event"):
        booked = [replay[3] for replay in events]
        for row in await connection.fetch(LOAD_EVENTS, *_names(events), booked):
            loaded[row[0]].events[row[1]] = rows.EVENT.read(row)
    for answer, (stored, place, statement) in _LOAD.items():
        if wanted := by_answer.get(answer):
            for row in await connection.fetch(statement, *_names(wanted)):
                getattr(loaded[row[0]], place)[row[1]] = stored.read(row)


def _names(replays: Iterable[Replay]) -> tuple[list[int], list[int]]:
    pairs = [(replay[0], replay[2]) for replay in replays]
    return [int(tenant) for tenant, _ in pairs], [target for _, target in pairs]
