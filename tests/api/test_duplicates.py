"""Over HTTP a response that is reported twice is one call, and the second answer says so, whichever way it comes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.batch.books import last_id
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database
from token_ledger.reports.formats.json import live_event_answer
from token_ledger.reports.live_feed import events_after

USED = {"input_tokens": 900, "output_tokens": 100}


async def _settle(world: World, response_id: str | None, usage: dict[str, int] | None = None) -> dict[str, Any]:
    hold = await world.made("/v1/reservations", reservation(user="ada"))
    body = {"response_id": response_id, "usage": usage or USED}
    return await world.made(f"/v1/reservations/{hold['reservation_id']}/settle", body)


async def _record(world: World, **fields: Any) -> dict[str, Any]:
    body = {**event(idempotency_key=fresh(), user="ada"), "usage": USED, **fields}
    [result] = (await world.made("/v1/events", {"events": [body]}))["results"]
    return dict(result)


def _found(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["booked"], answer["repetition"], answer["earlier_event_id"]


async def test_a_settle_says_that_the_response_is_booked_already(own_world: World) -> None:
    first, second = [await _settle(own_world, "resp_1") for _ in range(2)]
    assert _found(first) == (True, None, None)
    assert _found(second) == (False, "duplicate", first["event_id"])
    assert (second["state"], second["cost"], second["tokens"]) == ("settled", "0.000000000", 0)
    other = await _settle(own_world, "resp_1", {"input_tokens": 900, "output_tokens": 101})
    assert _found(other) == (True, "other_usage", first["event_id"])
    assert _found(await _settle(own_world, "")) == (True, "not_unique", None)
    assert _found(await _settle(own_world, None)) == (True, None, None)
    metrics = await own_world.metrics()
    assert 'token_ledger_duplicates_total{tenant="acme"} 1.0' in metrics
    assert 'token_ledger_doubtful_calls_total{repetition="other_usage",tenant="acme"} 1.0' in metrics
    assert 'token_ledger_doubtful_calls_total{repetition="not_unique",tenant="acme"} 1.0' in metrics
    report = await verify_database(own_world.url)
    assert report.clean, report.as_text()


async def test_an_event_is_booked_duplicate_or_gives_way(own_world: World) -> None:
    first, second = [await _record(own_world, response_id="resp_1") for _ in range(2)]
    assert (first["status"], "repetition" in first, "earlier_event_id" in first) == ("booked", False, False)
    assert (second["status"], second["repetition"]) == ("duplicate", "duplicate")
    assert (second["earlier_event_id"], second["tokens"], second["cost"]) == (first["event_id"], 0, "0.000000000")
    settled = await _settle(own_world, "resp_1")
    assert _found(settled) == (True, "replaces", first["event_id"])
    again = await _record(own_world, response_id="resp_1")
    assert (again["status"], again["earlier_event_id"]) == ("duplicate", settled["event_id"])
    doubtful = await _record(own_world, response_id="")
    assert (doubtful["status"], doubtful["repetition"]) == ("booked", "not_unique")
    now = datetime.now(UTC)
    span: dict[str, Any] = {"from": (now - timedelta(days=2)).isoformat(), "to": (now + timedelta(days=2)).isoformat()}
    total = (await own_world.get("/v1/reports/spend", group_by="user", **span)).json()["total"]
    assert (total["calls"], Decimal(total["cost"])) == (2, 2 * Decimal(settled["cost"]))


async def test_a_list_of_operations_says_so_for_each(own_world: World) -> None:
    holds = [await own_world.made("/v1/reservations", reservation(user="ada")) for _ in range(2)]
    settles = [
        {"op": "settle", "reservation_id": each["reservation_id"], "response_id": "resp_1", "usage": USED}
        for each in holds
    ]
    results = (await own_world.made("/v1/operations", {"operations": settles}))["results"]
    first, second = [result["body"] for result in results]
    assert _found(second) == (False, "duplicate", first["event_id"])


async def test_the_live_stream_shows_duplicates_as_what_they_are(own_world: World) -> None:
    first, second = [await _settle(own_world, "resp_1") for _ in range(2)]
    tenant = own_world.tenants["acme"]
    async with own_world.service.database.reading(tenant) as connection:
        events = await events_after(connection, tenant, last_id(0), 10)
    shown = [live_event_answer(each) for each in events]
    assert [each["event_id"] for each in shown] == [first["event_id"], second["event_id"]]
    assert _found(dict(shown[0])) == (True, None, None)
    assert _found(dict(shown[1])) == (False, "duplicate", first["event_id"])


async def test_an_administrator_has_every_report_booked(own_world: World) -> None:
    await _settle(own_world, "resp_1")
    assert (await own_world.get("/v1/duplicates", role=Role.FINANCE)).json() == {"found": True}
    body = {"idempotency_key": fresh(), "found": False}
    changed = await own_world.made("/v1/duplicates", body)
    assert (changed["action"], changed["before"], changed["after"]) == (
        "duplicates.set", {"found": True}, {"found": False}
    )  # fmt: skip
    assert (await own_world.made("/v1/duplicates", body))["replayed"]
    assert (await own_world.get("/v1/duplicates")).json() == {"found": False}
    assert _found(await _settle(own_world, "resp_1")) == (True, None, None)
    assert (await _record(own_world, response_id="resp_1"))["status"] == "booked"
    check_problem(await own_world.post("/v1/duplicates", {**body, "found": True}), 409, "idempotency_conflict")
    await own_world.made("/v1/duplicates", {"idempotency_key": fresh(), "found": True})
    assert _found(await _settle(own_world, "resp_1"))[:2] == (False, "duplicate")
    report = await verify_database(own_world.url)
    assert report.clean, report.as_text()
