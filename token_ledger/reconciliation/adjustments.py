"""Decides what is booked so that the ledger has what a bill has: an event for each cell that the bill has more in.

Books have no negative cost but that of a correction of a certain event. So nothing is booked where the ledger has more
than the bill: those calls are to be looked at, and reversed if they were not made. What the ledger counted by the piece
with a model, and the bill in a line of its own, is no difference: it is taken off that line. Rounding is not booked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from hashlib import blake2b
from typing import Final

from token_ledger.core.batch.commands import Record
from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.details import Kind
from token_ledger.core.model.money import format_money
from token_ledger.core.model.usage import Usage
from token_ledger.reconciliation.cells import Key
from token_ledger.reconciliation.compare import Compared, Reconciliation
from token_ledger.reconciliation.reasons import Cause
from token_ledger.reports.utc_usage import ADJUSTS, BILL_TAG, COST_CENTER, ITEM_TAG

REASON_TAG: Final = "reason"
_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is to be booked in a cell, and what the ledger has there before it."""

    key: Key
    nanos: int
    ledger_nanos: int


def adjustments_of(found: Reconciliation) -> list[Adjustment]:
    """Return what is to be booked; ValueError where the ledger has more than the bill, or its days are others."""
    for provider, offset in found.offsets.items():
        if offset:
            raise ValueError(
                f"the days of the bill of {provider} are not those of UTC, so nothing was booked: export it in UTC"
            )
    by_the_piece: dict[tuple[object, ...], int] = {}
    for cell in found.cells:
        if not cell.key.item:
            place = _place(cell.key)
            by_the_piece[place] = by_the_piece.get(place, 0) - min(0, _sum(cell, Cause.FEES))
    adjustments: list[Adjustment] = []
    for cell in sorted(found.cells, key=lambda each: each.key.item):
        nanos = cell.difference_nanos - _sum(cell, Cause.ROUNDING)
        if not cell.key.item:
            nanos -= min(0, _sum(cell, Cause.FEES))
        if cell.key.item and nanos > 0:
            part = min(nanos, by_the_piece.get(_place(cell.key), 0))
            by_the_piece[_place(cell.key)] = by_the_piece.get(_place(cell.key), 0) - part
            nanos -= part
        if nanos > 0:
            adjustments.append(Adjustment(cell.key, nanos, cell.ledger_nanos))
        elif nanos < 0:
            raise ValueError(_too_much(cell))
    return adjustments


def commands_of(
    adjustments: Iterable[Adjustment], reason: str, now: datetime, counts_since: datetime, project_tag: str | None
) -> list[Record]:
    """Return the commands that book adjustments at noon of their days, once however often they are sent.

    Their keys follow from the cell and from what the ledger had in it: a later difference is another adjustment.
    """
    return [_command(each, reason, now, counts_since, project_tag) for each in adjustments]


def _command(
    adjustment: Adjustment, reason: str, now: datetime, counts_since: datetime, project_tag: str | None
) -> Record:
    key = adjustment.key
    identity = repr((*key, adjustment.ledger_nanos)).encode(errors="backslashreplace")
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


def _sum(cell: Compared, cause: Cause) -> int:
    return sum(reason.nanos for reason in cell.reasons if reason.cause is cause)


def _too_much(cell: Compared) -> str:
    key = cell.key
    return (
        f"nothing was booked: on {key.day} the ledger has {format_money(-cell.difference_nanos)} dollars more than the"
        f" bill for {key.provider}/{key.model or key.item}, and no negative cost can be booked; look at these calls,"
        " and reverse those that were not made (POST /v1/reversals), or leave --book out"
    )
