"""Whatever callers send is stored or refused at the door: no value is left for the database to refuse."""

import asyncio
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB

from tests.api import doors
from tests.api.verbs import BY_NAME, MODEL, VERBS, Verb, budget, event, named_ids, reservation
from tests.api.world import World, fresh
from token_ledger.storage.schema.all_tables import metadata

ANSWERED = {200, 201, 402, 404, 409, 422}


def _nested(levels: int) -> str:
    return "[" * levels + "]" * levels


EXTREMES = (
    *(json.dumps(text) for text in (
        "", " ", "x" * 200, "x" * 201, "x" * 10_000, "\U0001f600" * 64, "\U0001f600" * 65, "\U0001f600" * 200,
        '"' * 200,
        "\\" * 200, "%s{}$1'; --", "a*", "*", "e\u0301" * 100, "a\0b", "\x7f", "\u202e", "\ufffe", "-", "unassigned",
        "9223372036854775807", "9223372036854775808", "9" * 19, "9223372036.854775807", "9223372036.854775808",
        "0.000000001", "0.0000000001", "1e30", "NaN", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2000-01-01T00:00:00Z", "2999-12-31T23:59:59.999999Z",
        "3000-01-01T00:00:00Z", "2026-06-30T23:59:60Z",
    )),
    '"\\ud800"', '"\\udfff\\ud800"', "null", "true", "0", "-1", "-0.0", "7.0", "0.5", "1e308", "1e400", "NaN",
    "-Infinity", *(str(number) for number in (2**15, 2**31, 2**53 + 1, 10**12, 10**12 + 1, 10**15, 2**63 - 1, 2**63)),
    str(-(2**63) - 1),
    "1" + "0" * 400, "[]", "{}", '[""]', '["x", "x"]', "[[[]]]", _nested(60), _nested(300), '{"\\u0000": "\\u0000"}',
    '{"a": "\\u0000"}', '{"\\ud800": "a"}', '{"": ""}', '{"a": {"a": {"a": 1e400}}}',
    json.dumps({str(number): "x" for number in range(3_000)}), json.dumps(["x"] * 3_000),
    json.dumps({"user": "x" * 200, "tag." + "t" * 200: '"' * 200}),
)  # fmt: skip
"""Raw JSON, and what is nearly JSON."""


def _body(verb: Verb, path: str, raw: str) -> bytes:
    """Return a valid body with raw text at a path, which makes the lists and objects that are missing on its way."""
    body: Any = verb.fresh_body()
    if verb.name == "operations":
        body["operations"] = [{"op": "reserve", **reservation()}]
    elif verb.name == "events":
        body["events"] = [event()]
    *outer, last = (int(part) if part.isdigit() else part.replace("~", ".") for part in path.split("."))
    inner = body
    for part in outer:
        if isinstance(inner, dict):
            inner = inner.setdefault(part, {})
        else:
            inner.extend({} for _ in range(len(inner), int(part) + 1))
            inner = inner[int(part)]
    inner[last] = "@here@"
    return json.dumps(body).replace('"@here@"', raw).encode()


class Watched:
    """A world, and the statements by which a writer takes back what the database refused."""

    def __init__(self, world: World, taken_back: list[str]) -> None:
        self.world = world
        self.taken_back = taken_back

    async def send(self, verb: Verb, ids: dict[str, str], body: bytes) -> httpx2.Response:
        """Send the body of a verb."""
        headers = {**self.world.headers(*verb.who), "Content-Type": "application/json"}
        return await self.world.client.request(verb.method, verb.path.format(**ids), headers=headers, content=body)


@pytest.fixture
def taken_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a writer has taken back so far; nothing may be at the end."""
    found: list[str] = []
    execute = asyncpg.Connection.execute

    async def counted(self: Any, query: str, *arguments: Any, **more: Any) -> str:
        if query in ("savepoint part", "rollback", "rollback to savepoint part"):
            found.append(query)
        return await execute(self, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "execute", counted)
    yield found
    assert not found, "the database has refused something"


@pytest.fixture
def watched(world: World, taken_back: list[str]) -> Watched:
    return Watched(world, taken_back)


def _check(answer: httpx2.Response, where: tuple[str, ...]) -> None:
    """Check that a request, and each operation of a list, was done or refused at the door."""
    malformed = answer.status_code == 400 and answer.json()["code"] == "malformed_json"
    assert answer.status_code in ANSWERED or malformed, (*where, answer.status_code, answer.text[:500])
    for result in answer.json().get("results", ()) if answer.status_code == 200 else ():
        assert result["status"] in (*ANSWERED, "booked", "quarantined", "conflict", "invalid", "refused"), (
            where,
            result,
        )
    assert "the database" not in answer.text, (*where, answer.text[:500])


async def _ids(world: World, verb: Verb) -> dict[str, str]:
    """Return new ids for a verb whose path names something. The others need none, and each leaves a budget behind."""
    return await named_ids(world) if "{" in verb.path else {}


async def _targets(world: World, verb: Verb, ids: dict[str, str]) -> dict[str, str]:
    """Return the ids, with a hold of its own for a verb that ends one."""
    if verb.name not in ("settle", "release", "force release", "extend"):
        return ids
    hold = await world.made("/v1/reservations", reservation(ttl_seconds=86_400))
    return {**ids, "reservation_id": hold["reservation_id"]}


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in doors.EVERY_FIELD))
async def test_extremes_of_every_field_are_stored_or_refused_at_the_door(name: str, watched: Watched) -> None:
    world, verb = watched.world, BY_NAME[name]
    for path in (path for named, path in doors.EVERY_FIELD if named == name):
        ids = await _ids(world, verb)

        async def send(raw: str, path: str = path, ids: dict[str, str] = ids) -> None:
            answer = await watched.send(verb, await _targets(world, verb, ids), _body(verb, path, raw))
            _check(answer, (name, path, raw[:200]))

        await asyncio.gather(*map(send, EXTREMES))
        assert not watched.taken_back, path
        for tenant in ("acme", "operator"):
            if "stop" in name and tenant == "acme":
                await world.made("/v1/resume", {"idempotency_key": fresh()})


@pytest.mark.usefixtures("taken_back")
async def test_extremes_of_every_parameter_are_looked_up_or_refused(own_world: World) -> None:
    world = own_world  # what the other tests have left in theirs would be listed a thousand times
    texts = [json.loads(raw) for raw in EXTREMES if raw.startswith('"') and not raw.startswith('"\\ud')]
    texts += [raw for raw in EXTREMES if not raw.startswith('"') and len(raw) < 8_000]
    texts.append('{"user": ' + "[" * 6_000)
    ids = await named_ids(world)
    sent = 0
    for path, operations in world.app.openapi()["paths"].items():
        read = operations.get("get")
        if read is None or "text/event-stream" in read["responses"]["200"]["content"]:  # a stream does not end
            continue
        names = [each["name"] for each in read.get("parameters", ()) if each["in"] == "query"]
        short = {"limit": 1} if "limit" in names else {}
        for name in names:
            at = path.format(**ids)
            for text in texts:
                answer = await world.get(at, **{**short, name: text})
                assert answer.status_code in (200, 422), (at, name, text[:200], answer.text[:500])
                sent += 1
    assert sent > 1_000


LONGEST = {"ascii": "x" * 190, "four bytes": "\U0001f600" * 60, "quotes": '"' * 120, "backslashes": "\\" * 120}
"""Names that are as long as any may be, when a number makes them unique."""
_ALSO = ("idempotency_key", "name", "audience", "note")


@pytest.mark.parametrize("kind", LONGEST)
@pytest.mark.parametrize("name", [verb.name for verb in VERBS if verb.model])
async def test_all_fields_at_their_longest_are_stored_together(name: str, kind: str, watched: Watched) -> None:
    world, verb = watched.world, BY_NAME[name]
    ids = await _targets(world, verb, await _ids(world, verb))
    body: Any = verb.fresh_body()
    longest = LONGEST[kind]
    if name == "reversal":
        body["key"] = fresh(longest)
        await world.made("/v1/events", {"events": [event(idempotency_key=body["key"])]})
    texts = {path for path, kind in verb.kinds.items() if kind == "text" and path in {*body, *_ALSO}}
    found_again = {"key", "source"} if name == "reversal" else {"provider", "model"}
    body |= {path: fresh(longest) for path in texts - found_again}
    if "tags" in body:
        body["tags"] = {fresh(longest): longest for _ in range(8)}
    if "requires" in body:
        body["requires"] = [longest] * 16
    if name == "events":
        words = ("source", "idempotency_key", "user", "agent_type", "provider", "model", "cost_center", "request_type",
                 "response_id", "tool")  # fmt: skip
        body["events"] = [event(**{word: fresh(longest) for word in words}, tags=_tags(longest))]
    if name == "operations":
        names = dict.fromkeys(("user", "agent_type", "cost_center", "request_type", "tool"), longest)
        body["operations"] = [{"op": "reserve", **reservation(**names, tags=_tags(longest))}]
    if name == "users":
        body["users"] = [{"user": fresh(longest), "cost_centers": [{"cost_center": longest}]}]
    if name in ("run", "rebalance"):
        body["allocation"] = [{"agent_type": fresh(longest), "weight": 1} for _ in range(64)]
    if name == "budget":
        body["selector"] = {"user": [fresh(longest) for _ in range(100)], "tag." + longest: "*", "agent_type": "*"}
        body["overrides"] = []
    if name == "trigger":
        step = {
            **MODEL,
            "to_provider": longest,
            "to_model": longest,
            "context_tokens": 1,
            "capabilities": [longest] * 32,
        }
        body["downgrades"] = [step] * 32
    answer = await watched.send(verb, ids, json.dumps(body).encode())
    assert answer.status_code == verb.status, answer.text
    _check(answer, (name, kind))
    if name == "stop":
        await world.made("/v1/resume", {"idempotency_key": fresh()})


def _tags(longest: str) -> dict[str, str]:
    return {fresh(longest): longest for _ in range(8)}


async def test_accounts_whose_subjects_are_longest_are_found_by_their_index(watched: Watched) -> None:
    world = watched.world
    for kind, longest in LONGEST.items():
        dimensions = ("user", "agent_type", "request_type", "tool")
        body = budget(fresh("longest"), selector=dict.fromkeys(dimensions, "*"), limits={"tokens": 10**9})
        made = await world.made("/v1/budgets", body)
        await world.made("/v1/reservations", reservation(**dict.fromkeys(dimensions, longest)))
        found = (await world.get("/v1/accounts", subject=json.dumps(dict.fromkeys(dimensions, longest)))).json()
        assert made["budget_id"] in {account["budget_id"] for account in found["accounts"]}, kind


def test_every_column_is_listed_with_its_guard() -> None:
    listed = {
        table: sorted(column for columns in guards.values() for column in columns.split())
        for table, guards in doors.COLUMNS.items()
    }
    schema = {table.name: sorted(column.name for column in table.columns) for table in metadata.sorted_tables}
    assert listed == schema
    assert {guard for guards in doors.COLUMNS.values() for guard in guards} == set(doors.GUARDS)


MARK = "zzmark"
COPIES = ("daily_checkpoints", "hourly_checkpoints", "daily_tag_checkpoints", "run_checkpoints")
"""Retention adds roll-ups up in these."""


async def test_columns_with_text_of_callers_are_those_that_are_listed(own_world: World) -> None:
    world = own_world
    await _mark_everything(world)
    found = set()
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, Text | JSONB) and await world.rows(
                f"select 1 from {table.name} where \"{column.name}\"::text like '%{MARK}%' limit 1"
            ):
                found.add(f"{table.name}.{column.name}")
    listed = {
        f"{table}.{column}"
        for table, guards in doors.COLUMNS.items()
        for guard in doors.TEXT_GUARDS
        for column in guards.get(guard, "").split()
    }
    assert found - listed == set(), "these have text of callers and no guard for it"
    unreached = {name for name in listed - found if name.split(".")[0] not in COPIES}
    assert unreached == doors.WITHOUT_CALLERS_TEXT, (
        f"{sorted(unreached)}: these are listed as having text of callers, and were not reached"
    )


async def _mark_everything(world: World) -> None:
    """Send the mark in every text of every verb, so that it comes wherever text of callers comes."""
    marked = {"user": f"{MARK} u", "cost_center": f"{MARK} c", "agent_type": f"{MARK} a", "request_type": f"{MARK} r",
              "tool": f"{MARK} t", "tags": {f"{MARK} n": f"{MARK} v"}}  # fmt: skip
    other = {"provider": f"{MARK} p", "model": f"{MARK} m"}
    await world.made("/v1/users", {"idempotency_key": fresh(MARK), "users": [
        {"user": user, "cost_centers": [{"cost_center": f"{MARK} c"}]} for user in (f"{MARK} u", f"{MARK} gone")
    ]}, method="PUT")  # fmt: skip
    terms = {"selector": {"user": "*"}, "limits": {"tokens": 4_000}, "window": "day",
             "overrides": [{"subject": {"user": f"{MARK} o"}, "limits": {"tokens": 4_000}}]}  # fmt: skip
    made = await world.made("/v1/budgets", {"idempotency_key": fresh(MARK), "name": MARK, **terms})
    soft = budget(f"{MARK} soft", selector={**other, "user": f"{MARK} u"}, limits={"calls": 0}, enforcement="soft")
    await world.made("/v1/budgets", soft)
    named = budget(f"{MARK} named", selector={"model": f"{MARK} M"})
    await world.made("/v1/budgets", named)
    warning = budget(f"{MARK} warning", selector={"user": f"{MARK} u"}, limits={"calls": 0}, enforcement="soft")
    await world.made("/v1/budgets", warning)
    step = {**MODEL, "to_provider": "openai", "to_model": f"{MARK}/gpt-5.4-mini", "context_tokens": 100_000}
    trigger = {"kind": "high_cost", "at_percent": 1, "mode": "observe", "per_call_cost": "0", "downgrades": [step]}
    await world.made("/v1/triggers", {"idempotency_key": fresh(MARK), **trigger})
    renaming = {"asked": {**MODEL, "model": "gpt-5.4-mini"}, "becomes": other, "reason": MARK}
    await world.made("/v1/model-names", {"idempotency_key": fresh(MARK), **renaming})
    mini = {"provider": f"{MARK} q", "model": "openai/gpt-5.4-mini"}
    asked = reservation(**{**marked, **mini, "idempotency_key": fresh(MARK)})
    hold = await world.made("/v1/reservations", asked)
    usage = {"input_tokens": 1_000, "output_tokens": 10}
    settle = {
        "usage": usage,
        "provider": f"{MARK} S",
        "model": f"{MARK} S",
        "response_id": f"{MARK} id",
        "idempotency_key": fresh(MARK),
        "measured": {"error_kind": MARK, "stages": {MARK: 5}},
    }
    part = {**settle, "part": True, "idempotency_key": fresh(MARK)}
    for each in (part, settle):
        await world.made(f"/v1/reservations/{hold['reservation_id']}/settle", each)
    unbilled = await world.made("/v1/reservations", reservation(idempotency_key=fresh(MARK)))
    await world.made(f"/v1/reservations/{unbilled['reservation_id']}/release", {"reason": MARK})
    denied = await world.post("/v1/reservations", reservation(**{**marked, **mini, "max_output_tokens": 9_000}))
    assert denied.status_code == 402, denied.text
    unknown = {**other, "model": f"{MARK} x"}
    events = [
        event(source=MARK, **marked, **unknown),
        {**event(source=MARK, **marked), "idempotency_key": fresh(MARK), MARK: 1},
    ]
    await world.made("/v1/events", {"events": events})
    allocation = [{"agent_type": f"{MARK} a", "weight": 1}]
    run = {"user": f"{MARK} u", "external_id": MARK, "limits": {"tokens": 10**6}, "allocation": allocation}
    run_id = (await world.made("/v1/runs", {"idempotency_key": fresh(MARK), **run}))["run_id"]
    await world.made(f"/v1/runs/{run_id}/steps", {"idempotency_key": fresh(MARK), "label": MARK})
    in_run = {name: value for name, value in marked.items() if name not in ("user", "cost_center")}
    body = event(**in_run, **other, run_id=run_id)
    del body["user"]
    await world.made("/v1/events", {"events": [body]})
    subject = {"subject": {"user": f"{MARK} u"}, "tokens": 5, "reason": MARK}
    for what in ("grants", "increases"):
        path = f"/v1/budgets/{made['budget_id']}/{what}"
        asked = await world.made(path, {"idempotency_key": fresh(MARK), **subject})
    await world.made(f"/v1/increases/{asked['increase_id']}/approve", {"idempotency_key": fresh(MARK), "note": MARK})
    user_token = world.token("acme", user=f"{MARK} u")
    answer = await world.client.post(
        f"/v1/budgets/{made['budget_id']}/increases", headers={"Authorization": f"Bearer {user_token}"},
        json={"idempotency_key": fresh(MARK), **subject},
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    for fields in ({**MODEL, "model": f"{MARK}/gpt-5.4-mini"}, MODEL):
        hold = await world.made("/v1/reservations", reservation(**{**marked, "user": f"{MARK} v", **fields}))
        await world.made(f"/v1/reservations/{hold['reservation_id']}/settle", {"usage": usage})
    change = {"idempotency_key": fresh(MARK), "limits": {"tokens": 5_000}}
    await world.made(f"/v1/budgets/{made['budget_id']}", change, method="PATCH")
    renaming = {"asked": unknown, "becomes": {**other, "model": f"{MARK} y"}, "reason": MARK}
    await world.made("/v1/model-names", {"idempotency_key": fresh(MARK), **renaming})
    rates = {"base": {"input": "1", "output": "2"}}
    for model in (f"{MARK} own", f"{MARK} Own*"):
        body = {"idempotency_key": fresh(MARK), "rates": rates}
        await world.made(f"/v1/prices/{MARK} p/{model}", body, method="PUT")
    own = {"provider": f"{MARK} p", "model": f"{MARK} own"}
    known = {"idempotency_key": fresh(MARK), "capabilities": [MARK]}
    await world.made(f"/v1/models/{MARK} p/{MARK} own", known, method="PUT")
    body = {"idempotency_key": fresh(MARK), "stands_for": own}
    await world.made(f"/v1/aliases/{MARK} q/{MARK} alias", body, method="PUT")
    body = {"idempotency_key": fresh(MARK), "factor": "0.9"}
    await world.made(f"/v1/discounts/{MARK} p/{MARK} d*", body, method="PUT")
    await world.made("/v1/api-keys", {"role": "agent", "name": MARK})
    await world.add_tenant(MARK)
    provider = deepcopy(BY_NAME["identity provider"].fresh_body())
    provider |= {"issuer": f"https://{MARK}.test", "jwks_url": f"https://{MARK}.test/keys", "roles": {MARK: "admin"},
                 "audience": MARK, "user_claim": MARK, "role_claim": MARK}  # fmt: skip
    path = f"/v1/tenants/{world.tenants['acme']}/identity-providers"
    await world.made(path, provider, tenant="operator", role=BY_NAME["identity provider"].who[1])
    await world.made(f"/v1/users/{MARK} gone/erase", {"idempotency_key": fresh(MARK)})
    await world.made("/v1/stop", {"idempotency_key": fresh(MARK), "reason": MARK})
