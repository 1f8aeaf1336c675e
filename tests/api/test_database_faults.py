"""Whatever is wrong with the database, every route says so: 503, with when to try again, and nothing of it in the text.

The errors are those of PostgreSQL, wherever a route meets the first of them (see `faulty_database`).
"""

import asyncio
import json

import httpx2
import pytest

from tests.api.faulty_database import FAIL, STATES, faulty
from tests.api.routes import ALLOWED, Route
from tests.api.verbs import VERBS, named_ids, reservation
from tests.api.waiting import until
from tests.api.world import Clock, World, check_problem
from token_ledger.core.model.principal import Role
from token_ledger.identity import authentication
from token_ledger.proof.verify import verify_database
from token_ledger.storage import readiness

BODIES = {(verb.method, verb.path): verb for verb in VERBS}


async def sent(world: World, route: Route, ids: dict[str, str]) -> httpx2.Response:
    """Send a valid request to a route, as someone who may."""
    method, path = route
    verb = BODIES.get(route)
    if path.startswith("/v1/tenants"):
        who = ("operator", Role.OPERATOR)
    else:
        who = ("acme", Role.ADMIN if Role.ADMIN in ALLOWED[route] else min(ALLOWED[route]))
    content = json.dumps(verb.fresh_body()).encode() if verb is not None and verb.model else None
    headers = {**world.headers(*who), "Content-Type": "application/json"}
    return await world.client.request(method, path.format(**ids), headers=headers, content=content)


@pytest.fixture
def known_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service believe a key that it knows, so that requests get as far as their route."""
    monkeypatch.setattr(authentication, "KEY_TRUST_SECONDS", 3_600)
    monkeypatch.setattr(authentication, "DEAF_TRUST_SECONDS", 3_600)


@pytest.mark.usefixtures("known_for_an_hour")
async def test_every_fault_of_the_database_is_503_on_every_route(own_world: World) -> None:
    world = own_world
    ids = await named_ids(world)
    for headers in (world.headers(), world.headers(role=Role.USER), world.headers("operator", Role.OPERATOR)):
        await world.client.get("/v1/audit", headers=headers)
        await world.client.get("/v1/me", headers=headers)
    for state in STATES:
        async with faulty(world.owner, state):
            answers = {route: await sent(world, route, ids) for route in ALLOWED}
            again = await world.client.get("/v1/live", headers={**world.headers(), "Last-Event-ID": "65536"})
        check_problem(again, 503, "unavailable")
        [of_list] = answers.pop(("POST", "/v1/operations")).json()["results"]
        assert (of_list["status"], of_list["body"]["code"]) == (503, "unavailable")
        assert answers.pop(("POST", "/v1/tokens")).status_code == 201, "it is signed, and no table is read for it"
        for route, answer in answers.items():
            problem = check_problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"], (state, route)
            assert "secret details" not in answer.text, (state, route)
            assert problem["detail"].startswith("the database"), (state, route, problem)
    await world.made("/v1/reservations", reservation())
    report = await verify_database(world.url)
    assert report.clean, report.findings


@pytest.mark.parametrize("state", STATES)
async def test_a_process_that_can_not_write_is_up_and_not_ready(state: str, own_world: World) -> None:
    world = own_world

    async def answers(status: int) -> bool:
        return (await world.client.get("/readyz")).status_code == status

    await world.owner.execute(FAIL.format(state))
    await world.owner.execute("alter table write_probes add constraint fault check (fail()) not valid")
    await until(lambda: answers(503))
    answer = await world.client.get("/readyz")
    problem = check_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
    assert "secret" not in problem["detail"]
    assert (await world.client.get("/healthz")).status_code == 200
    await world.owner.execute("alter table write_probes drop constraint fault")
    await until(lambda: answers(200))


async def test_however_many_ask_the_database_is_written_to_once_a_second(
    own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = own_world
    await world.owner.execute(
        "create sequence probes; grant usage on sequence probes to token_ledger_app;"
        " alter table write_probes add constraint counted check (nextval('probes') > 0)"
    )
    clock = Clock()
    monkeypatch.setattr(readiness, "time", clock)
    for asked in range(1, 4):
        clock.now += 1
        for _ in range(2):
            answers = await asyncio.gather(*(world.client.get("/readyz") for _ in range(40)))
            assert {answer.status_code for answer in answers} == {200}
        [[written]] = await world.rows("select last_value from probes")
        assert written == asked
    assert await world.rows("select from write_probes") == []
