"""Requests that travel together, against the real service: the same answers as alone, nothing held, nothing twice."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from token_ledger_sdk import ApiError, AsyncTokenLedger, Usage
from token_ledger_sdk._async.sender import AsyncSender
from token_ledger_sdk.wire.answers import Answer, NoAnswer
from token_ledger_sdk.wire.requests import ApiRequest, Operation, post
from token_ledger_sdk.wire.reservations import RESERVE

from tests.api.waiting import until
from tests.api.world import World, open_world
from tests.client.conftest import Client, client_of
from tests.client.seeds import seeded
from tests.faults.cutting_proxy import CUTS, Cut, CuttingProxy
from tests.faults.processes import ANSWER_SECONDS, PEPPER, ServiceProcess
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

CALLERS = 256
LIST = "/v1/operations"
USED = Usage(600, 200)
CALL: dict[str, Any] = {
    "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4-mini", "input_tokens": 600,
    "max_output_tokens": 400, "user": "ada",
}  # fmt: skip


async def pair(client: Client, number: int = 0) -> None:
    async with await client.ledger.reserve(user=f"user-{number}", **client.call) as hold:
        await hold.settle(USED)


async def test_256_callers_make_tens_of_requests_and_each_is_booked_once(client: Client) -> None:
    await asyncio.gather(*(pair(client, number) for number in range(CALLERS)))
    assert len(client.network.sent) < 100
    assert sorted(event["user_id"] for event in await client.booked()) == sorted(f"user-{n}" for n in range(CALLERS))
    assert await client.holds() == {"settled": CALLERS}


async def test_of_canceled_callers_no_hold_stays_open(client: Client) -> None:
    """Callers are canceled at every step: waiting, on their way alone or in a list, or while they settle."""
    chance = seeded()
    for _ in range(8):
        tasks = [asyncio.create_task(pair(client, number)) for number in range(40)]
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        going = [task for task in tasks if chance.random() < 0.5]
        for task in going:
            task.cancel()
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(outcome is None for task, outcome in zip(tasks, outcomes, strict=True) if task not in going)

    async def nothing_held() -> bool:
        return "held" not in await client.holds()

    await until(nothing_held)
    rows = await client.world.rows("select distinct end_reason from reservations where state = 'released'")
    assert {row["end_reason"] for row in rows} <= {"its caller had gone"}


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_what_a_cut_network_loses_is_sent_again_and_booked_once(
    cut: Cut, database_url: str, tmp_path: Path
) -> None:
    chance = seeded()
    service = ServiceProcess(database_url, tmp_path, {}).start()
    try:
        await service.ready()
        _, key = await make_tenant(Settings(key_pepper=SecretStr(PEPPER)), database_url, "cut", "UTC")
        # The first list is cut, and later ones by chance: none is cut each time that it is sent.
        proxy = CuttingProxy(service.url)
        proxy.choose = lambda path: cut if proxy.requests == 3 or chance.random() < 0.3 else Cut.NEVER
        async with (
            proxy.running(),
            AsyncTokenLedger(proxy.url, key, max_retries=50, timeout=ANSWER_SECONDS) as ledger,
        ):
            ledger._sender._pause = _at_once

            async def call(number: int) -> None:
                async with await ledger.reserve(**{**CALL, "user": f"user-{number}"}) as hold:
                    await hold.settle(USED)

            await asyncio.gather(*(call(number) for number in range(CALLERS)))
    finally:
        service.end()
    report = await verify_database(database_url, "cut")
    assert (report.clean, report.events) == (True, CALLERS)
    assert proxy.cuts
    assert proxy.requests < CALLERS


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


# What is sent alone and together


def request_of(chance: random.Random, holds: list[str], number: int) -> ApiRequest:
    """Return a request of any kind, well formed or with one thing wrong."""
    key = f"key-{number}" if chance.random() < 0.9 else f"key-{chance.randrange(max(1, number))}"
    if not holds or chance.random() < 0.5:
        body = {"idempotency_key": key, **CALL, **chance.choice(WRONG_CALLS)}
        body = {name: value for name, value in body.items() if value is not ABSENT}
        if chance.random() < 0.1:
            return post("/v1/leases", {**body, "calls": chance.choice([0, 1, 5, 10**9])}, Operation("lease"))
        return post("/v1/reservations", body, RESERVE)
    hold = chance.choice([*holds, "1"])
    verb = chance.choice(["settle", "settle", "release", "extend"])
    body = {"idempotency_key": key, **chance.choice(WRONG_ENDS[verb])}
    return post(f"/v1/reservations/{hold}/{verb}", body, Operation(verb, ("reservation_id", hold)))


ABSENT = object()
WRONG_CALLS: list[dict[str, Any]] = [
    *[{}] * 6, *[{"max_output_tokens": 20_000}] * 2,
    {"user": "bob"}, {"user": "bob", "max_output_tokens": 90_000}, {"model": "no-such"}, {"model": 7},
    {"user": ABSENT}, {"user": ABSENT, "run_id": "7"}, {"run_id": "seven"}, {"run_id": "7"}, {"input_tokens": -1},
    {"input_tokens": "600"}, {"input_tokens": 600.0}, {"input_tokens": 600.5}, {"input_tokens": True},
    {"input_tokens": 10**30}, {"input_tokens": None}, {"max_output_tokens": [1]}, {"agent_type": ""},
    {"agent_type": "x" * 500}, {"agent_type": "a\x00b"}, {"agent_type": "ä b"}, {"tags": {"team": "core"}},
    {"tags": {"team": 7}}, {"tags": {str(n): "x" for n in range(99)}}, {"tags": []}, {"requires": ["tools", "flying"]},
    {"requires": "tools"}, {"apply": ["model_downgrade"]}, {"max_usage": {"web_searches": 3}},
    {"max_usage": {"dreams": 3}}, {"service_tier": "flex"}, {"service_tier": "first class"}, {"cache_write": "5m"},
    {"cache_write": "9m"}, {"ttl_seconds": 0}, {"ttl_seconds": 60}, {"cached_input_tokens": 700},
    {"a_field_of_tomorrow": 1}, {"idempotency_key": ABSENT}, {"idempotency_key": ""}, {"idempotency_key": "k" * 999},
    {"user": "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"}, {"provider": ABSENT}, {"cost_center": "lab"},
    {"agent_type": ABSENT, "model": ABSENT, "input_tokens": -5},
]  # fmt: skip
_USAGE = {"input_tokens": 600, "output_tokens": 20}
WRONG_ENDS: dict[str, list[dict[str, Any]]] = {
    "settle": [
        *[{"usage": _USAGE}] * 3, {"usage": _USAGE, "part": True}, {"usage": {**_USAGE, "output_tokens": 10_000}},
        {"usage": {"input_tokens": 1}}, {"usage": {**_USAGE, "input_tokens": -1}}, {"usage": 7}, {},
        {"usage": _USAGE, "response_id": "r1"}, {"usage": _USAGE, "outcome": "fine"}, {"usage": _USAGE, "model": "x"},
        {"usage": _USAGE, "measured": {"latency_ms": -1}}, {"usage": _USAGE, "measured": {"latency_ms": 5}},
        {"usage": _USAGE, "occurred_at": "2026-11-30"}, {"usage": _USAGE, "occurred_at": 7},
        {"usage": _USAGE, "estimated": "yes"}, {"usage": {**_USAGE, "cache_read_tokens": 900}},
    ],
    "release": [{}, {"reason": "not sent"}, {"reason": "x" * 999}, {"reason": 7}, {"idempotency_key": ABSENT}],
    "extend": [{"ttl_seconds": 900}, {"ttl_seconds": -1}, {}, {"ttl_seconds": 10**9}, {"ttl_seconds": "900"}],
}  # fmt: skip
for _kinds in WRONG_ENDS.values():
    for _each in _kinds:
        for _name in [name for name, value in _each.items() if value is ABSENT]:
            del _each[_name]


@dataclass
class Told:
    """What callers learn, with instants left out, and ids in the order in which they come."""

    ids: dict[str, str] = field(default_factory=dict)

    def of(self, outcome: Answer | NoAnswer) -> Any:
        assert isinstance(outcome, Answer)
        if outcome.is_good:
            return outcome.status, self._plain(json.dumps(outcome.read().raw))
        try:
            outcome.read()
        except ApiError as error:
            said = {name: value for name, value in vars(error).items() if name != "problem"}
            words = self._plain(f"{error} {said} {json.dumps(error.problem.extra)}")
            return outcome.status, outcome.retry_after_seconds, type(error), words
        raise AssertionError(outcome)

    def _plain(self, text: str) -> str:
        text = text.replace("globex", "acme")
        text = re.sub(r"20\d\d-\d\d-\d\dT[0-9:.]+", "INSTANT", text)
        return re.sub(r"\b\d{5,}\b(?!\.)", lambda found: self.ids.setdefault(found[0], f"id {len(self.ids)}"), text)


Send = Callable[[AsyncSender, list[ApiRequest]], Awaitable[list[Answer | NoAnswer]]]


async def alone(sender: AsyncSender, requests: list[ApiRequest]) -> list[Answer | NoAnswer]:
    return [await sender._exchange(request) for request in requests]


async def together(sender: AsyncSender, requests: list[ApiRequest]) -> list[Answer | NoAnswer]:
    outcomes = [each for each in await sender._travel._exchange_all(requests) if each is not None]
    assert len(outcomes) == len(requests)
    return outcomes


async def answers(world: World, tenant: str, send: Send, seed: int) -> list[Any]:
    """Send lists of requests, and return what their callers learn; the requests are those that the seed makes."""
    chance, said, number = random.Random(seed), Told(), 0
    holds: list[str] = []
    found: list[Any] = []
    for name, selector, limits in (("cap", {}, {"tokens": 15_000}), ("bob", {"user": "bob"}, {"calls": 9})):
        body = {"idempotency_key": name, "name": name, "selector": selector, "limits": limits, "window": "total"}
        await world.made("/v1/budgets", body, tenant=tenant)
    async with AsyncTokenLedger(
        "http://ledger.test", world.keys[tenant, Role.AGENT], transport=httpx2.ASGITransport(world.app), max_retries=0
    ) as ledger:
        for size in (2, 30, 30, 3, 30, 2, 30):
            requests = [request_of(chance, holds, number := number + 1) for _ in range(size)]
            outcomes = await send(ledger._sender, requests)
            found += [said.of(each) for each in outcomes]
            granted = zip(requests, outcomes, strict=True)
            holds += [
                str(each.read().raw["reservation_id"])
                for request, each in granted
                if request.operation == RESERVE and isinstance(each, Answer) and each.is_good
            ]
    return found


async def test_every_answer_is_the_same_alone_and_together(database_url: str, tmp_path: Path) -> None:
    seed = seeded().randrange(2**32)
    async with world_of(database_url, tmp_path) as world:
        by_itself = await answers(world, "acme", alone, seed)
        in_a_list = await answers(world, "globex", together, seed)
    for one, other in zip(by_itself, in_a_list, strict=True):
        assert other == one
    assert {each[0] for each in by_itself} >= {200, 201, 402, 409, 422}


async def test_when_to_come_back_is_the_same_alone_and_together(database_url: str, tmp_path: Path) -> None:
    async with world_of(database_url, tmp_path, requests_per_second=1) as world:
        world.app.state.rate_limits._clock = lambda: 0.0
        client, said = client_of(world, max_retries=0), Told()
        sender = client.ledger._sender
        requests = [post("/v1/reservations", {"idempotency_key": f"k{n}", **CALL}, RESERVE) for n in range(14)]
        in_a_list = (await together(sender, requests))[10:]
        by_itself = await alone(sender, requests[10:])
        assert [said.of(each) for each in in_a_list] == [said.of(each) for each in by_itself]
        assert {each.retry_after_seconds for each in in_a_list if isinstance(each, Answer)} == {1.0}
        await client.ledger.aclose()


@asynccontextmanager
async def world_of(database_url: str, directory: Path, **settings: Any) -> AsyncIterator[World]:
    async with open_world(database_url, directory, **settings) as world:
        yield world
        report = await verify_database(world.url)
        assert report.clean, report.as_text()
