"""Runs a batch that was refused in parts: what is at fault is found, left out, and kept if it reports spend."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from token_ledger.core.batch.commands import Command, KeepUnbooked, Report
from token_ledger.core.batch.loaded import RowMissing
from token_ledger.core.batch.outcomes import Outcome, Quarantined
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.errors import LedgerError, Unavailable, Unstorable
from token_ledger.ledger.plan import Commands, Plan
from token_ledger.storage.clocks import ClockDoubted
from token_ledger.storage.failures import ABOUT_DATA, Failure, failure_of
from token_ledger.storage.write.statements import Decided

log = logging.getLogger(__name__)

MOST_REFUSED_PARTS = 32
"""How many parts of a batch are tried in vain before the rest of it is left for later batches: others wait meanwhile.
Three commands at fault are found among 256."""

Entry = tuple[TenantId, int]
"""A command of a batch: its tenant, and its place among the tenant's commands."""


class Parts:
    """Runs a batch in parts: one that is refused is halved until the command at fault is alone.

    After `MOST_REFUSED_PARTS` the rest is left, and has no result.
    """

    def __init__(
        self, connection: Any, commands: Commands, run: Callable[[Any, Commands], Awaitable[Plan[Any] | Exception]]
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._run = run
        self._refused = 0
        self.results: dict[Entry, Outcome | Exception] = {}
        self.decided: list[Decided] = []
        self.names: dict[TenantId, str] = {}

    async def run(self, part: Sequence[Entry], *, bad: bool) -> bool:
        """Run a part and tell whether all of it was stored; `bad` says that it is known not to be."""
        if not part:
            return True
        if bad and len(part) > 1:
            middle = len(part) // 2
            stored = await self.run(part[:middle], bad=False)
            await self.run(part[middle:], bad=stored)  # where one half is good, the other can't be
            return False
        if self._refused >= MOST_REFUSED_PARTS:
            return False
        chosen: dict[TenantId, list[Command]] = {}
        for tenant, place in part:
            chosen.setdefault(tenant, []).append(self._commands[tenant][place])
        plan = await self._run(self._connection, chosen)
        if isinstance(plan, Plan):
            self._stored(part, plan)
            return True
        self._refused += 1
        if len(part) == 1:
            await self._keep(part[0], plan)
        else:
            await self.run(part, bad=True)
        return False

    async def _keep(self, entry: Entry, error: Exception) -> None:
        """Keep the report of spend that can't be booked, in quarantine; leave any other command out."""
        tenant, place = entry
        command = self._commands[tenant][place]
        refused = self.results[entry] = verdict(error)
        if isinstance(command, Report):
            about = {"command": command.verb, "reason": str(error)}
            log.warning("spend can't be booked", extra=about, exc_info=error if refused is error else None)
            keeping = KeepUnbooked(command.key, command.fingerprint, report=command)
            plan = await self._run(self._connection, {tenant: [keeping]})
            if isinstance(plan, Plan) and isinstance(plan.outcomes[tenant][0], Quarantined):
                self._stored([entry], plan)

    def _stored(self, part: Sequence[Entry], plan: Plan[Any]) -> None:
        self.decided += plan.changes
        self.names.update((books.config.tenant_id, books.config.name) for books in plan.books)
        following = {tenant: iter(outcomes) for tenant, outcomes in plan.outcomes.items()}
        self.results.update({entry: next(following[entry[0]]) for entry in part})


def is_about_one(error: BaseException) -> bool:
    """Tell whether an error is about one command: the database refuses its data, or Python can't decide on it.

    Any other error of the database (a full disk, a missing privilege) would meet every command alike.
    """
    failure = failure_of(error)
    return failure in ABOUT_DATA or (failure is None and not isinstance(error, LedgerError | ClockDoubted))


def verdict(error: Exception) -> Exception:
    """Return what the sender of the one command that was refused gets; a bug is what it is."""
    failure = failure_of(error)
    if failure is Failure.RULE:
        return Unavailable(f"{failure}: {error}")
    if isinstance(error, RowMissing):
        return Unavailable(str(error))
    if failure is Failure.VALUE or isinstance(error, ValueError | OverflowError):
        return Unstorable(str(error))
    return error
