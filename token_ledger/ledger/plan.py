"""Owns what a batch is asked, what is planned for it, and what it did."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from typing import Generic, TypeVar

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.commands import Command
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.decisions.decide import decide
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.load.kept_state import Known
from token_ledger.storage.write.bookings import Total
from token_ledger.storage.write.statements import Decided

Commands = Mapping[TenantId, Sequence[Command]]

Written = TypeVar("Written")

NUMBER_BITS = 63
"""The size of the random number that every batch leaves in its tenants' ledgers."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A batch of one tenant that is decided and being written; `committed` becomes false if it fails in any way.

    `known` is what the batch leaves to the next one, which takes it out if it is decided before the batch is committed.
    Otherwise it is taken out then, and kept.
    """

    books: Books
    known: dict[TenantId, Known]
    committed: asyncio.Future[bool]


OnDecided = Callable[[TenantId, Predecessor], None]
"""Called when a tenant's batch is decided and its writes are planned: the next batch may be decided on top of it."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a batch did: outcomes in the order of the commands, names of tenants, and those whose lock was taken.

    A command that failed alone has its error in place of an outcome, and one that was left for a later batch None.
    """

    outcomes: Mapping[TenantId, Sequence[Outcome | Exception | None]]
    decided: list[Decided]
    names: dict[TenantId, str]
    skipped: list[TenantId]


class Plan(Generic[Written]):
    """The decisions of a batch, with what writes them, as `plan` makes it."""

    def __init__(
        self, books: Sequence[Books], known: dict[TenantId, Known], commands: Commands,
        plan: Callable[[Sequence[Decided], Sequence[Total], int], Written],
    ) -> None:  # fmt: skip
        self.books = books
        self.known = known
        self.outcomes = {each.config.tenant_id: decide(each, commands[each.config.tenant_id]) for each in books}
        self.changes: list[Decided] = [(each.config.tenant_id, each.now, each.writes) for each in books]
        totals = [(each.loaded.booked_tokens, each.loaded.booked_nanos) for each in books]
        number = getrandbits(NUMBER_BITS)
        self.writes = plan(self.changes, totals, number)
        for each in books:
            known[each.config.tenant_id].add(each, number)
