"""Books a usual batch of one tenant by one statement: a function that checks what was assumed, then writes all rows.

It writes what nearly all batches write: balances, holds and their ends, events and parts, denials, triggers that fired,
steps of runs. For what it checks see `token_ledger_book` in the migrations. It is sent outside a transaction, so that
it is one by itself, and its answer is that of the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import repeat
from typing import Any

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage import json_columns, rows
from token_ledger.storage.schema.batch_rows import BatchRow, Places, array_text
from token_ledger.storage.schema.ledger_tables import operation_keys, reservations, trigger_firings
from token_ledger.storage.write.bookings import Total, balance_row, event_row, given_row
from token_ledger.storage.write.rollups import ROLLUPS, segment_of_batch
from token_ledger.storage.write.statements import Decided

ONE = 1
"""The place of the one tenant, which every row begins with."""

OPERATION_KEY_ROW = BatchRow(
    "operation_key_row",
    tuple(operation_keys.c[name] for name in ("source", "key", "fingerprint", "answer", "target_id")),
)
ENDED_HOLD_ROW = BatchRow(
    "ended_hold_row",
    tuple(reservations.c[name] for name in ("reservation_id", "state", "ended_id", "end_reason")),
)
_changed = rows.RESERVATION.only(
    "reservation_id", "expires_at", "drawn_tokens", "drawn_uncached_tokens", "drawn_nanos", "drawn_calls", "changes",
    "drawn_use",
)  # fmt: skip
CHANGED_HOLD_ROW = BatchRow("changed_hold_row", _changed.columns)
_changed_row = _changed.writer("lock, value", first=["lock"])
_denied = rows.DENIAL.without("created_at")
DENIAL_ROW = BatchRow("denial_row", _denied.columns)
_denial_row = _denied.writer("lock, value", first=["lock"])
TRIGGER_FIRING_ROW = BatchRow(
    "trigger_firing_row",
    tuple(trigger_firings.c[name] for name in ("reservation_id", "trigger", "technique", "applied", "evidence")),
)
_counted = rows.RUN.only("run_id", "iterations")
COUNTED_RUN_ROW = BatchRow("counted_run_row", _counted.columns)
_counted_row = _counted.writer("lock, value", first=["lock"])
RUN_STEP_ROW = BatchRow("run_step_row", rows.STEP.columns)
_step_row = rows.STEP.writer("lock, value", first=["lock"])

WRITTEN = frozenset(
    {
        "changed_accounts", "new_reservations", "ended_reservations", "events", "parts", "changed_reservations", "keys",
        "denials", "firings", "changed_runs", "steps", "rollups", "tag_rollups", "run_rollups",
        "model_names", "optimizations",
    }
)  # fmt: skip
"""What of a batch's changes the statement writes. The last two are no rows: names are stored as decisions on them."""

ARGUMENTS = 31
BOOK = f"select became, clock from token_ledger_book({', '.join(f'${place}' for place in range(1, ARGUMENTS + 1))})"


class Became(StrEnum):
    """What became of a batch; of all but `BOOKED` nothing was written."""

    BOOKED = "booked"
    STALE = "stale"
    """The ledger is not as the last batch of this process left it."""
    INSTANT = "instant"
    """The instant of the batch lies after the database's clock, or too far before."""
    DUE = "due"
    """A hold has expired."""
    KNOWN = "known"
    """A call is known by one of the response ids."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is sent to book a batch, with copies of all values: the next batch is decided on top of it."""

    changes: tuple[Any, ...]

    async def book(
        self, connection: Any, tenant: TenantId, left: tuple[Any, ...], new_responses: Sequence[str],
        responses_since: datetime | None, *, lasts: bool,
    ) -> tuple[Became, datetime]:  # fmt: skip
        """Send it, and return what became of it and the clock. Raises driver errors.

        `left` is what the batch before left in the ledger (`load.locks.Stamp`); `new_responses` are ids of responses
        that were taken for new among the calls since an instant.
        """
        at, totals, number, segment, places, *arrays = self.changes
        [answer] = await connection.fetch(
            BOOK, tenant, *left, at, *totals, number, segment, lasts, new_responses or None, responses_since, places,
            *arrays,
        )  # fmt: skip
        return Became(answer["became"]), answer["clock"]


def plan_statement(decided: Sequence[Decided], totals: Sequence[Total], number: int) -> Statement | None:
    """Return the statement that writes the changes of a batch of one tenant; None if one can't write them.

    `totals` are what the tenant has booked in all, `number` is the random one of the batch.
    """
    [(_, now, writes)] = decided
    [total] = totals
    if not writes.has_only(WRITTEN):
        return None
    places = Places[datetime]()
    booked = [event_row(ONE, event, array_text, places) for event in (*writes.events, *writes.parts)]
    calls = [*repeat(None, len(writes.events)), *(event.calls for event in writes.parts)] if writes.parts else []
    arrays = (
        [balance_row(ONE, account) for account in writes.changed_accounts.values()],
        [given_row(ONE, hold, array_text) for hold in writes.new_reservations],
        booked,
        calls,
        [
            (ONE, command.source, command.key, command.fingerprint, answer, target)
            for command, answer, target in writes.keys
        ],
        [
            (ONE, hold.reservation_id, state, hold.ended_id, hold.end_reason)
            for hold, state in writes.ended_reservations
        ],
        [_changed_row(ONE, hold) for hold in writes.changed_reservations.values()],
        [_denial_row(ONE, denial) for denial in writes.denials],
        [
            (ONE, hold_id, a.kind, a.technique, a.applied, json_columns.evidence_text(a.evidence))
            for hold_id, a in writes.firings
        ],
        [_counted_row(ONE, run) for run in writes.changed_runs.values()],
        [_step_row(ONE, step) for step in writes.steps],
        *(rollup.rows(decided) for rollup in ROLLUPS),
    )
    sent = (each or None for each in arrays)
    return Statement((now, total, number, segment_of_batch(writes), places.sent or None, *sent))
