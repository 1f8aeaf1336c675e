"""Submits the worker's commands to the ledger, like those of any caller."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.tenant import TenantId

Submit = Callable[[TenantId, Command], Awaitable[Outcome]]


async def submit_all(submit: Submit, commands: Iterable[tuple[TenantId, Command]]) -> None:
    """Submit commands together and wait for all of them; then raise the first error, if any."""
    outcomes = await asyncio.gather(*(submit(tenant, command) for tenant, command in commands), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
