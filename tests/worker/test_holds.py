"""Expiring holds: a backlog goes in a few slices, which grow as long as others hardly notice them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.proof.ledger import Ledger, open_ledger, reserve
from token_ledger.core.batch.commands import DUE_BESIDE_COMMANDS, Command, ExpireDue
from token_ledger.core.batch.outcomes import Outcome
from token_ledger.core.model.tenant import TenantId
from token_ledger.proof.verify import verify_database
from token_ledger.worker.holds import FIRST_SLICE, expire_due_holds

HELD = "select count(*) from reservations where state = 'held'"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with open_ledger(database_url, zone="UTC") as opened:
        yield opened


async def test_a_backlog_of_due_holds_is_expired_in_slices(ledger: Ledger, database_url: str) -> None:
    commands = (reserve(key=str(number)) for number in range(3 * FIRST_SLICE))
    await asyncio.gather(*(ledger.commits.submit(ledger.tenant, command) for command in commands))
    await ledger.owner.execute("update reservations set expires_at = created_at")
    await ledger.restart()
    left = [3 * FIRST_SLICE]
    asked: list[int] = []

    async def submit(tenant: TenantId, command: Command) -> Outcome:
        assert isinstance(command, ExpireDue)
        outcome = await ledger.commits.submit(tenant, command)
        asked.append(command.most)
        left.append(await ledger.owner.fetchval(HELD))
        return outcome

    await expire_due_holds(ledger.database, submit)
    assert asked[0] == FIRST_SLICE
    # Where a slice took long the next is small, but every batch expires some.
    expired = [max(most, DUE_BESIDE_COMMANDS) for most in asked]
    assert [before - min(most, before) for before, most in zip(left, expired, strict=False)] == left[1:]
    assert left[-1] == 0
    assert (await verify_database(database_url, None)).clean


async def test_a_batch_of_calls_expires_a_bounded_number_of_due_holds_beside_them(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.commits.submit(ledger.tenant, reserve(key=str(number))) for number in range(100)))
    await ledger.owner.execute("update reservations set expires_at = created_at")
    await ledger.restart()
    await ledger.hold(key="one more")
    assert await ledger.owner.fetchval(HELD) == 100 - 64 + 1
