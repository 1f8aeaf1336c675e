"""Reversals over HTTP: what was booked wrongly is taken back where it was booked, once, and never from a rollover."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.verbs import budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.proof.verify import verify_database

USAGE = {"input_tokens": 900, "output_tokens": 100}


async def _balance(world: World, budget_id: str) -> dict[str, Any]:
    [account] = (await world.get("/v1/accounts", budget_id=budget_id)).json()["accounts"]
    balance: dict[str, Any] = account["balance"]
    return balance


async def _spent(world: World, user: str, **span: Any) -> dict[str, Any] | None:
    rows = (await world.get("/v1/reports/spend", **span)).json()["rows"]
    return next((row for row in rows if row["by"]["user"] == user), None)


async def _clean(world: World) -> None:
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_a_wrongly_recorded_call_is_taken_back_once(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 2_000}, thresholds=[50]))
    wrong, right = event(user=user), event(user=user, usage=USAGE)
    booked = (await world.made("/v1/events", {"events": [wrong]}))["results"][0]
    check_problem(await world.post("/v1/reservations", reservation(user=user)), 402, "budget_exceeded")
    body = {"key": wrong["idempotency_key"], "source": "batch", "reason": "it was bob's"}
    answer = await world.made("/v1/reversals", body)
    assert [each["corrects"] for each in answer["corrections"]] == [booked["event_id"]]
    assert (answer["calls"], answer["tokens"], answer["cost"]) == (-1, -1_500, f"-{booked['cost']}")
    settled = (await _balance(world, made["budget_id"]))["settled"]
    assert settled == {"tokens": 0, "cost": "0.000000000", "calls": 0}
    spent = await _spent(world, user)
    assert spent is not None
    assert (spent["calls"], spent["input_tokens"], spent["cost"]) == (0, 0, "0.000000000")
    await world.made("/v1/reservations", reservation(user=user))
    thresholds = (await world.get("/v1/thresholds")).json()["thresholds"]
    assert [each["fired"] for each in thresholds if each["budget"] == user] == [True, False]
    assert await world.made("/v1/reversals", body) == {**answer, "replayed": True}
    check_problem(
        await world.post("/v1/reversals", {**body, "reason": "another"}), 409, "idempotency_conflict", "reason"
    )
    await world.made("/v1/events", {"events": [right]})
    assert (await _balance(world, made["budget_id"]))["settled"]["tokens"] == 1_000
    [entry] = [each for each in (await world.get("/v1/audit")).json()["audit"] if each["target"] == body["key"]]
    assert (entry["action"], entry["after"]["reason"]) == ("calls.reverse", "it was bob's")
    await _clean(world)


async def test_a_settlement_is_reversed_by_its_own_key_or_by_that_of_its_hold(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 10**6}))
    for by_hold in (True, False):
        body = reservation(user=user)
        held = await world.made("/v1/reservations", body)
        open_hold = {"key": body["idempotency_key"], "reason": "a test"}
        check_problem(await world.post("/v1/reversals", open_hold), 409, "reservation_open", "key")
        settle = {"usage": USAGE} if by_hold else {"usage": USAGE, "idempotency_key": fresh("settle")}
        await world.made(f"/v1/reservations/{held['reservation_id']}/settle", settle)
        key = body["idempotency_key"] if by_hold else settle["idempotency_key"]
        await world.made("/v1/reversals", {"key": key, "reason": "a test"})
        other = settle["idempotency_key"] if not by_hold else f"settle:{held['reservation_id']}"
        again = {"key": other if by_hold else body["idempotency_key"], "reason": "a test"}
        check_problem(await world.post("/v1/reversals", again), 409, "booking_reversed", "key")
    assert (await _balance(world, made["budget_id"]))["settled"]["tokens"] == 0
    await _clean(world)


async def test_all_calls_of_a_lease_are_reversed_except_those_that_were_before(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 10**6}))
    body = reservation(user=user, calls=5)
    lease = await world.made("/v1/leases", body)
    path = f"/v1/reservations/{lease['lease_id']}/settle"
    keys = [fresh("draw") for _ in range(3)]
    for key in keys:
        await world.made(path, {"usage": USAGE, "part": True, "idempotency_key": key})
    check_problem(await world.post("/v1/reversals", {"key": body["idempotency_key"], "reason": "x"}), 409,
                  "reservation_open", "key")  # fmt: skip
    one = await world.made("/v1/reversals", {"key": keys[1], "reason": "this call only"})
    assert (one["calls"], len(one["corrections"])) == (-1, 1)
    await world.made(path, {"usage": USAGE})
    rest = await world.made("/v1/reversals", {"key": body["idempotency_key"], "reason": "all of it"})
    assert (rest["calls"], rest["tokens"], len(rest["corrections"])) == (-3, -3_000, 3)
    assert (await _balance(world, made["budget_id"]))["settled"]["calls"] == 0
    await _clean(world)


async def test_a_streamed_call_is_reversed_with_all_its_parts(world: World) -> None:
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, limits={"tokens": 10**6}))
    body = reservation(user=user)
    held = await world.made("/v1/reservations", body)
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    for _ in range(2):
        await world.made(path, {"usage": USAGE, "part": True, "idempotency_key": fresh("part")})
    await world.made(f"/v1/reservations/{held['reservation_id']}/release")
    answer = await world.made("/v1/reversals", {"key": body["idempotency_key"], "reason": "a test"})
    assert (answer["calls"], answer["tokens"], len(answer["corrections"])) == (0, -2_000, 2)
    assert (await _balance(world, made["budget_id"]))["settled"] == {"tokens": 0, "cost": "0.000000000", "calls": 0}
    await _clean(world)


async def test_usage_of_an_ended_window_is_taken_back_there_and_its_rollover_stays(own_world: World) -> None:
    world = own_world
    body = budget("hourly", selector={"user": "*"}, window="hour", limits={"tokens": 10_000})
    made = await world.made("/v1/budgets", {**body, "rollover": {"tokens": 10_000}})
    before = datetime.now(UTC) - timedelta(hours=1, minutes=1)
    wrong = event(user="ada", occurred_at=before.isoformat())
    await world.made("/v1/events", {"events": [wrong]})
    held = await world.made("/v1/reservations", reservation(user="ada"))
    accounts = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    await world.made("/v1/reversals", {"key": wrong["idempotency_key"], "source": "batch", "reason": "a test"})
    after = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    assert [each["balance"]["settled"]["tokens"] for each in accounts] == [1_500, 0]
    assert [each["balance"]["settled"]["tokens"] for each in after] == [0, 0]
    assert [each["balance"]["limit"] for each in after] == [each["balance"]["limit"] for each in accounts]
    await world.made(f"/v1/reservations/{held['reservation_id']}/release")
    span = {"from": before.isoformat(), "to": (before + timedelta(seconds=1)).isoformat()}
    spent = await _spent(world, "ada", **span)
    assert spent is not None
    assert spent["calls"] == 0
    await _clean(world)


async def test_counters_do_not_fall_and_the_stream_shows_the_correction(own_world: World) -> None:
    world = own_world
    sent = [event(user="ada") for _ in range(3)]
    await world.made("/v1/events", {"events": sent})
    before = await world.metrics()
    await world.made("/v1/reversals", {"key": sent[0]["idempotency_key"], "source": "batch", "reason": "a test"})
    after = await world.metrics()

    def counted(text: str) -> list[str]:
        names = ("token_ledger_calls_total{", "token_ledger_user_tokens_total{", "token_ledger_cost_dollars_total{")
        return [line for line in text.splitlines() if line.startswith(names)]

    assert counted(before)
    assert counted(after) == counted(before)
    [row] = await world.rows("select event_id, corrects, input_tokens from usage_events where corrects is not null")
    assert row["input_tokens"] == -1_000


async def test_what_is_not_booked_is_not_found(world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"tokens": 10}))
    denied, sent = reservation(user=user), event(user=fresh("user"))
    await world.post("/v1/reservations", denied)
    await world.made("/v1/events", {"events": [sent]})
    for body in (
        {"key": denied["idempotency_key"]}, {"key": fresh("nothing")}, {"key": sent["idempotency_key"]},
        {"key": sent["idempotency_key"], "source": "another"},
    ):  # fmt: skip
        problem = check_problem(await world.post("/v1/reversals", {**body, "reason": "x"}), 404, "booking_not_found")
        assert "retention" in problem["detail"]
    same = {"key": sent["idempotency_key"], "source": "batch", "reason": "x"}
    check_problem(await world.post("/v1/reversals", same, tenant="globex"), 404, "booking_not_found", "key")
    for role in (Role.AGENT, Role.FINANCE):
        check_problem(await world.post("/v1/reversals", same, role=role), 403, "forbidden")


async def test_a_key_of_two_holds_is_not_guessed_at(world: World) -> None:
    both = fresh("both")
    first = await world.made("/v1/reservations", reservation(idempotency_key=both))
    other = await world.made("/v1/reservations", reservation())
    for hold, key in ((first, fresh()), (other, both)):
        await world.made(f"/v1/reservations/{hold['reservation_id']}/settle", {"usage": USAGE, "idempotency_key": key})
    check_problem(await world.post("/v1/reversals", {"key": both, "reason": "x"}), 422, "invalid_request", "key")
