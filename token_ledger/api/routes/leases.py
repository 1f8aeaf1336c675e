"""The route of leases. Parts of a lease are settled, and it is released, as a reservation is."""

from token_ledger.api.caller_operations import CallerOperation
from token_ledger.core.batch.outcomes import Granted
from token_ledger.wire.answers import leases as answers
from token_ledger.wire.bodies.reservations import LeaseBody
from token_ledger.wire.commands.reservations import lease_command

LEASE = CallerOperation(
    op="lease",
    path="/v1/leases",
    status=201,
    body=LeaseBody,
    command=lease_command,
    outcome=Granted,
    answer=answers.lease_answer,
    answer_type=answers.LeaseAnswer,
    summary="Open a lease: one hold for many calls",
    description=(
        "The client then admits calls by itself, without asking, as long as their worst cases fit into what is held, "
        "and books each with a settle of `part: true`. `calls` says for how many calls there is room: at most half "
        "of what every hard account has available, shared with its other leases. 402 means that there is no room for a "
        "lease; single calls may still fit."
    ),
)
