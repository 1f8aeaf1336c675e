"""Writes what changes limits, and what few batches do to holds: leases, parts of calls, extensions."""

from collections.abc import Sequence

from token_ledger.storage import rows
from token_ledger.storage.schema.ledger_tables import operation_keys
from token_ledger.storage.write.statements import Decided, Rows, Write, insert, insert_columns, update, upsert

INSERT_OTHER_HOLDS = insert(rows.RESERVATION)
UPDATE_HOLDS = update(
    rows.RESERVATION.only(
        "reservation_id",
        "expires_at",
        "drawn_tokens",
        "drawn_uncached_tokens",
        "drawn_nanos",
        "drawn_calls",
        "changes",
        "drawn_use",
    )
)
INSERT_PARTS = insert(rows.EVENT, at="booked_at")
INSERT_PART_KEYS = insert_columns(*operation_keys.columns)
UPDATE_TERMS = update(
    rows.ACCOUNT.only(
        "account_id", "limits", "base", "enforcement", "thresholds", "fired", "leases", "grants_until", "closed_at",
        "moved_to",
    )
)  # fmt: skip
INSERT_TRANSFERS = insert(rows.TRANSFER, at="booked_at")
INSERT_LIMIT_ENTRIES = insert(rows.LIMIT_ENTRY, at="booked_at")
INSERT_THRESHOLDS = insert(rows.THRESHOLD, at="booked_at")
INSERT_GRANTS = insert(rows.GRANT)
UPDATE_GRANTS = update(rows.GRANT.only("grant_id", "left", "mark", "lapsed_at"))
SET_INCREASES = upsert(
    rows.INCREASE, key="increase_id", change=("state", "decided_by", "decided_at", "note", "grant_id")
)


def plan_limits(decided: Sequence[Decided]) -> list[Write]:
    """Return the statements for limits, thresholds, grants, leases, parts, transfers; none where nothing changes."""
    return [
        *INSERT_OTHER_HOLDS.plan_values(decided, lambda writes: writes.other_holds),
        *UPDATE_HOLDS.plan_values(decided, lambda writes: writes.changed_reservations.values()),
        *INSERT_PARTS.plan_values(decided, lambda writes: writes.parts),
        *INSERT_PARTS.plan_values(decided, lambda writes: writes.corrections),
        *INSERT_PART_KEYS.plan(_part_keys(decided)),
        *UPDATE_TERMS.plan_values(decided, lambda writes: writes.changed_terms.values()),
        *INSERT_TRANSFERS.plan_values(decided, lambda writes: writes.transfers),
        *INSERT_LIMIT_ENTRIES.plan_values(decided, lambda writes: writes.limit_entries),
        *INSERT_THRESHOLDS.plan_values(decided, lambda writes: writes.thresholds),
        *INSERT_GRANTS.plan_values(decided, lambda writes: writes.new_grants),
        *UPDATE_GRANTS.plan_values(decided, lambda writes: writes.changed_grants.values()),
        *SET_INCREASES.plan_values(decided, lambda writes: writes.increases.values()),
    ]


def _part_keys(decided: Sequence[Decided]) -> Rows:
    return [
        (tenant, event.source, event.key, event.fingerprint, "event", event.event_id, now)
        for tenant, now, writes in decided
        for event in writes.parts
    ]
