"""Short-lived tokens: valid for one user or one run, until they expire, and only while their issuing key is."""

from typing import Any

import pytest
from joserfc import jwt

from tests.api.verbs import budget, event, reservation
from tests.api.world import Clock, World, check_problem, fresh
from token_ledger.core.model.principal import KEY_ROLES, Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity import authentication
from token_ledger.identity.short_lived_tokens import AUDIENCE, new_token, read_token, signing_key

NOW = 1_800_000_000
KEY = signing_key(b"a pepper")
GOOD: dict[str, Any] = {
    "aud": AUDIENCE, "tenant": "5", "key": "5kabc", "iat": NOW, "exp": NOW + 60, "jti": "1", "user": "ada",
}  # fmt: skip


def signed(algorithm: str = "HS256", **claims: Any) -> str:
    values = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return jwt.encode({"alg": algorithm}, values, KEY, algorithms=[algorithm])


def test_a_valid_token_says_whom_it_is_for() -> None:
    claims = read_token(KEY, signed(), NOW)
    assert claims is not None
    assert (claims.tenant, claims.key_id, claims.user, claims.run_id) == (TenantId(5), "5kabc", "ada", None)
    run = read_token(KEY, new_token(KEY, TenantId(5), "5kabc", user=None, run_id=9, now=NOW, ttl_seconds=60), NOW + 59)
    assert run is not None
    assert (run.user, run.run_id) == (None, 9)


def tampered(text: str) -> str:
    head, body, signature = text.split(".")
    return f"{head}.{body[:-2]}{'AA' if body[-2:] != 'AA' else 'BB'}.{signature}"


def unsigned() -> str:
    _head, body, _ = signed().split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


@pytest.mark.parametrize(
    ("text", "now"),
    [
        (signed(), NOW + 60),
        (signed(), NOW + 10_000),
        (signed(exp=None), NOW),
        (signed(exp=NOW - 1), NOW),
        (signed(exp="soon"), NOW),
        (signed(aud=None), NOW),
        (signed(aud="somebody else"), NOW),
        (signed(tenant=None), NOW),
        (signed(tenant="five"), NOW),
        (signed(key=None), NOW),
        (signed(jti=None), NOW),
        (signed(user=None), NOW),
        (signed(run="7"), NOW),
        (signed(user=None, run="seven"), NOW),
        (signed(nbf=NOW + 60), NOW),
        (jwt.encode({"alg": "HS256"}, GOOD, signing_key(b"another pepper")), NOW),
        (signed("HS384"), NOW),
        (tampered(signed()), NOW),
        (unsigned(), NOW),
        ("", NOW),
        ("a.b.c", NOW),
        ("tl_test_1kabc_secret", NOW),
        (signed()[:-3], NOW),
    ],
)  # fmt: skip
def test_any_other_text_is_not_a_token(text: str, now: int) -> None:
    assert read_token(KEY, text, now) is None


async def asked(world: World, token: str, path: str, method: str = "GET", **options: Any) -> Any:
    return await world.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **options)


@pytest.fixture
async def runs(world: World) -> dict[str, dict[str, Any]]:
    """A run of ada's, a sub-run of it, and a run of bob's, each with a booked call."""
    made: dict[str, dict[str, Any]] = {}
    made["ada"] = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", "limits": {"tokens": 9_000}})
    made["bob"] = await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "bob", "limits": {"tokens": 9_000}})
    part = {"idempotency_key": fresh(), "parent_run_id": made["ada"]["run_id"]}
    made["part"] = await world.made("/v1/runs", part)
    for run in made.values():
        sent = {name: value for name, value in event(run_id=run["run_id"]).items() if name != "user"}
        await world.made("/v1/events", {"events": [sent]})
    return made


async def test_a_users_token_sees_and_stops_only_their_runs(world: World, runs: dict[str, dict[str, Any]]) -> None:
    issued = await world.made("/v1/tokens", {"user": "ada"})
    token = issued["token"]
    listed = (await asked(world, token, "/v1/runs", params={"user": "bob"})).json()["runs"]
    assert {run["user"] for run in listed} == {"ada"}
    assert (await asked(world, token, f"/v1/runs/{runs['ada']['run_id']}")).status_code == 200
    check_problem(await asked(world, token, f"/v1/runs/{runs['bob']['run_id']}"), 404, "run_not_found", "run_id")
    before = await world.state()
    refused = await asked(world, token, f"/v1/runs/{runs['bob']['run_id']}/cancel", "POST", json={})
    check_problem(refused, 404, "run_not_found", "run_id")
    assert await world.state() == before
    stopped = await asked(world, token, f"/v1/runs/{runs['ada']['run_id']}/cancel", "POST", json={})
    assert stopped.json()["state"] == "cancelled"


async def test_a_runs_token_sees_that_run_and_its_sub_runs(world: World, runs: dict[str, dict[str, Any]]) -> None:
    token = (await world.made("/v1/tokens", {"run_id": runs["ada"]["run_id"]}))["token"]
    assert (await asked(world, token, f"/v1/runs/{runs['ada']['run_id']}")).status_code == 200
    assert (await asked(world, token, f"/v1/runs/{runs['part']['run_id']}")).status_code == 200
    check_problem(await asked(world, token, f"/v1/runs/{runs['bob']['run_id']}"), 404, "run_not_found", "run_id")
    shown = (await asked(world, token, "/v1/me")).json()
    assert [run["run_id"] for run in shown["runs"]] == [runs["ada"]["run_id"]]
    listed = (await asked(world, token, "/v1/runs")).json()["runs"]
    assert [run["run_id"] for run in listed] == [runs["part"]["run_id"], runs["ada"]["run_id"]]


async def test_a_user_sees_their_balance_and_asks_for_an_increase(world: World) -> None:
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, selector={"user": "*"}))
    await world.made("/v1/reservations", reservation(user=user))
    await world.made("/v1/reservations", reservation(user=fresh("other")))
    token = world.token("acme", user=user)
    shown = (await asked(world, token, "/v1/me")).json()
    accounts = [account for account in shown["accounts"] if account["budget"] == user]
    assert [account["subject"] for account in accounts] == [{"user": user}]
    assert accounts[0]["balance"]["held"]["tokens"] == 1_500
    more = {"idempotency_key": fresh(), "tokens": 5, "reason": "a deadline"}
    path = f"/v1/accounts/{accounts[0]['account_id']}/increases"
    answer = await asked(world, token, path, "POST", json=more)
    assert (answer.status_code, answer.json()["asked_by"]) == (201, user)
    other = world.token("acme", user=fresh("other"))
    check_problem(await asked(world, other, path, "POST", json=more), 404, "account_not_found", "account_id")
    await world.made(f"/v1/increases/{answer.json()['increase_id']}/refuse", {"idempotency_key": fresh(), "note": "no"})
    [shown] = (await asked(world, token, "/v1/increases")).json()["increases"]
    assert (shown["increase_id"], shown["state"], shown["note"]) == (answer.json()["increase_id"], "refused", "no")
    assert (await asked(world, other, "/v1/increases")).json()["increases"] == []


async def test_a_runs_token_sees_increases_asked_for_on_its_accounts(world: World) -> None:
    limits = {"limits": {"tokens": 9_000}}
    runs = [await world.made("/v1/runs", {"idempotency_key": fresh(), "user": "ada", **limits}) for _ in range(2)]
    asked_for = []
    for run in runs:
        [row] = await world.rows("select account_id from accounts where subject::jsonb ->> 'run' = $1", run["run_id"])
        more = {"idempotency_key": fresh(), "tokens": 5, "reason": "a deadline"}
        asked_for.append(await world.made(f"/v1/accounts/{row['account_id']}/increases", more))
    listed = await asked(world, world.token("acme", run_id=int(runs[0]["run_id"])), "/v1/increases")
    assert [each["increase_id"] for each in listed.json()["increases"]] == [asked_for[0]["increase_id"]]


async def test_a_user_sees_every_account_that_is_theirs_alone(world: World) -> None:
    user, other = fresh("user"), fresh("other")
    selectors = {
        "each": {"user": "*", "agent_type": "*"}, "hers": {"user": user, "agent_type": "*"}, "all": {"agent_type": "*"},
        "theirs": {"user": other, "agent_type": "*"},
    }  # fmt: skip
    names = {label: fresh(label) for label in selectors}
    for label, selector in selectors.items():
        await world.made("/v1/budgets", budget(names[label], selector=selector))
    for each in (user, other):
        await world.made("/v1/reservations", reservation(user=each))
    shown = (await asked(world, world.token("acme", user=user), "/v1/me")).json()["accounts"]
    found = {a["budget"]: a["subject"] for a in shown if a["budget"] in names.values()}
    agent = {"agent_type": "data_agent"}
    assert found == {names["each"]: {**agent, "user": user}, names["hers"]: agent}
    star = (await asked(world, world.token("acme", user="*"), "/v1/me")).json()["accounts"]
    assert star == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/reservations"), ("POST", "/v1/events"), ("GET", "/v1/accounts"), ("GET", "/v1/budgets"),
        ("GET", "/v1/reports/spend"), ("POST", "/v1/tokens"), ("GET", "/v1/audit"), ("POST", "/v1/stop"),
        ("GET", "/v1/api-keys"), ("GET", "/v1/users"),
    ],
)  # fmt: skip
async def test_a_token_is_refused_everything_else(method: str, path: str, world: World) -> None:
    check_problem(await asked(world, world.token("acme", user="ada"), path, method, json={}), 403, "forbidden")


async def test_a_token_ends_with_the_key_that_issued_it(world: World) -> None:
    made = await world.made("/v1/api-keys", {"role": "agent", "name": "browser backend"})
    headers = {"Authorization": f"Bearer {made['key']}"}
    issued = await world.client.post("/v1/tokens", headers=headers, json={"user": "ada"})
    token = issued.json()["token"]
    assert (await asked(world, token, "/v1/me")).status_code == 200
    await world.delete(f"/v1/api-keys/{made['key_id']}")
    check_problem(await asked(world, token, "/v1/me"), 401, "unauthenticated")


async def test_a_token_is_refused_after_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "KEY_TRUST_SECONDS", 3_600.0)
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    token = world.token("acme", user="ada", now=clock.now, ttl_seconds=900)
    for passed in (0, 899):
        clock.now += passed
        assert (await asked(world, token, "/v1/me")).status_code == 200
    clock.now += 1
    check_problem(await asked(world, token, "/v1/me"), 401, "unauthenticated")


async def test_a_token_of_one_tenant_shows_nothing_of_another(world: World, runs: dict[str, dict[str, Any]]) -> None:
    token = world.token("globex", user="ada")
    check_problem(await asked(world, token, f"/v1/runs/{runs['ada']['run_id']}"), 404, "run_not_found", "run_id")
    assert (await asked(world, token, "/v1/runs")).json()["runs"] == []


def test_no_key_has_the_role_of_a_token() -> None:
    assert Role.USER not in KEY_ROLES
