"""Decides what is booked so that the ledger has what a bill has: an event for each cell in which they differ.

It costs what the bill has more, below zero where that is less: credits, a discount, a price that was too high, calls
that the bill does not have. What the ledger counted by the piece with a model, and the bill in a line of its own, is no
difference: it is taken off that line, and what the ledger counted more than all such lines off the model. Rounding is
not booked.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from hashlib import blake2b
from typing import Final

from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.bills import ADJUSTS, BILL_TAG, ITEM_TAG
from token_ledger.core.model.details import Kind
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.cells import Key
from token_ledger.reconciliation.compare import Compared, Reconciliation
from token_ledger.reconciliation.reasons import Cause
from token_ledger.reports.utc_usage import COST_CENTER

REASON_TAG: Final = "reason"
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is to be booked in a cell, what the ledger has there before it, and how many adjustments are in that."""

    key: Key
    nanos: int
    ledger_nanos: int
    before: int


def adjustments_of(found: Reconciliation) -> list[Adjustment]:
    """Return what is to be booked, what adds to the ledger first; ValueError where the bill has other days."""
    for provider, offset in found.offsets.items():
        if offset:
            raise ValueError(
                f"the days of the bill of {provider} are not those of UTC, so nothing was booked: export it in UTC"
            )
    by_the_piece = Counter[tuple[object, ...]]()
    for cell in found.cells:
        by_the_piece[_place(cell.key)] += _pieces(cell)
    adjustments: list[Adjustment] = []
    # Items first: what they do not take of the pieces is left for the models.
    for cell in sorted(found.cells, key=lambda each: not each.key.item):
        nanos = cell.difference_nanos - _sum(cell, Cause.ROUNDING) + _pieces(cell)
        taken = max(0, min(nanos if cell.key.item else _pieces(cell), by_the_piece[_place(cell.key)]))
        by_the_piece[_place(cell.key)] -= taken
        if nanos != taken:
            adjustments.append(Adjustment(cell.key, nanos - taken, cell.ledger_nanos, cell.adjustments))
    return sorted(adjustments, key=lambda each: (each.nanos < 0, each.key.item, each.key))


def commands_of(
    adjustments: Iterable[Adjustment], reason: str, now: datetime, counts_since: datetime, project_tag: str | None
) -> list[Record]:
    """Return the commands that book adjustments at noon of their days, once however often they are sent.

    Their keys follow from the cell and from what was in it: a later difference is another adjustment.
    """
    return [_command(each, reason, now, counts_since, project_tag) for each in adjustments]


def _command(
    adjustment: Adjustment, reason: str, now: datetime, counts_since: datetime, project_tag: str | None
) -> Record:
    key = adjustment.key
    identity = repr((*key, adjustment.ledger_nanos, adjustment.before)).encode(errors="backslashreplace")
    tags = {BILL_TAG: key.provider, REASON_TAG: reason}
    if key.item:
        tags[ITEM_TAG] = key.item[:_LONGEST_NAME]
    if key.project and project_tag not in (None, COST_CENTER):
        tags[str(project_tag)] = key.project
    return Record(
        blake2b(identity, digest_size=16).hexdigest(), fingerprint(identity), ADJUSTS, ADJUSTS,
        key.provider if key.model else "", key.model, Usage(),
        user=ADJUSTS, cost_center=key.project if key.project and project_tag == COST_CENTER else None,
        occurred_at=min(datetime.combine(key.day, time(12), UTC), now), tool=ADJUSTS, tags=tuple(sorted(tags.items())),
        event_kind=Kind.TOOL_CALL, cost_nanos=adjustment.nanos, counts_since=counts_since,
    )  # fmt: skip


def _place(key: Key) -> tuple[object, ...]:
    return key.day, key.provider, key.project


def _pieces(cell: Compared) -> int:
    """Return what the ledger counted by the piece with a model, and the bill in lines of their own."""
    return 0 if cell.key.item else -min(0, _sum(cell, Cause.FEES))


def _sum(cell: Compared, cause: Cause) -> int:
    return sum(reason.nanos for reason in cell.reasons if reason.cause is cause)
