"""The command of a preflight."""

from token_ledger.core.batch import commands
from token_ledger.wire.bodies.preflight import PreflightBody
from token_ledger.wire.commands.reservations import call_fields
from token_ledger.wire.problems import invalid_field

MOST_PLANNED = 1_000
"""The most calls of one preflight. It is decided inside its tenant's batch, so other calls wait for it."""


def preflight_command(body: PreflightBody) -> commands.Preflight:
    """Return the command for a preflight."""
    planned = sum(call.count for call in body.calls)
    if planned > MOST_PLANNED:
        raise invalid_field("calls", f"{planned} calls are planned; plan at most {MOST_PLANNED} at a time")
    return commands.Preflight(
        tuple(
            (commands.Reserve("", b"", **call_fields(call, f"calls.{position}.")), call.count)
            for position, call in enumerate(body.calls)
        )
    )
