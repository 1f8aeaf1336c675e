"""Submits administrators' commands to the ledger, and says what they changed."""

from token_ledger.cli.connections import open_ledger, tenant_named
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Changed, Outcome, StopAnswer
from token_ledger.core.model.audit import AuditEntry
from token_ledger.wire.problems import problem_of


async def submit(url: str, tenant_name: str, *commands: Command) -> list[AuditEntry]:
    """Submit commands one after the other, and return the entries of the audit log that they made.

    Raises ProblemError for the first that is refused.
    """
    async with open_ledger(url) as (database, commits):
        tenant = await tenant_named(database, tenant_name)
        return [accepted(await commits.submit(tenant, command)) for command in commands]


def accepted(outcome: Outcome) -> AuditEntry:
    """Return the entry of the audit log that a command made; raises ProblemError if it was refused."""
    if not isinstance(outcome, Changed | StopAnswer):
        raise problem_of(outcome)
    return outcome.entry


def in_words(entry: AuditEntry) -> str:
    """Return what a command changed."""
    return f"{entry.action}: {entry.target}"
