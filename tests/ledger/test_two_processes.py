"""Two processes serve one tenant: what one has settled or drawn, the other does not take for open or whole."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.ledger.test_deciding_ahead import hold, new_transactions
from tests.ledger.test_one_statement import BOUND, prepare, run, settle
from tests.proof.ledger import Ledger, open_ledger
from token_ledger.core.batch import commands, outcomes
from token_ledger.core.model.usage import Usage
from token_ledger.ledger.batch_transaction import BatchTransactions
from token_ledger.proof.verify import verify_database
from token_ledger.storage.write.one_statement import BOOK


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """An instant may lie long before the clock, on slow machines; in the end the books are right."""
    async with open_ledger(database_url) as opened:
        book = await opened.owner.fetchval("select pg_get_functiondef('token_ledger_book'::regproc)")
        assert BOUND in book
        await opened.owner.execute(book.replace(BOUND, "interval '1 hour'"))
        await prepare(opened)
        yield opened
        report = await verify_database(database_url)
        assert report.clean, report.as_text()


async def two_processes(ledger: Ledger, *, at_once: bool) -> Sequence[BatchTransactions]:
    return [await new_transactions(ledger, one_statement=at_once) for _ in range(2)]


async def balances(ledger: Ledger) -> list[tuple[int, ...]]:
    """Return what accounts have settled and what is held: tokens and calls."""
    rows = await ledger.owner.fetch(
        "select settled_tokens, settled_calls, held_tokens, held_calls from accounts where tenant_id = $1"
        " order by account_id", ledger.tenant,
    )  # fmt: skip
    return [tuple(row) for row in rows]


async def give_change_and_settle(
    ledger: Ledger, giving: BatchTransactions, changing: BatchTransactions, change: str
) -> Any:
    """Let one process give a hold, another change it, and the first settle it, after a batch between."""
    [granted], _ = await run(ledger, giving, hold("ada", "a"))
    first = settle(granted, "first")
    changes: dict[str, commands.Command] = {
        "settled": first,
        "part": replace(first, part=True),
        "last draw": replace(first, part=True, usage=Usage(900, 500)),
        "released": commands.Release("first", b"x", granted.reservation.reservation_id),
        "extended": commands.Extend("first", b"x", granted.reservation.reservation_id, 7_200),
    }
    await run(ledger, changing, changes[change])
    # The first process sees that another one has written. What it knows from then on is current, but not all there is.
    await run(ledger, giving, commands.ExpireDue(), hold("bob", "b"))
    [answer], _ = await run(ledger, giving, settle(granted, "second"))
    return answer


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "under the lock"])
@pytest.mark.parametrize("change", ["settled", "part", "last draw", "released", "extended"])
async def test_a_hold_that_another_process_has_changed_is_what_it_would_be_in_one(
    ledger: Ledger, database_url: str, change: str, *, at_once: bool
) -> None:
    one, other = await two_processes(ledger, at_once=at_once)
    answer = await give_change_and_settle(ledger, one, other, change)
    async with open_ledger(database_url, "alone") as alone:
        await prepare(alone)
        single, _ = await two_processes(alone, at_once=at_once)
        expected = await give_change_and_settle(alone, single, single, change)
        assert type(answer) is type(expected)
        assert await balances(ledger) == await balances(alone)
    if change in ("settled", "released"):
        assert isinstance(answer, outcomes.Quarantined)
        assert isinstance(expected, outcomes.Quarantined)
        assert answer.code == expected.code
    _, sent = await run(ledger, one, hold("eve", "c"))
    assert (sent == [BOOK]) is at_once, "the settle was tried on this road, but for what was not known"
