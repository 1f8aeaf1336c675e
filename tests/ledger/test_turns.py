"""Turns: in one round of the event loop only so much begins, and of every tenant alike."""

import asyncio
from collections import Counter

from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.turns import Turns

FLOODER, QUIET, FIRST, SECOND = map(TenantId, range(1, 5))


async def rounds_of(turns: Turns, *tenants: TenantId) -> list[Counter[TenantId]]:
    """Let tenants ask for their turns at once; return which got one in each round of the event loop."""
    rounds: list[Counter[TenantId]] = [Counter()]

    async def work(tenant: TenantId) -> None:
        await turns.take(tenant)
        rounds[-1][tenant] += 1

    working = [asyncio.create_task(work(tenant)) for tenant in tenants]
    while not all(task.done() for task in working):
        await asyncio.sleep(0)
        rounds.append(Counter())
    return [each for each in rounds if each]


async def test_a_round_begins_no_more_than_its_pieces() -> None:
    rounds = await rounds_of(Turns(4), *[FLOODER] * 50)
    assert sum(map(Counter.total, rounds)) == 50
    assert max(map(Counter.total, rounds)) <= 4


async def test_a_tenant_waits_for_the_pieces_of_a_round_and_not_for_all_of_another() -> None:
    rounds = await rounds_of(Turns(4), *[FLOODER] * 50, QUIET)
    assert any(each[QUIET] for each in rounds[:3])


async def test_tenants_have_equal_parts_of_a_round() -> None:
    rounds = await rounds_of(Turns(4), *[FIRST] * 40, *[SECOND] * 10)
    assert all(each[FIRST] == each[SECOND] == 2 for each in rounds[2:5])


async def test_a_turn_of_a_request_that_went_away_is_not_lost() -> None:
    turns = Turns(1)
    await turns.take(FIRST)
    gone, waiting = asyncio.create_task(turns.take(FLOODER)), asyncio.create_task(turns.take(QUIET))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(waiting, 60)


async def test_a_tenant_alone_does_not_wait() -> None:
    turns = Turns(4)
    taken = turns.take(FIRST)
    try:
        taken.send(None)
    except StopIteration:
        return
    raise AssertionError("the tenant waited")


async def test_work_of_many_pieces_takes_the_place_of_as_many() -> None:
    turns = Turns(4)
    begun: list[TenantId] = []

    async def work(tenant: TenantId, pieces: int) -> None:
        await turns.take(tenant, pieces)
        begun.append(tenant)

    tasks = [asyncio.create_task(work(*each)) for each in ((FIRST, 3), (FIRST, 3), (FIRST, 3), (QUIET, 1))]
    await asyncio.sleep(0)
    assert begun == [FIRST, FIRST]  # three and what goes over the four of this round
    await asyncio.gather(*tasks)
    assert begun == [FIRST, FIRST, FIRST, QUIET]


async def test_the_next_list_of_a_tenant_begins_after_the_one_before() -> None:
    turns = Turns(4)
    begun: list[str] = []

    async def begin(tenant: TenantId, name: str) -> None:
        async with turns.one_list(tenant):
            for _ in range(3):
                await turns.take(tenant, 4)
                begun.append(name)

    await asyncio.gather(begin(FIRST, "a"), begin(FIRST, "b"), begin(QUIET, "c"))
    of_first = [name for name in begun if name != "c"]
    assert of_first == ["a", "a", "a", "b", "b", "b"]
    assert begun.index("c") < begun.index("b")  # another tenant does not wait for it
