"""Submits the worker's commands to the ledger, like those of any caller."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.tenant import TenantId
from token_ledger.worker.tenants import TenantFailures

Submit = Callable[[TenantId, Command], Awaitable[Outcome]]


async def submit_all(
    submit: Submit, commands: Iterable[tuple[TenantId, Command]], names: Mapping[TenantId, str],
    failures: TenantFailures,
) -> None:  # fmt: skip
    """Submit commands together and wait for all of them; note the tenants for which one failed."""
    sent = list(commands)
    outcomes = await asyncio.gather(*(submit(tenant, command) for tenant, command in sent), return_exceptions=True)
    failed = {
        tenant: outcome
        for (tenant, _), outcome in zip(sent, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    }
    for tenant, error in failed.items():
        failures.note(tenant, names[tenant], error)
    for tenant in {tenant for tenant, _ in sent} - failed.keys():
        failures.done(tenant)
