"""Every route by role and tenant: who may call what, and that nothing of one tenant shows or changes for another.

The routes come from the OpenAPI document, so a new one fails here until `routes.ALLOWED` says who may call it.
"""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from tests.api.routes import ALLOWED, DOCUMENTATION, PUBLIC, Route
from tests.api.verbs import MODEL, VERBS, budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role
from token_ledger.storage.schema.all_tables import TENANT_TABLES

MARK = "zebra"
"""Part of every name that acme uses, and of no name of globex."""
BODIES = {(verb.method, verb.path): verb for verb in VERBS}
READS = [(method, path) for method, path in ALLOWED if method == "GET" and "{" not in path and path != "/v1/live"]
FREE = ("/v1/users", "/v1/tenants", "/v1/prices", "/v1/aliases", "/v1/discounts", "/v1/models")
NAMING = [route for route in ALLOWED if "{" in route[1] and not route[1].startswith(FREE)]
"""Routes with an id of one tenant in the path. Names are free in every tenant; tenants are the operator's."""


def _operations(world: World) -> set[Route]:
    return {
        (method.upper(), path) for path, methods in world.app.openapi()["paths"].items() for method in methods
    }  # fmt: skip


def test_every_documented_route_has_its_roles_listed(world: World) -> None:
    assert _operations(world) == set(ALLOWED) | PUBLIC


def test_every_mounted_route_is_documented(world: World) -> None:
    mounted = {
        (method, (context.path or "").replace(":path}", "}"))
        for context in iter_route_contexts(world.app.routes)
        for method in context.methods or ()
        if method != "HEAD" and context.path not in DOCUMENTATION
    }
    assert mounted == _operations(world)


def test_every_route_that_changes_something_has_a_body_in_the_tables() -> None:
    assert {route for route in ALLOWED if route[0] != "GET"} == set(BODIES)


async def _call(
    world: World, route: Route, ids: dict[str, str], tenant: str, role: Role, body: dict[str, Any] | None = None
) -> httpx2.Response:
    method, path = route
    if method not in ("POST", "PUT", "PATCH"):
        params = {"after": -1} if path == "/v1/live" else None  # a stream that nobody may open, or a bad parameter
        headers = world.headers(tenant, role)
        return await world.client.request(method, path.format(**ids), headers=headers, params=params)
    return await world.post(path.format(**ids), BODIES[route].fresh_body() if body is None else body,
                            tenant=tenant, role=role, method=method)  # fmt: skip


PLACES = (
    "run_id", "reservation_id", "budget_id", "key_id", "account_id", "increase_id", "user", "tenant_id", "provider_id",
    "quarantine_id", "provider", "model",
)  # fmt: skip
"""What paths name."""


def _matrix() -> Iterator[tuple[Route, Role]]:
    for route in ALLOWED:
        for role in Role:
            yield route, role


@pytest.mark.parametrize(
    ("route", "role"), list(_matrix()), ids=[f"{role}-{route[0]}-{route[1]}" for route, role in _matrix()]
)
async def test_a_role_may_call_exactly_the_routes_it_is_listed_for(route: Route, role: Role, world: World) -> None:
    tenant = "operator" if role is Role.OPERATOR else "globex"
    nowhere = dict.fromkeys(PLACES, "1")
    before = await world.state()
    answer = await _call(world, route, nowhere, tenant, role)
    if role in ALLOWED[route]:
        assert answer.status_code not in (401, 403), answer.text
        assert answer.status_code < 500, answer.text
    else:
        problem = check_problem(answer, 403, "forbidden")
        assert role.value in problem["detail"]
        assert await world.state() == before


class Acme:
    """Everything that acme has: the ids by the names of paths' parameters, all ids, and the keys it used."""

    def __init__(self) -> None:
        self.named: list[dict[str, str]] = []
        self.ids: set[str] = set()
        self.keys: list[str] = []


def _name(what: str) -> str:
    return f"{MARK} {what}"


@pytest.fixture(scope="module")
async def acme(world: World) -> Acme:
    """Acme with one of everything, all named with the mark, and ids that globex cannot reach by counting."""
    await world.rows("update tenant_ledgers set sequence = 70000000 where tenant_id = $1", world.tenants["acme"])
    made = Acme()

    async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await world.post(path, body)
        assert answer.status_code in (200, 201, 402), answer.text
        made.keys.append(body.get("idempotency_key", ""))
        value: dict[str, Any] = answer.json()
        return value

    def held(**fields: Any) -> dict[str, Any]:
        names = {"agent_type": _name("agent"), "request_type": _name("chat"), "tool": _name("tool")}
        body = reservation(idempotency_key=_name(fresh()), tags={_name("tag"): _name("value")}, **names)
        return {**{name: value for name, value in body.items() if name != "user" or "run_id" not in fields}, **fields}

    share = {"agent_type": _name("agent"), "weight": 1}
    runs = [
        await post("/v1/runs", {
            "idempotency_key": _name(fresh()), "user": _name("ada"), "cost_center": _name("research"),
            "external_id": _name("chat"), "limits": {"tokens": 90_000}, "allocation": [share],
        })
        for _ in range(2)
    ]  # fmt: skip
    budgets = [
        await post("/v1/budgets", budget(_name(enforcement), idempotency_key=_name(fresh()), enforcement=enforcement,
                                         selector={"user": "*"}, limits={"tokens": 2_000}))
        for enforcement in ("soft", "shadow")
    ]  # fmt: skip
    await post("/v1/budgets", budget(_name("hard"), selector={"user": _name("eve")}, limits={"tokens": 10}))
    await post("/v1/budgets", budget(_name("day"), selector={"user": "*"}, window="day", enforcement="shadow"))
    step = {**MODEL, "to_provider": "openai", "to_model": "gpt-5.4-mini", "context_tokens": 10_000}
    await post("/v1/triggers", {
        "idempotency_key": _name(fresh()), "kind": "high_cost", "at_percent": 1, "mode": "observe",
        "per_call_cost": "0.000001", "downgrades": [step],
    })  # fmt: skip
    reservations = [await post("/v1/reservations", held(user=_name("ada"))) for _ in range(4)]
    reservations += [await post("/v1/reservations", held(run_id=run["run_id"])) for run in runs]
    await post("/v1/reservations", held(user=_name("eve")))
    await post(
        f"/v1/reservations/{reservations[0]['reservation_id']}/settle",
        {"usage": {"input_tokens": 900, "output_tokens": 100}, "response_id": _name("response")},
    )
    await post(f"/v1/reservations/{reservations[1]['reservation_id']}/release", {"reason": _name("reason")})
    good = event(source=_name("batch"), idempotency_key=_name(fresh()), user=_name("ada"))
    bad = [{**good, "idempotency_key": _name(fresh()), "user": 5} for _ in range(3)]
    kept = (await post("/v1/events", {"events": [good, *bad]}))["results"][1:]
    await post(f"/v1/quarantine/{kept.pop()['quarantine_id']}/dismiss", {"note": _name("nothing")})
    await post(f"/v1/runs/{runs[1]['run_id']}/cancel", {"idempotency_key": _name(fresh())})
    users = [{"user": _name(who), "cost_centers": [{"cost_center": _name("lab")}]} for who in ("lin", "mae")]
    await world.made("/v1/users", {"idempotency_key": _name(fresh()), "users": users}, method="PUT")
    leaving = {"idempotency_key": _name(fresh()), "users": [{"user": _name("noa")}]}
    await world.made("/v1/users", leaving, method="PUT")
    await post(f"/v1/users/{_name('noa')}/erase", {"idempotency_key": _name(fresh())})
    await post("/v1/calendar", {"idempotency_key": _name(fresh()), "time_zone": "Asia/Kathmandu"})
    await post("/v1/budgets", budget(_name("models"), selector={"model": "*"}, limits={"tokens": 10**9}))
    named = {name: {"provider": "openai", "model": _name(name)} for name in ("preview", "model")}
    called = event(source=_name("batch"), idempotency_key=_name(fresh()), user=_name("ada"), **named["preview"])
    await post("/v1/events", {"events": [called]})
    renamed = {"asked": named["preview"], "becomes": named["model"], "reason": _name("reason")}
    await post("/v1/model-names", {"idempotency_key": _name(fresh()), **renamed})
    own = {"idempotency_key": _name(fresh()), "rates": {"base": {"input": "1", "output": "2"}}}
    await world.made(f"/v1/prices/acme/{_name('own')}", own, method="PUT")
    unpriced = event(idempotency_key=_name(fresh()), user=_name("ada"), provider="acme", model=_name("unpriced"))
    await post("/v1/events", {"events": [unpriced]})
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    late = {**own, "idempotency_key": _name(fresh()), "valid_from": since}
    await world.made(f"/v1/prices/acme/{_name('unpriced')}", late, method="PUT")
    known = {"idempotency_key": _name(fresh()), "capabilities": [_name("tools")]}
    await world.made(f"/v1/models/acme/{_name('own')}", known, method="PUT")
    off = {"idempotency_key": _name(fresh()), "factor": "0.9"}
    await world.made(f"/v1/discounts/acme/{_name('discounted')}", off, method="PUT")
    same = {"idempotency_key": _name(fresh()), "stands_for": MODEL}
    await world.made(f"/v1/aliases/acme/{_name('alias')}", same, method="PUT")
    believed = {"issuer": "https://id.acme.test", "default_role": "user"}
    path = f"/v1/tenants/{world.tenants['acme']}/identity-providers"
    providers = [
        await world.made(path, {**believed, "audience": _name(fresh())}, tenant="operator", role=Role.OPERATOR)
        for _ in range(2)
    ]
    await post(f"/v1/runs/{runs[0]['run_id']}/steps", {"idempotency_key": _name(fresh()), "label": _name("plan")})
    subject = json.dumps({"user": _name("ada")}, separators=(",", ":"))
    accounts = [
        str(row["account_id"])
        for row in await world.rows(
            "select account_id from accounts where tenant_id = $1 and subject = $2", world.tenants["acme"], subject
        )
    ]
    increases = []
    for account in accounts:
        more = {"idempotency_key": _name(fresh()), "tokens": 5, "reason": _name("more")}
        increases.append(await post(f"/v1/accounts/{account}/increases", more))
        more = {"idempotency_key": _name(fresh()), "tokens": 5, "reason": _name("more")}
        await post(f"/v1/accounts/{account}/grants", more)
    spent = event(source=_name("batch"), idempotency_key=_name(fresh()), user=_name("ada"), run_id=runs[0]["run_id"])
    spent.pop("user")
    spent["usage"] = {**spent["usage"], "web_searches": 2}
    await post("/v1/events", {"events": [spent]})
    used = {"type": "tool_call", "tool": _name("tool"), "source": _name("batch"), "agent_type": _name("agent")}
    await post("/v1/events", {"events": [{**used, "user": _name("ada"), "idempotency_key": _name(fresh())}]})
    keys = [await post("/v1/api-keys", {"role": role, "name": _name(role)}) for role in ("agent", "finance", "admin")]
    made.named = [
        {
            "run_id": run["run_id"], "reservation_id": hold["reservation_id"], "budget_id": limit["budget_id"],
            "key_id": key["key_id"], "account_id": account, "increase_id": increase["increase_id"],
            "user": who["user"], "tenant_id": str(world.tenants["acme"]), "provider_id": provider["provider_id"],
            "quarantine_id": item["quarantine_id"], "provider": "azure", "model": fresh("deployment"),
        }
        for run, hold, limit, key, account, increase, who, provider, item in zip(
            runs, reservations, budgets, keys, accounts, increases, users, providers, kept, strict=False
        )
    ]  # fmt: skip
    # All columns that hold ids, whichever table they stand in.
    for table in TENANT_TABLES:
        for row in await world.rows(f"select * from {table} where tenant_id = $1", world.tenants["acme"]):
            made.ids.update(str(value) for name, value in row.items() if name.endswith("_id") and name != "tenant_id")
    made.ids = {text for text in made.ids if len(text) > 9 and text != "None"}
    assert len(made.ids) > 30
    return made


def _shows_nothing(acme: Acme, answer: httpx2.Response, asked: str = "") -> None:
    assert MARK not in answer.text
    assert MARK not in str(answer.headers)
    assert [text for text in acme.ids if text in answer.text and text not in asked] == []


async def test_acme_has_rows_in_every_table(acme: Acme, world: World) -> None:
    state = await world.state(world.tenants["acme"])
    # The worker makes checkpoints, before it drops a month of events.
    assert [table for table, (rows, _) in state.items() if not rows and "checkpoint" not in table] == []


@pytest.mark.parametrize(
    ("path", "role"),
    [(path, role) for _, path in READS for role in (Role.FINANCE, Role.ADMIN) if role in ALLOWED["GET", path]],
)
async def test_the_reads_of_acme_show_its_rows(path: str, role: Role, acme: Acme, world: World) -> None:
    """The other tests check where the mark must not be; this one checks that it appears where it should."""
    answer = await world.get(path, role=role)
    shown = {
        "/v1/reports/triggers": "model_downgrade",
        "/v1/triggers": "gpt-5.4-mini",
        "/v1/calendar": "Kathmandu",
        "/v1/stop": "stopped",
        "/v1/duplicates": "found",
    }.get(path, MARK)
    assert shown in answer.text


@pytest.mark.parametrize("role", [Role.AGENT, Role.FINANCE, Role.ADMIN])
@pytest.mark.parametrize("path", [path for _, path in READS])
async def test_a_list_shows_nothing_to_another_tenant(path: str, role: Role, acme: Acme, world: World) -> None:
    before = await world.state(world.tenants["acme"])
    _shows_nothing(acme, await world.get(path, tenant="globex", role=role))
    assert await world.state(world.tenants["acme"]) == before


FILTERS = (
    ("/v1/runs", "user", _name("ada")),
    ("/v1/runs", "external_id", _name("chat")),
    ("/v1/runs", "state", "cancelled"),
    ("/v1/accounts", "after", "0"),
    ("/v1/recostings", "model", _name("unpriced")),
    ("/v1/reports/runs", "user", _name("ada")),
    ("/v1/reports/budgets", "budget", _name("day")),
    ("/v1/reports/models", "model", _name("unpriced")),
    ("/v1/reports/tools", "tool", _name("tool")),
    ("/v1/reports/spend", "group_by", "agent_type"),
    ("/v1/reports/spend", "group_by", "model"),
    ("/v1/reports/spend", "group_by", "cost_center"),
    ("/v1/reports/spend", "group_by", "request_type"),
)


@pytest.mark.parametrize(("path", "name", "value"), FILTERS)
async def test_filtering_by_another_tenants_names_finds_nothing(
    path: str, name: str, value: str, acme: Acme, world: World
) -> None:
    for role in (Role.AGENT, Role.FINANCE, Role.ADMIN):
        _shows_nothing(acme, await world.get(path, tenant="globex", role=role, **{name: value}))


async def test_asking_for_the_accounts_of_another_tenants_budget_finds_nothing(acme: Acme, world: World) -> None:
    for ids in acme.named:
        answer = await world.get("/v1/accounts", tenant="globex", budget_id=ids["budget_id"])
        assert answer.json() == {"accounts": []}
        assert (await world.get("/v1/accounts", budget_id=ids["budget_id"])).json() != {"accounts": []}


@pytest.mark.parametrize("route", NAMING, ids=lambda route: f"{route[0]}-{route[1]}")
async def test_another_tenants_id_is_404_and_changes_nothing(route: Route, acme: Acme, world: World) -> None:
    before = await world.state()
    for ids in acme.named:
        for role in sorted(ALLOWED[route]):
            answer = await _call(world, route, ids, "globex", role)
            assert answer.status_code == 404, answer.text
            check_problem(answer, 404, answer.json()["code"])
            _shows_nothing(acme, answer, asked=json.dumps(ids))
    assert await world.state() == before


async def test_another_tenants_run_in_a_body_is_not_found(acme: Acme, world: World) -> None:
    before = await world.state(world.tenants["acme"])
    for ids in acme.named:
        body = reservation(user=None, run_id=ids["run_id"])
        check_problem(await world.post("/v1/reservations", body, tenant="globex"), 404, "run_not_found", "run_id")
        sent = {name: value for name, value in event(run_id=ids["run_id"]).items() if name != "user"}
        kept = await world.made("/v1/events", {"events": [sent]}, tenant="globex")
        assert (kept["results"][0]["status"], kept["results"][0]["code"]) == ("quarantined", "run_not_found")
    assert await world.state(world.tenants["acme"]) == before


async def test_idempotency_keys_of_another_tenant_are_free(acme: Acme, world: World) -> None:
    """A key that acme used is neither a replay nor a conflict for globex."""
    before = await world.state(world.tenants["acme"])
    for key in filter(None, acme.keys):
        run = await world.made("/v1/runs", {"idempotency_key": key, "user": "bob"}, tenant="globex")
        held = await world.made("/v1/reservations", reservation(idempotency_key=key), tenant="globex")
        events = {"events": [event(source=_name("batch"), idempotency_key=key)]}
        booked = await world.made("/v1/events", events, tenant="globex")
        assert not any(answer["replayed"] for answer in (run, held, *booked["results"]))
        for answer in (run, held, booked):
            assert MARK not in json.dumps(answer)
    assert await world.state(world.tenants["acme"]) == before


async def test_a_tenants_budgets_do_not_limit_another_tenant(acme: Acme, world: World) -> None:
    answer = await world.made("/v1/reservations", reservation(user=_name("eve")), tenant="globex")
    assert (answer["state"], answer["warnings"], answer["directive"]["advice"]) == ("held", [], [])


@pytest.mark.parametrize("route", [route for route in BODIES if not route[1].startswith("/v1/tenants")], ids=str)
async def test_requests_of_globex_change_nothing_of_acme(route: Route, acme: Acme, world: World) -> None:
    before = await world.state(world.tenants["acme"])
    answer = await _call(world, route, acme.named[0], "globex", Role.ADMIN)
    assert answer.status_code in (200, 201, 404), answer.text
    _shows_nothing(acme, answer, asked=json.dumps(acme.named[0]))
    assert await world.state(world.tenants["acme"]) == before


@pytest.fixture
async def _without_row_level_security(acme: Acme, world: World) -> AsyncIterator[None]:
    for table in TENANT_TABLES:
        await world.rows(f"alter table {table} disable row level security")
    yield
    for table in TENANT_TABLES:
        await world.rows(f"alter table {table} enable row level security")


@pytest.mark.usefixtures("_without_row_level_security")
async def test_queries_filter_by_tenant_even_without_row_level_security(acme: Acme, world: World) -> None:
    """Row-level security would hide a query that lacks its tenant condition, so it is switched off here."""
    before = await world.state(world.tenants["acme"])
    for path in [path for _, path in READS if path != "/v1/tenants"]:
        for role in sorted(ALLOWED["GET", path] - {Role.OPERATOR}):
            # Globex sent ids of acme's runs itself, in events that are in its quarantine.
            _shows_nothing(acme, await world.get(path, tenant="globex", role=role), asked=json.dumps(acme.named))
    for path, name, value in FILTERS:
        answer = await world.client.get(path, headers=world.headers("globex"), params={name: value})
        _shows_nothing(acme, answer)
    for route in NAMING:
        for ids in acme.named:
            answer = await _call(world, route, ids, "globex", Role.ADMIN)
            assert answer.status_code == 404, (route, answer.text)
            _shows_nothing(acme, answer, asked=json.dumps(ids))
    assert await world.state(world.tenants["acme"]) == before


async def test_the_operator_sees_tenants_and_nothing_inside_them(acme: Acme, world: World) -> None:
    for route in [*READS, *NAMING]:
        answer = await _call(world, route, acme.named[0], "operator", Role.OPERATOR)
        assert answer.status_code == (200 if Role.OPERATOR in ALLOWED[route] else 403)
        _shows_nothing(acme, answer)
    listed = (await world.get("/v1/tenants", tenant="operator", role=Role.OPERATOR)).json()["tenants"]
    assert {"acme", "globex"} <= {tenant["name"] for tenant in listed}
    assert all(
        set(tenant) == {"tenant_id", "name", "time_zone", "created_at", "week_start", "fiscal_month", "stopped"}
        for tenant in listed
    )


async def test_a_new_tenant_has_its_admin_key_and_nothing_else(world: World) -> None:
    body = {"name": fresh("initech"), "time_zone": "Europe/Berlin"}
    made = await world.post("/v1/tenants", body, tenant="operator", role=Role.OPERATOR)
    assert made.status_code == 201, made.text
    headers = {"Authorization": f"Bearer {made.json()['admin_key']}"}
    for path in ("/v1/budgets", "/v1/accounts", "/v1/runs", "/v1/quarantine"):
        answer = await world.client.get(path, headers=headers)
        assert (answer.status_code, list(answer.json().values())) == (200, [[]])
    again = await world.post("/v1/tenants", body, tenant="operator", role=Role.OPERATOR)
    check_problem(again, 409, "tenant_exists", "name")
