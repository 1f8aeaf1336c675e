"""Changing limits over HTTP: grants, increases, changed budgets, thresholds, soft and shadow budgets, erasure."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.api.verbs import budget, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.batch.administration import DecideIncrease, GiveGrant, StopTenant
from token_ledger.core.batch.outcomes import Refused
from token_ledger.core.model.budget import Limits
from token_ledger.core.model.principal import Role
from token_ledger.observability.metrics import BookedCalls, Metrics
from token_ledger.proof.verify import verify_database
from token_ledger.worker.erasures import Erasures
from token_ledger.worker.gauges import refresh_gauges
from token_ledger.worker.schedule import ERASURE_VISIBLE_SECONDS, REFRESH_GAUGES_SECONDS


async def limited(world: World, **fields: Any) -> tuple[str, str]:
    """Limit a user of its own to 10,000 tokens; return user and account, on which 1,500 tokens are held."""
    user = fresh("user")
    made = await world.made("/v1/budgets", budget(user, **fields))
    await call(world, user, 1_500)
    [account] = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"]
    return user, account["account_id"]


async def call(world: World, user: str, tokens: int) -> Any:
    return await world.post("/v1/reservations", reservation(user=user, input_tokens=tokens, max_output_tokens=0))


async def settled(world: World, user: str, tokens: int) -> dict[str, Any]:
    hold = (await call(world, user, tokens)).json()["reservation_id"]
    used = {"usage": {"input_tokens": tokens, "output_tokens": 0}}
    return await world.made(f"/v1/reservations/{hold}/settle", used)


async def account(world: World, number: str) -> dict[str, Any]:
    answer = await world.get(f"/v1/accounts/{number}")
    value: dict[str, Any] = answer.json()
    return value


async def test_a_grant_raises_the_limit_and_is_in_the_journal(world: World) -> None:
    user, number = await limited(world)
    assert (await call(world, user, 9_000)).status_code == 402
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"idempotency_key": fresh(), "reason": "a deadline", "tokens": 5_000, "expires_at": ends}
    grant = await world.made(f"/v1/accounts/{number}/grants", body)
    assert (grant["amounts"]["tokens"], grant["left"]["tokens"], grant["lapsed_at"]) == (5_000, 5_000, None)
    assert (await world.made(f"/v1/accounts/{number}/grants", body))["replayed"] is True
    assert (await call(world, user, 9_000)).status_code == 201
    shown = await account(world, number)
    assert shown["balance"]["limit"]["tokens"] == 15_000
    assert [entry["kind"] for entry in shown["limit_entries"]] == ["opening", "grant"]
    assert [each["grant_id"] for each in shown["grants"]] == [grant["grant_id"]]


@pytest.mark.parametrize("verdict", ["approve", "refuse"])
async def test_an_increase_is_asked_for_by_a_user_and_decided_by_an_administrator(verdict: str, world: World) -> None:
    user, number = await limited(world)
    asked = await world.client.post(
        f"/v1/accounts/{number}/increases",
        json={"idempotency_key": fresh(), "reason": "the month is long", "tokens": 3_000},
        headers={"Authorization": f"Bearer {world.token('acme', user=user)}"},
    )
    assert asked.status_code == 201, asked.text
    increase = asked.json()
    assert (increase["state"], increase["asked_by"]) == ("asked", user)
    assert increase["increase_id"] in [
        each["increase_id"] for each in (await world.get("/v1/increases", state="asked")).json()["increases"]
    ]
    path = f"/v1/increases/{increase['increase_id']}/{verdict}"
    forbidden = await world.post(path, {"idempotency_key": fresh()}, role=Role.AGENT)
    check_problem(forbidden, 403, "forbidden")
    decided = await world.made(path, {"idempotency_key": fresh(), "note": "as discussed"})
    assert (decided["state"], decided["note"]) == (
        {"approve": "approved", "refuse": "refused"}[verdict],
        "as discussed",
    )
    check_problem(await world.post(path, {"idempotency_key": fresh()}), 409, "increase_decided")
    limit = (await account(world, number))["balance"]["limit"]["tokens"]
    assert limit == (13_000 if verdict == "approve" else 10_000)


async def test_nobody_else_can_ask_for_a_user(world: World) -> None:
    _, number = await limited(world)
    body = {"idempotency_key": fresh(), "reason": "mine", "tokens": 1}
    headers = {"Authorization": f"Bearer {world.token('acme', user='mallory')}"}
    asked = await world.client.post(f"/v1/accounts/{number}/increases", json=body, headers=headers)
    check_problem(asked, 404, "account_not_found")


async def test_a_limit_may_be_set_below_what_is_spent_and_then_admits_nothing_until_raised(world: World) -> None:
    user, number = await limited(world)
    await settled(world, user, 6_000)
    budget_id = (await account(world, number))["budget_id"]
    lowered = {"idempotency_key": fresh(), "limits": {"tokens": 5_000}}
    await world.made(f"/v1/budgets/{budget_id}", lowered, method="PATCH")
    denied = check_problem(await call(world, user, 1), 402, "budget_exceeded")
    assert (denied["refusals"][0]["limit"], denied["refusals"][0]["available"]) == (5_000, -2_500)
    raised = {"idempotency_key": fresh(), "limits": {"tokens": 7_501}}
    await world.made(f"/v1/budgets/{budget_id}", raised, method="PATCH")
    assert (await call(world, user, 1)).status_code == 201
    assert (await call(world, user, 1)).status_code == 402
    kinds = [entry["kind"] for entry in (await account(world, number))["limit_entries"]]
    assert kinds == ["opening", "change", "change"]


async def test_thresholds_fire_once_and_again_only_after_the_share_fell_below(world: World) -> None:
    user, number = await limited(world, thresholds=[50, 90])
    for tokens in (4_999, 1, 1, 1_000):
        await settled(world, user, tokens)
    [half] = (await account(world, number))["threshold_events"]
    assert (half["percent"], half["fired"]) == (50, True)
    budget_id = (await account(world, number))["budget_id"]
    await world.made(
        f"/v1/budgets/{budget_id}", {"idempotency_key": fresh(), "limits": {"tokens": 20_000}}, method="PATCH"
    )
    await settled(world, user, 1)
    await settled(world, user, 3_999)
    told = [(each["percent"], each["fired"]) for each in (await account(world, number))["threshold_events"]]
    assert told == [(50, True), (50, False), (50, True)]
    listed = (await world.get("/v1/thresholds")).json()["thresholds"]
    assert [each["account_id"] for each in listed].count(number) == 3
    name = (await account(world, number))["budget"]
    labels = f'budget="{name}",percent="50",tenant="acme",unit="tokens"'
    assert f"token_ledger_thresholds_total{{{labels}}} 2.0" in await world.metrics()


@pytest.mark.parametrize("enforcement", ["soft", "shadow"])
async def test_what_would_have_been_denied_is_reported(enforcement: str, world: World) -> None:
    user, _ = await limited(world, enforcement=enforcement)
    for tokens in (9_000, 700):
        assert (await call(world, user, tokens)).status_code == 201
    rows = (await world.get("/v1/reports/would-have-denied")).json()["rows"]
    [row] = [row for row in rows if row["budget"] == user]
    assert (row["enforcement"], row["calls"]) == (enforcement, 2)


@pytest.mark.parametrize("enforcement", ["soft", "shadow"])
@pytest.mark.parametrize(("limits", "refused"), [({"tokens": 0}, 20), ({"tokens": 4_600}, 17), ({"calls": 19}, 1)])
async def test_all_calls_of_a_lease_that_would_have_been_denied_are_reported(
    enforcement: str, limits: dict[str, int], refused: int, world: World
) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, enforcement=enforcement, limits=limits))
    lease = reservation(user=user, input_tokens=1_000, max_output_tokens=500, calls=20)
    granted = await world.made("/v1/leases", lease)
    assert granted["held"]["calls"] == 20
    rows = (await world.get("/v1/reports/would-have-denied")).json()["rows"]
    [row] = [row for row in rows if row["budget"] == user]
    assert (row["enforcement"], row["calls"], row["tokens"]) == (enforcement, refused, refused * 1_500)
    [row] = [row for row in (await world.get("/v1/reports/denials")).json()["rows"] if row["budget"] == user]
    assert (row["denials"], row["calls"]) == (1, refused)
    labels = {"tenant": "acme", "budget": user, "unit": row["unit"], "enforcement": enforcement}
    assert world.service.registry.get_sample_value("token_ledger_denials_total", labels) == refused
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


async def test_hourly_and_daily_budgets_of_one_user_both_apply(world: World) -> None:
    user = fresh("user")
    for window, tokens in (("hour", 2_000), ("day", 3_000), ("quarter", 100_000), ("year", 10**6)):
        body = budget(fresh(window), selector={"user": user}, window=window, limits={"tokens": tokens})
        await world.made("/v1/budgets", body)
    assert (await call(world, user, 2_000)).status_code == 201
    denied = check_problem(await call(world, user, 1_001), 402, "budget_exceeded")
    assert sorted(refusal["limit"] for refusal in denied["refusals"]) == [2_000, 3_000]


async def test_an_administrator_releases_the_hold_of_a_dead_client(world: World) -> None:
    user, number = await limited(world)
    hold = (await call(world, user, 8_000)).json()["reservation_id"]
    open_holds = (await world.get("/v1/reservations", user=user)).json()["reservations"]
    assert hold in [each["reservation_id"] for each in open_holds]
    body = {"idempotency_key": fresh(), "reason": "its pod was evicted"}
    forced = await world.made(f"/v1/reservations/{hold}/force-release", body)
    assert (forced["state"], forced["end_reason"]) == ("expired", "its pod was evicted")
    assert (await account(world, number))["balance"]["held"]["tokens"] == 1_500
    late = await world.made(f"/v1/reservations/{hold}/settle", {"usage": {"input_tokens": 8_000, "output_tokens": 0}})
    assert late["late"] is True
    [entry] = [each for each in (await world.get("/v1/audit")).json()["audit"] if each["target"] == hold]
    assert (entry["action"], entry["after"]["reason"]) == ("reservation.force_release", "its pod was evicted")


async def test_an_erased_user_is_named_nowhere_and_every_sum_stays(own_world: World) -> None:
    world, name = own_world, 'zoë "z" o\'hara'
    made = await world.made("/v1/budgets", budget("each", selector={"user": "*"}, limits={"tokens": 10_000}))
    await world.made("/v1/budgets", budget("hers", selector={"user": name}, limits={"tokens": 4_000}))
    listed = await world.made("/v1/budgets", budget("listed", selector={"user": ["abe", name, "zed"]}))
    overrides = [{"subject": {"user": name}, "limits": {"tokens": 9_900}}]
    other = await world.made("/v1/budgets", budget("other", selector={"user": "*"}, overrides=overrides))
    users = {"idempotency_key": fresh(), "users": [{"user": name, "cost_centers": [{"cost_center": "lab"}]}]}
    await world.made("/v1/users", users, method="PUT")
    run = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": name, "limits": {"tokens": 9_000}})
    await settled(world, name, 1_000)
    assert (await call(world, name, 9_500)).status_code == 402
    await call(world, name, 100)
    bad = {"source": "batch", "idempotency_key": fresh(), "user": name, "agent_type": 5}
    await world.post("/v1/events", {"events": [bad]})
    number = (await world.get("/v1/accounts", budget_id=made["budget_id"])).json()["accounts"][0]["account_id"]
    headers = {"Authorization": f"Bearer {world.token('acme', user=name)}"}
    asked = {"idempotency_key": fresh(), "reason": "more", "tokens": 5}
    assert (await world.client.post(f"/v1/accounts/{number}/increases", json=asked, headers=headers)).status_code == 201
    person, tenant = f"person:{name}", world.tenants["acme"]
    increase = (await world.get("/v1/increases")).json()["increases"][0]["increase_id"]
    for command in (
        StopTenant("s", b"x", None, person),
        GiveGrant("g", b"x", int(number), Limits(5), "more", person),
        DecideIncrease("d", b"x", int(increase), approve=True, actor=person),
    ):
        assert not isinstance(await world.service.submit(tenant, command), Refused)
    before = (await world.get("/v1/reports/spend", group_by="model")).json()["rows"]
    erase = {"idempotency_key": fresh()}
    assert (await world.made(f"/v1/users/{name}/erase", erase))["under_way"]
    problem = check_problem(await world.post(f"/v1/users/{name}/erase", {"idempotency_key": fresh()}), 409,
                            "erasure_under_way", "user")  # fmt: skip
    assert "already" in problem["detail"]
    assert (await world.made(f"/v1/users/{name}/erase", erase))["under_way"]
    report = await verify_database(world.url)
    assert report.clean, report.as_text()
    await Erasures(world.service.database, visible_seconds=0).erase_users()
    done = await world.made(f"/v1/users/{name}/erase", erase)
    assert (done["replayed"], done["under_way"]) == (True, False)
    assert (await world.get("/v1/reports/spend", group_by="model")).json()["rows"] == before
    budgets = {each["budget_id"]: each for each in (await world.get("/v1/budgets")).json()["budgets"]}
    pseudonym = done["target"]
    assert budgets[listed["budget_id"]]["selector"] == {"user": ["abe", pseudonym, "zed"]}
    assert budgets[other["budget_id"]]["overrides"] == [{**other["overrides"][0], "subject": {"user": pseudonym}}]
    found = []
    for row in await world.rows(
        "select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'"
    ):
        table = row["table_name"]
        hits = await world.rows(f"select t::text as line from {table} as t where t::text like '%zoë%'")
        found += [(table, hit["line"]) for hit in hits]
    assert found == []
    shown = (await world.get(f"/v1/runs/{run['run_id']}")).json()
    assert shown["user"].startswith("erased-")
    report = await verify_database(world.url)
    assert report.clean, report.as_text()


@pytest.mark.parametrize("name", ["team/ada", "a/erase", "/", "100%/2", "ada?"])
async def test_a_user_of_any_name_can_be_erased(name: str, own_world: World) -> None:
    await own_world.made("/v1/users", {"idempotency_key": fresh(), "users": [{"user": name}]}, method="PUT")
    path = f"/v1/users/{quote(name, safe='')}/erase"
    assert (await own_world.made(path, {"idempotency_key": fresh()}))["action"] == "user.erase"
    assert (await own_world.get("/v1/users")).json()["users"] == []
    assert 'route="/v1/users/{user:path}/erase"' in await own_world.metrics()


async def test_erasing_a_mistyped_name_is_404(own_world: World) -> None:
    before = await own_world.state()
    answer = await own_world.post("/v1/users/no-such-person/erase", {"idempotency_key": fresh()})
    check_problem(answer, 404, "user_not_found", "user")
    assert await own_world.state() == before


@pytest.mark.parametrize(
    "what", ["held", "denied", "booked", "budget", "list", "override", "terms", "run", "quarantine", "person"]
)
async def test_a_user_named_in_any_kind_of_row_can_be_erased(what: str, own_world: World) -> None:
    world, user = own_world, "zaphodx"
    match what:
        case "held":
            assert (await call(world, user, 5)).status_code == 201
        case "denied":
            await world.made("/v1/budgets", budget("none", selector={"agent_type": "*"}, limits={"tokens": 1}))
            assert (await call(world, user, 5)).status_code == 402
        case "booked":
            await settled(world, user, 5)
        case "budget":
            await world.made("/v1/budgets", budget("hers", selector={"user": user}))
        case "list":
            await world.made("/v1/budgets", budget("theirs", selector={"user": ["ada", user]}))
        case "override":
            overrides = [{"subject": {"user": user}, "limits": None}]
            await world.made("/v1/budgets", budget("each", selector={"user": "*"}, overrides=overrides))
        case "terms":
            await world.rows(
                "insert into budget_terms (tenant_id, budget_id, terms_id, since, overrides)"
                " values ($1, 1, 1, now(), $2)", world.tenants["acme"], f'[{{"subject": {{"user": "{user}"}}}}]'
            )  # fmt: skip
        case "run":
            await world.made("/v1/runs", {"idempotency_key": fresh(), "user": user})
        case "quarantine":
            bad = {"source": "batch", "idempotency_key": fresh(), "user": user, "agent_type": "\0"}
            await world.post("/v1/events", {"events": [bad]})
        case "person":
            command = StopTenant("s", b"x", None, f"person:{user}")
            assert not isinstance(await world.service.submit(world.tenants["acme"], command), Refused)
    path = f"/v1/users/{user}/erase"
    assert (await world.made(path, {"idempotency_key": fresh()}))["under_way"]
    await Erasures(world.service.database, visible_seconds=0).erase_users()
    check_problem(await world.post(path, {"idempotency_key": fresh()}), 404, "user_not_found")


async def test_metrics_of_every_process_forget_an_erased_user(own_world: World) -> None:
    await settled(own_world, "zaphodx", 5)
    registry = CollectorRegistry()
    elsewhere = Metrics(registry)
    elsewhere.count_calls(
        "acme", [BookedCalls(user, "a", "c", "m", 1, 3, 1, 1, 1, 1) for user in ("zaphodx", "arthur")]
    )
    assert 'user="zaphodx"' in await own_world.metrics()
    await own_world.made("/v1/users/zaphodx/erase", {"idempotency_key": fresh()})
    assert "zaphodx" not in await own_world.metrics()
    erasures = Erasures(own_world.service.database, ERASURE_VISIBLE_SECONDS)
    await erasures.erase_users()  # the row stays until every process has seen it
    await refresh_gauges(own_world.service.database, elsewhere)
    shown = generate_latest(registry).decode()
    assert ('user="zaphodx"' in shown, 'user="arthur"' in shown) == (False, True)
    assert await own_world.rows("select from erasures where journal = 'done'")
    assert ERASURE_VISIBLE_SECONDS > 2 * REFRESH_GAUGES_SECONDS
