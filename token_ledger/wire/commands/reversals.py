"""The command of a reversal."""

from datetime import datetime

from token_ledger.core.batch.administration import Reverse
from token_ledger.wire.bodies.reversals import ReversalBody
from token_ledger.wire.commands.fields import fingerprint_of


def reversal_command(
    body: ReversalBody, events: tuple[tuple[int, datetime], ...], reservation_id: int | None,
    *, is_complete: bool, actor: str,
) -> Reverse:  # fmt: skip
    """Return the command that takes events back; the key under which they were booked is the command's own."""
    return Reverse(
        key=body.key,
        fingerprint=fingerprint_of(body),
        event_source=body.source,
        events=events,
        reservation_id=reservation_id,
        is_complete=is_complete,
        reason=body.reason,
        actor=actor,
    )
