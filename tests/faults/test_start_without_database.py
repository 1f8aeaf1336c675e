"""A service that starts before its database is alive but not ready, and becomes ready without a restart."""

import asyncio
from typing import Any

import httpx2

from tests.faults.clients import Caller, reservation
from tests.faults.conftest import MakeCaller, StartService
from tests.faults.journal import Journal
from tests.faults.processes import PrivatePostgres
from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.api_keys import new_key
from token_ledger.storage.migrations import migrate
from token_ledger.storage.prices import seed_prices

SAMPLES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/reservations", reservation("the call", user="ada")),
    ("POST", "/v1/reservations/65536/settle", {"usage": {"input_tokens": 1, "output_tokens": 1}}),
    ("POST", "/v1/reservations/65536/release", {}),
    ("POST", "/v1/runs", {"idempotency_key": "a run", "user": "ada"}),
    ("GET", "/v1/runs", None),
    ("GET", "/v1/accounts", None),
    ("GET", "/v1/reports/spend", None),
    ("GET", "/v1/live", None),
)


async def test_it_becomes_ready_once_the_database_is_up_and_migrated(
    postgres: PrivatePostgres, start_service: StartService, caller_of: MakeCaller
) -> None:
    await asyncio.to_thread(postgres.crash)
    service = start_service(postgres.url)
    await service.answers("/healthz", 200)
    early = Caller([service.url], new_key(TenantId(1), "live")[0])
    try:
        async with httpx2.AsyncClient() as scraper:
            assert (await scraper.get(f"{service.metrics_url}/metrics")).status_code == 200
        await says_try_again(early, "the server is away")
        await asyncio.to_thread(postgres.start)
        await says_try_again(early, "the database is empty")
        await migrate(postgres.url)
        await service.logs("the price book is empty")
        await says_try_again(early, "there are no prices yet")
    finally:
        await early.close()

    assert await seed_prices(postgres.url) > 0
    await service.ready()
    caller = await caller_of(postgres.url, service)
    held = await caller.post("/v1/reservations", reservation("the call", user="ada", ttl_seconds=1))
    assert (held.status_code, held.json()["replayed"]) == (201, False)
    # The recurring work survived the time without a database too: the hold expires.
    journal = Journal(postgres.url, caller.tenant)
    await journal.holds_are_gone()
    await journal.adds_up()


async def says_try_again(caller: Caller, when: str) -> None:
    """Check that every request is answered 503 with Retry-After."""
    not_ready = await caller.get("/readyz")
    assert (not_ready.status_code, not_ready.headers["retry-after"]) == (503, "1"), when
    for method, path, body in SAMPLES:
        answer = await caller.send(method, path, body)
        assert answer.status_code == 503, (when, method, path, answer.text)
        assert answer.json()["code"] == "unavailable", (when, method, path)
        assert answer.headers["retry-after"] == "1", (when, method, path)
