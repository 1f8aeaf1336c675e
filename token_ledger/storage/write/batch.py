"""Writes what a batch decided, for all tenants of the batch at once; what few batches write is here."""

from collections.abc import Sequence
from typing import Any

from token_ledger.storage import json_columns, rows
from token_ledger.storage.schema.ledger_tables import operation_keys, trigger_firings
from token_ledger.storage.write.bookings import Total, plan_bookings
from token_ledger.storage.write.limits import plan_limits
from token_ledger.storage.write.recostings import plan_recostings
from token_ledger.storage.write.rollups import plan_rollups
from token_ledger.storage.write.setup import plan_setup
from token_ledger.storage.write.statements import Decided, Rows, Write, insert, insert_columns, together, update

INSERT_KEYS = insert_columns(*operation_keys.columns)
INSERT_ACCOUNTS = insert(rows.NEW_ACCOUNT)
INSERT_DENIALS = insert(rows.DENIAL)
INSERT_FIRINGS = insert_columns(*trigger_firings.columns)
INSERT_KEPT = insert(rows.KEPT, at="kept_at")
INSERT_RUNS = insert(rows.RUN)
UPDATE_RUNS = update(
    rows.RUN.only("run_id", "limits", "allocated", "state", "ended_at", "limit_iterations", "iterations")
)
INSERT_STEPS = insert(rows.STEP, at="booked_at")


def plan_writes(decided: Sequence[Decided], totals: Sequence[Total], number: int) -> list[Write]:
    """Return the statements that write the changes of all tenants of a batch, in order, with copies of all values.

    What a batch decides on may change once its writes are planned: the next batch is decided on top of it.
    """
    others = [each for each in decided if not each[2].is_ordinary]
    writes = [
        *INSERT_ACCOUNTS.plan_values(others, lambda writes: writes.new_accounts),
        *plan_bookings(decided, totals, number),
        *plan_recostings(others),
        *plan_rollups(decided),
        *plan_limits(others),
        *INSERT_KEYS.plan(_keys(others)),
        *INSERT_DENIALS.plan_values(others, lambda writes: writes.denials),
        *INSERT_FIRINGS.plan(_firings(others)),
        *INSERT_KEPT.plan_values(others, lambda writes: writes.kept),
        *INSERT_RUNS.plan_values(others, lambda writes: writes.new_runs),
        *UPDATE_RUNS.plan_values(others, lambda writes: writes.changed_runs.values()),
        *INSERT_STEPS.plan_values(others, lambda writes: writes.steps),
        *plan_setup(others),
    ]
    return together(writes) if any(each.recostings for _, _, each in others) else writes


async def send(connection: Any, writes: Sequence[Write]) -> None:
    """Send planned statements in order."""
    for statement, arguments in writes:
        await connection.execute(statement, *arguments)


def _keys(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, command.source, command.key, command.fingerprint, answer, target_id, now)
        for tenant, now, writes in decided
        for command, answer, target_id in writes.keys
    ]


def _firings(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, reservation_id, a.kind, a.technique, a.applied, json_columns.evidence_text(a.evidence), now)
        for tenant, now, writes in decided
        for reservation_id, a in writes.firings
    ]
