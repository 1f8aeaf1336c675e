"""A running service on its own database, with tenants, a key for every role, and a way to see what changed."""

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST

from tests.api.waiting import until
from tests.proof.ledger import Ledger
from token_ledger.api.app import create_app
from token_ledger.api.metrics_page import MetricsPage
from token_ledger.config import Settings
from token_ledger.core.model.principal import OPERATOR_TENANT, Role
from token_ledger.core.model.tenant import TenantId
from token_ledger.identity.short_lived_tokens import new_token
from token_ledger.runtime import Service
from token_ledger.storage.api_keys import add_key, parse_key
from token_ledger.storage.prices import load_price_book
from token_ledger.storage.schema.all_tables import TENANT_TABLES
from token_ledger.storage.tenants import add_tenant

PEPPER = "a pepper for tests"
TENANT_ROLES = (Role.AGENT, Role.FINANCE, Role.ADMIN)
_numbers = itertools.count(1)


@dataclass
class Clock:
    """Stands for the module `time` where a test decides how much of it passes."""

    now: int = field(default_factory=lambda: int(time.time()))

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@dataclass
class World:
    """One service, its app behind a client, and the keys of its tenants by (tenant, role)."""

    url: str
    service: Service
    app: FastAPI
    client: httpx2.AsyncClient
    owner: Any
    tenants: dict[str, TenantId] = field(default_factory=dict)
    keys: dict[tuple[str, Role], str] = field(default_factory=dict)

    async def add_tenant(self, name: str, time_zone: str = "UTC") -> TenantId:
        """Make a tenant with a key for each of its roles."""
        async with self.service.database.reading() as connection:
            tenant = await add_tenant(connection, name, time_zone)
            assert tenant is not None, f"tenant {name} is there already"
            for role in TENANT_ROLES:
                self.keys[name, role] = await self._add_key(connection, tenant, role)
        self.keys[name, Role.USER] = self.token(name, user="ada")
        self.tenants[name] = tenant
        return tenant

    def token(self, tenant: str, *, user: str | None = None, run_id: int | None = None, **fields: Any) -> str:
        """Return a short-lived token that a tenant's admin key issued."""
        named = parse_key(self.keys[tenant, Role.ADMIN])
        assert named is not None
        values = {"now": int(time.time()), "ttl_seconds": 900, **fields}
        return new_token(self.service.authenticator.token_key, named[0], named[1], user=user, run_id=run_id, **values)

    async def add_operator(self) -> None:
        """Make the operator's key."""
        async with self.service.database.reading(OPERATOR_TENANT) as connection:
            key = await self._add_key(connection, OPERATOR_TENANT, Role.OPERATOR)
        self.keys["operator", Role.OPERATOR] = key

    async def _add_key(self, connection: Any, tenant: TenantId, role: Role) -> str:
        pepper, environment = self.service.pepper, self.service.settings.environment
        key, _ = await add_key(connection, tenant, role, f"{role} key", environment=environment, pepper=pepper)
        return key

    def headers(self, tenant: str = "acme", role: Role = Role.ADMIN) -> dict[str, str]:
        """Return the headers of a request that a tenant's key of a role makes."""
        return {"Authorization": f"Bearer {self.keys[tenant, role]}"}

    async def get(self, path: str, *, tenant: str = "acme", role: Role = Role.ADMIN, **params: Any) -> httpx2.Response:
        """Get a path as a tenant's key of a role."""
        return await self.client.get(path, headers=self.headers(tenant, role), params=params)

    async def post(
        self, path: str, body: Any = None, *, tenant: str = "acme", role: Role = Role.ADMIN, method: str = "POST"
    ) -> httpx2.Response:
        """Send a JSON body as a tenant's key of a role."""
        value = {} if body is None else body
        return await self.client.request(method, path, headers=self.headers(tenant, role), json=value)

    async def delete(self, path: str, *, tenant: str = "acme", role: Role = Role.ADMIN) -> httpx2.Response:
        """Delete what a path names as a tenant's key of a role."""
        return await self.client.delete(path, headers=self.headers(tenant, role))

    async def made(
        self, path: str, body: Any = None, *, tenant: str = "acme", role: Role = Role.ADMIN, method: str = "POST"
    ) -> dict[str, Any]:
        """Send a body that is surely accepted and return the answer."""
        answer = await self.post(path, body, tenant=tenant, role=role, method=method)
        assert answer.status_code in (200, 201), answer.text
        value: dict[str, Any] = answer.json()
        return value

    async def metrics(self) -> str:
        """Return what Prometheus would scrape now."""
        page = MetricsPage(self.service.registry, self.service.metrics)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(page), base_url="http://metrics") as client:
            answer = await client.get("/metrics")
        assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE_LATEST)
        return answer.text

    async def let_pass(self, tenant: str, days: int) -> None:
        """Let days pass for a tenant: move everything stored of it this many days back."""
        async with self.service.database.reading() as connection:
            prices = await load_price_book(connection)
        await Ledger(self.service.database, self.owner, prices, self.tenants[tenant]).move_back(days)
        await self.forget()

    async def forget(self) -> None:
        """Let the service load again what it knows of its tenants."""
        await self.rows("update tenant_ledgers set config_version = config_version + 1")

    async def rows(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Return what a query finds, asked as the owner of the database."""
        return list(await self.owner.fetch(statement, *values))

    async def state(self, tenant: TenantId | None = None) -> dict[str, tuple[int, str]]:
        """Return row count and checksum of every table that a tenant's rows stand in."""
        rows = await self.rows(_STATE.format(where="" if tenant is None else f"where tenant_id = {int(tenant)}"))
        return {row["name"]: (row["rows"], row["checksum"]) for row in rows}


# A refused command takes a sequence number too, so only the set-up version of a tenant's ledger row is compared.
_ROW = {"tenant_ledgers": "row(t.tenant_id, t.config_version)"}
_STATE = " union all ".join(
    f"select '{table}' as name, count(*) as rows,"
    f" coalesce(sum(hashtextextended({_ROW.get(table, 't.*')}::text, 0)), 0)::text as checksum"
    f" from {table} as t {{where}}"
    for table in (*TENANT_TABLES, "tenants", "identity_providers")
)


@asynccontextmanager
async def open_world(url: str, directory: Path, **settings: Any) -> AsyncIterator[World]:
    """Run a service with two tenants, acme and globex, and an operator."""
    given = {"key_pepper": PEPPER, "data_dir": directory, "environment": "test", **settings}
    service = Service(Settings(**given), url)
    app = create_app(service)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with service.running(), httpx2.AsyncClient(transport=transport, base_url="http://ledger.test") as client:

        async def ready() -> bool:
            return await service.why_not_ready() is None

        await until(ready)
        owner = await asyncpg.connect(url)
        try:
            world = World(url, service, app, client, owner)
            for name in ("acme", "globex"):
                await world.add_tenant(name)
            await world.add_operator()
            yield world
        finally:
            await owner.close()


@asynccontextmanager
async def another_process(world: World) -> AsyncIterator[World]:
    """Run a second service on the database of a world, as another process would."""
    service = Service(world.service.settings, world.url)
    app = create_app(service)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with service.running(), httpx2.AsyncClient(transport=transport, base_url="http://ledger.test") as client:
        await service.reached.wait()
        yield World(world.url, service, app, client, world.owner, world.tenants, world.keys)


def fresh(prefix: str = "key") -> str:
    """Return a name that was not used before in this process."""
    return f"{prefix}-{next(_numbers)}"


def check_problem(response: httpx2.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """Check that an answer is the problem expected, as RFC 9457 writes it; return its value."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    value: dict[str, Any] = response.json()
    assert value["code"] == code, value
    assert value["type"] == f"urn:token-ledger:{code}"
    assert value["status"] == status
    assert value["title"]
    assert value["detail"]
    if field is not None:
        assert field in [error["field"] for error in value["errors"]], value
        assert all(error["message"] for error in value["errors"])
    return value
