"""Waiting for a batch: nobody's flood takes the room of others, and what was spent has room when nothing new has."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.core import given
from token_ledger.core.batch.administration import RenameModel
from token_ledger.core.batch.commands import Preflight, Release
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.tenant import TenantId
from token_ledger.ledger.doubts import Ticket
from token_ledger.ledger.errors import Unavailable
from token_ledger.ledger.waiting_room import Room, WaitingRoom

FLOODER, QUIET = TenantId(1), TenantId(2)


def outcome() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def ticket(command: Any = None, key_id: str | None = None) -> Ticket:
    return Ticket(command or given.reserve(), outcome(), key_id)


def fill(room: WaitingRoom, tenant: TenantId, command: Any = None, key_id: str | None = None) -> int:
    """Let as many commands wait as there is room for; return how many."""
    for number in range(1_000):
        try:
            room.add(tenant, ticket(command, key_id))
        except Unavailable:
            return number
    raise AssertionError("there is room without end")


async def test_a_tenant_that_fills_its_room_takes_none_of_another() -> None:
    room = WaitingRoom(Room(most=100, most_of_tenant=10))
    assert fill(room, FLOODER) == 10
    assert fill(room, QUIET) == 10


async def test_a_key_has_half_the_room_of_its_tenant() -> None:
    room = WaitingRoom(Room(most=100, most_of_tenant=10))
    assert [fill(room, FLOODER, key_id=key) for key in ("one", "two", "three")] == [5, 5, 0]


async def test_all_tenants_together_have_a_bound() -> None:
    room = WaitingRoom(Room(most=25, most_of_tenant=10))
    assert [fill(room, TenantId(number)) for number in range(4)] == [10, 10, 5, 0]


@pytest.mark.parametrize(
    "command", [given.settle(7), Release("r", b"", 7), given.record()], ids=["settle", "release", "record"]
)
async def test_what_was_spent_or_is_given_back_has_room_where_nothing_new_has(command: Any) -> None:
    bounds = Room(most=25, most_of_tenant=10)
    room = WaitingRoom(bounds)
    assert [fill(room, FLOODER, key_id=key) for key in ("one", "two")] == [5, 5]
    assert [fill(room, FLOODER, command, key) for key in ("one", "two")] == [5, 5]
    assert room.count_of(FLOODER) == 20
    full = bounds.why_full(FLOODER, None, asking=True)
    assert full is not None
    assert "20 operations of this tenant" in full


async def test_reports_of_a_list_wait_together_or_not_at_all() -> None:
    room = WaitingRoom(Room(most=25, most_of_tenant=10))
    room.add_reports(FLOODER, "one", [ticket(given.record()) for _ in range(8)])
    with pytest.raises(Unavailable, match="8 operations of this key"):
        room.add_reports(FLOODER, "one", [ticket(given.record()) for _ in range(4)])
    room.add_reports(FLOODER, "one", [ticket(given.record()) for _ in range(2)])
    assert room.count_of(FLOODER) == 10


async def test_a_batch_has_an_equal_share_of_every_tenant_and_what_is_left_of_the_first() -> None:
    room = WaitingRoom()
    for tenant, number in (FLOODER, 50), (QUIET, 2), (TenantId(3), 9):
        for _ in range(number):
            room.add(tenant, ticket())
    assert sizes(room.take(room.tenants(), 24)) == {FLOODER: 14, QUIET: 2, TenantId(3): 8}
    assert room.tenants() == [FLOODER, TenantId(3)]
    assert sizes(room.take(room.tenants(), 10)) == {FLOODER: 9, TenantId(3): 1}
    assert room.count_of(FLOODER) == 27


async def test_more_tenants_than_a_batch_has_room_for_take_turns() -> None:
    room = WaitingRoom()
    tenants = [TenantId(number) for number in range(10)]
    for tenant in tenants * 2:
        room.add(tenant, ticket())
    taken = Counter[TenantId]()
    for _ in range(5):
        taken.update(sizes(room.take(room.tenants(), 4)))
    assert taken == Counter(tenants * 2)


async def test_commands_are_taken_in_their_order_and_put_back_before_newer_ones() -> None:
    room = WaitingRoom(Room(most_of_tenant=6))
    tickets = [ticket(key_id="one") for _ in range(3)]
    for each in tickets:
        room.add(QUIET, each)
    taken = room.take([QUIET], 2)[QUIET]
    assert taken == tickets[:2]
    room.put_back(QUIET, taken)
    assert room.take([QUIET], 9)[QUIET] == tickets
    assert fill(room, QUIET, key_id="one") == 3  # what was taken counts no more


async def test_a_preflight_takes_as_much_of_a_batch_as_it_plans_kinds_of_calls() -> None:
    room = WaitingRoom()
    for _ in range(4):
        room.add(QUIET, ticket(Preflight(((given.reserve(), 1),) * 3)))
    assert sizes(room.take([QUIET], 6)) == {QUIET: 2}
    assert sizes(room.take([QUIET], 1)) == {QUIET: 1}


async def test_a_batch_ends_with_what_decides_where_later_calls_fall() -> None:
    room = WaitingRoom()
    rename = RenameModel("k", b"x", ModelName("acme", "large"), ModelName("acme", "small"), "one model", "root")
    for command in (given.reserve(), rename, rename, given.reserve(), given.reserve()):
        room.add(QUIET, ticket(command))
        room.add(FLOODER, ticket())
    assert sizes(room.take([QUIET, FLOODER], 20)) == {QUIET: 2, FLOODER: 5}
    assert sizes(room.take([QUIET], 20)) == {QUIET: 1}
    assert sizes(room.take([QUIET], 20)) == {QUIET: 2}


async def test_all_that_waits_can_be_taken_to_be_refused() -> None:
    room = WaitingRoom(Room(most_of_tenant=4))
    fill(room, QUIET, key_id="one")
    assert sizes(room.take_all()) == {QUIET: 2}
    assert fill(room, QUIET, key_id="one") == 2


async def test_what_is_in_doubt_takes_turns_with_the_rest_by_key_and_by_request() -> None:
    room, lists = WaitingRoom(), {"bad": object(), "worse": object()}
    refused = [ticket(key_id=key) for key in lists]
    room.doubt(QUIET, refused, ())
    waiting = {
        key: [Ticket(given.reserve(), outcome(), key, request) for _ in range(3)] for key, request in lists.items()
    }
    single, good = ticket(key_id="bad"), ticket(key_id="good")
    for each in (*waiting["bad"], single, *waiting["worse"], good):
        room.add(QUIET, each)
    taken = []
    while room.tenants():
        batch = room.take_doubted(QUIET) if room.is_doubted_next(QUIET) else room.take([QUIET], 9)
        taken += batch[QUIET]
    bad, worse = waiting["bad"], waiting["worse"]
    assert taken == [bad[0], good, worse[0], single, worse[1], bad[1], worse[2], bad[2]]


async def test_a_key_is_trusted_again_for_itself_and_the_order_of_its_commands_stays() -> None:
    room, request = WaitingRoom(), object()
    listed = [Ticket(given.reserve(), outcome(), "good", request) for _ in range(8)]
    room.doubt(QUIET, [ticket(key_id="bad")], listed[:4])
    for each in listed[4:]:
        room.add(QUIET, each)
    taken: list[list[Ticket]] = []
    while room.is_doubted_next(QUIET):
        taken.append(room.take_doubted(QUIET)[QUIET])
        room.trust(QUIET, "good", 4)
    taken.append(room.take([QUIET], 9)[QUIET])
    assert list(map(len, taken)) == [1, 2, 4, 1]
    assert [each for batch in taken for each in batch] == listed
    assert not room.tenants()
    room.add(QUIET, ticket(key_id="bad"))
    assert room.is_doubted_next(QUIET)


def sizes(batch: dict[TenantId, list[Ticket]]) -> dict[TenantId, int]:
    return {tenant: len(tickets) for tenant, tickets in batch.items()}
