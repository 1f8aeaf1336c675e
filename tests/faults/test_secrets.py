"""No secret gets into logs, problems, spans, metrics or the database, whatever is sent and whatever breaks.

A service runs with everything switched on. Keys, tokens and prompts are sent where they belong and where they don't, by
many at a time, while tables refuse rows and the database goes away; then all that the service has said is searched.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from tests.api.test_people import Provider
from tests.api.verbs import event, reservation
from tests.api.world import fresh
from tests.faults.processes import ANSWER_SECONDS, PATIENCE_SECONDS, PrivatePostgres, ServiceProcess
from tests.observability.collector import Collector, running_collector
from token_ledger.cli.database import prepare_database
from token_ledger.cli.keys import make_key
from token_ledger.cli.tenants import make_tenant
from token_ledger.config import Settings
from token_ledger.core.model.principal import Role
from token_ledger.identity.short_lived_tokens import new_token, signing_key
from token_ledger.storage.api_keys import new_key, parse_key

PEPPER = "a-pepper-that-nobody-may-see"
PASSWORD = "a-password-that-nobody-may-see"
OTLP_KEY = "a-collector-key-that-nobody-may-see"
PROVIDER_PASSWORD = "a-provider-password-that-nobody-may-see"
PROMPT = "a prompt that nobody may see"
TAG = "a tag of somebody else"
"""It belongs into the database, and into no log."""
AT_ONCE = 30
ROUNDS = 3


Request = tuple[str, str, dict[str, Any]]
"""A method, a path, and what else is sent."""


@dataclass
class Stage:
    """A service with its database and collector, and the secrets that are sent to it."""

    service: ServiceProcess
    postgres: PrivatePostgres
    collector: Collector
    tenant: int
    credentials: dict[str, str]
    said: list[str] = field(default_factory=list)
    """Every answer, after the request that it is for."""
    statuses: set[int] = field(default_factory=set)

    def secrets(self) -> dict[str, str]:
        """Return the secrets by name: of a key or token the part that makes it one."""
        # Of a token its signature, which may have underscores.
        parts = {name: text.rpartition("." if "." in text else "_")[2] for name, text in self.credentials.items()}
        assert all(len(part) >= 20 for part in parts.values())
        settings = {"pepper": PEPPER, "password": PASSWORD, "collector's key": OTLP_KEY}
        return {**parts, **settings, "prompt": PROMPT, "provider's password": PROVIDER_PASSWORD}

    async def send(self, requests: list[Request]) -> None:
        """Send requests, many at a time, and keep what is answered; they may fail in any way."""
        places = asyncio.Semaphore(AT_ONCE)

        async def send_one(client: httpx2.AsyncClient, request: Request) -> None:
            method, path, options = request
            async with places:
                try:
                    answer = await client.request(method, path, **options)
                except httpx2.TransportError as error:
                    self.said.append(f"{error!r}")
                    return
            self.statuses.add(answer.status_code)
            self.said.append(f"{answer.status_code} {answer.headers} {answer.text}")

        async with httpx2.AsyncClient(base_url=self.service.url, timeout=ANSWER_SECONDS) as client:
            await asyncio.gather(*(send_one(client, request) for request in requests))

    def as_admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credentials['admin']}"}

    def well_placed(self) -> list[Request]:
        """Return requests that are sent as they should be, with every credential, and with one that nobody knows."""
        sent: list[Request] = []
        for credential in self.credentials.values():
            headers = {"Authorization": f"Bearer {credential}"}
            sent += [
                ("POST", "/v1/reservations", {"json": reservation(tags={"note": TAG}), "headers": headers}),
                ("POST", "/v1/events", {"json": {"events": [event(tags={"note": TAG})]}, "headers": headers}),
                ("POST", "/v1/runs", {"json": {"idempotency_key": fresh(), "user": "ada"}, "headers": headers}),
                *(("GET", path, {"headers": headers}) for path in ("/v1/runs", "/v1/me", "/v1/reports/spend")),
            ]
        return sent

    def misplaced(self) -> list[Request]:
        """Return requests with credentials and prompts wherever a caller may put them by mistake."""
        headers = self.as_admin()
        sent: list[Request] = []
        for secret in (*self.credentials.values(), PROMPT):
            # What is sent as a name is one to the ledger, unless it is a key or a token.
            as_names: list[dict[str, Any]] = [
                {"user": secret}, {"idempotency_key": secret}, {"model": secret}, {"user": f"ada {secret}"},
                {"tags": {secret: "x"}}, {"tags": {"x": secret}},
            ]  # fmt: skip
            misread: list[dict[str, Any]] = [
                {"prompt": secret}, {"run_id": secret}, {"input_tokens": secret}, {"user": f"{secret}\x00"},
                *([{secret: 1}] if secret != PROMPT else []),
            ]  # fmt: skip
            bodies: list[dict[str, Any]] = [
                {"path": "/v1/reservations", "json": reservation(**fields)}
                for fields in (*misread, *(as_names if secret != PROMPT else ()))
            ]
            bodies += [
                {"path": "/v1/events", "json": {"events": [event(**fields)]}}
                for fields in (
                    {"prompt": secret}, {"messages": [{"role": "user", "content": secret}]}, {"x": {"y": secret}},
                    {"prompt": f"{secret}\x00"}, {"input": f"{secret}\ud800"}, {"deep": [[[[[[[secret]]]]]]]},
                    *(as_names if secret != PROMPT else ()),
                    *([{**names, "agent_type": 5} for names in as_names] if secret != PROMPT else ()),
                )
            ]  # fmt: skip
            bodies += [
                {"path": "/v1/operations", "json": {"operations": [{"op": "reserve", "messages": secret}]}},
                {"path": "/v1/runs", "json": {"idempotency_key": fresh(), "user": "ada", "messages": [secret]}},
            ]
            if secret != PROMPT:
                bodies += [
                    {"path": "/v1/operations", "json": {"operations": [{"op": "reserve", **reservation(user=secret)}]}},
                    {"path": "/v1/operations", "json": {"operations": [{"op": secret}]}},
                    {"path": "/v1/calendar", "json": {"idempotency_key": fresh(), "time_zone": secret}},
                    {"path": "/v1/api-keys", "json": {"role": secret, "name": "x"}},
                    {
                        "path": "/v1/budgets",
                        "json": {"idempotency_key": fresh(), "name": "x", "limits": {"cost": secret}},
                    },
                    {"path": "/v1/tokens", "json": {"user": secret}},
                    {"path": "/v1/stop", "json": {"idempotency_key": fresh(), "reason": secret}},
                    {"path": "/v1/api-keys", "json": {"role": "agent", "name": secret}},
                    {"path": "/v1/reversals", "json": {"key": secret, "source": "event", "reason": "x"}},
                    {"path": "/v1/resume", "json": {"idempotency_key": fresh()}},
                ]
            as_json = {**headers, "Content-Type": "application/json"}  # written here, for half of a surrogate pair
            sent += [
                ("POST", each["path"], {"content": json.dumps(each["json"]), "headers": as_json}) for each in bodies
            ]
            written = quote(secret, safe="")
            sent += [
                ("GET", f"{path}{written}", {"headers": headers})
                for path in ("/v1/runs?user=", "/v1/runs?external_id=", "/healthz?key=", "/readyz?key=")
            ]
            sent += [
                ("POST", "/v1/reservations", {"content": content, "headers": {**headers, "Content-Type": kind}})
                for content, kind in (
                    (f'{{"user": "{secret}"', "application/json"), (f'"{secret}"', "application/json"),
                    (f"user={written}", "application/x-www-form-urlencoded"),
                )
            ]  # fmt: skip
            if secret == PROMPT:
                continue
            sent += [
                ("GET", path, {"headers": headers})
                for path in (
                    f"/v1/runs?key={written}", f"/v1/runs?{written}=1", f"/v1/runs?after={written}",
                    f"/v1/runs/{written}", f"/v1/{written}", f"/{written}", f"/v1/accounts?subject={written}",
                    f"/v1/reports/spend?from={written}&group_by={written}", f"/docs/{written}",
                )
            ]  # fmt: skip
            sent += [
                ("GET", "/v1/runs", {"headers": given})
                for given in (
                    {"Authorization": secret}, {"Authorization": f"Basic {secret}"}, {"X-Api-Key": secret},
                    {"Cookie": f"key={secret}"}, {**headers, "Last-Event-ID": secret}, {**headers, "Accept": secret},
                )
            ]  # fmt: skip
            body = json.dumps(reservation())
            sent.append(("POST", "/v1/runs", {"content": body, "headers": {**headers, "Content-Type": secret}}))
        return sent

    async def metrics(self) -> str:
        """Return what Prometheus would scrape."""
        async with httpx2.AsyncClient(base_url=self.service.metrics_url, timeout=ANSWER_SECONDS) as client:
            return (await client.get("/metrics")).text


@pytest.fixture
async def stage(postgres: PrivatePostgres, tmp_path: Path) -> AsyncIterator[Stage]:
    await asyncio.to_thread(prepare_database, postgres.url)
    settings = Settings(key_pepper=SecretStr(PEPPER))
    tenant, admin = await make_tenant(settings, postgres.url, "acme", "UTC")
    agent = await make_key(settings, postgres.url, "acme", Role.AGENT, "agent")
    operator = await make_key(settings, postgres.url, "", Role.OPERATOR, "operator")
    named = parse_key(admin)
    assert named is not None
    token = new_token(
        signing_key(PEPPER.encode()), *named, user="ada", run_id=None, now=int(time.time()), ttl_seconds=3_600
    )
    url = re.sub(r"://(\w+):?@", rf"://\1:{PASSWORD}@", postgres.url)
    assert PASSWORD in url
    provider = Provider()
    credentials = {
        "admin": admin, "agent": agent, "operator": operator, "user token": token,
        "unknown": new_key(named[0], "live")[0],
        "mistyped": f"{agent[:-1]}-", "person": provider.token(groups=["root"]),
        "person of nobody": provider.token(iss="https://nobody.test"),
    }  # fmt: skip
    with running_collector() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={OTLP_KEY}",
        }  # fmt: skip
        given = {"key_pepper": PEPPER, "identity_provider_networks": "127.0.0.0/8"}
        service = ServiceProcess(url, tmp_path, given, environment=variables).start()
        try:
            await service.ready()
            made = Stage(service, postgres, collector, int(tenant), credentials)
            await trust(made, provider)
            yield made
        finally:
            service.end()
            provider.close()


async def trust(stage: Stage, provider: Provider) -> None:
    """Let people of the provider in, and try to name one whose address has a login in it."""
    path = f"/v1/tenants/{stage.tenant}/identity-providers"
    headers = {"Authorization": f"Bearer {stage.credentials['operator']}"}
    body = {"issuer": provider.issuer, "audience": "ledger", "role_claim": "groups", "roles": {"root": "admin"}}
    with_login = {
        **body, "audience": "other", "jwks_url": f"http://us:{PROVIDER_PASSWORD}@127.0.0.1:1/keys",
    }  # fmt: skip
    await stage.send([("POST", path, {"json": each, "headers": headers}) for each in (body, with_login)])


async def test_nothing_that_a_service_says_has_a_secret_in_it(stage: Stage) -> None:
    owner = await asyncpg.connect(stage.postgres.url)
    for _ in range(ROUNDS):
        await stage.send(stage.well_placed() + stage.misplaced())
    assert {200, 201, 400, 401, 403, 404, 415, 422} <= stage.statuses

    # Rows are refused with a text of the database that shows them; columns are gone for reads.
    for table in ("reservations", "usage_events", "runs"):
        await owner.execute(f"alter table {table} add constraint nothing check (false) not valid")
    await owner.execute("alter table runs rename column user_id to was_user")
    await stage.send(stage.well_placed() + stage.misplaced())
    await owner.execute("alter table runs rename column was_user to user_id")
    for table in ("reservations", "usage_events", "runs"):
        await owner.execute(f"alter table {table} drop constraint nothing")
    rows = await stored(owner)
    await owner.close()

    await asyncio.to_thread(stage.postgres.crash)
    await stage.send(stage.well_placed() + stage.misplaced())
    await asyncio.to_thread(stage.postgres.start)
    await stage.service.ready()
    await stage.send(stage.well_placed())
    assert 503 in stage.statuses

    metrics = await stage.metrics()
    stage.service.terminate()
    await stage.service.exit_status(PATIENCE_SECONDS)
    log = stage.service.log.read_text()
    assert TAG in rows
    assert TAG not in log
    told = {
        "answers": "\n".join(stage.said), "log": log, "spans": stage.collector.received(), "metrics": metrics,
        "database": rows,
    }  # fmt: skip
    assert all(told.values())
    found = [each for place, text in told.items() for each in found_in(text, place, stage.secrets())]
    assert found == [], "\n\n".join(found)


async def stored(owner: Any) -> str:
    """Return every row of every table of tenants, as text."""
    tables = [
        str(row["name"])
        for row in await owner.fetch(
            "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = relnamespace"
            " where relkind = 'r' and nspname = 'public'"
        )
    ]
    assert len(tables) > 20
    return "\n".join([row[0] for table in tables for row in await owner.fetch(f"select t::text from {table} t")])


def found_in(text: str, place: str, secrets: dict[str, str]) -> list[str]:
    """Return where the secrets are, each with what stands around it."""
    found = []
    for name, secret in secrets.items():
        at = text.find(secret)
        if at >= 0:
            found.append(f"{name} in {place}: {text[max(0, at - 300) : at + len(secret) + 60]}")
    return found
