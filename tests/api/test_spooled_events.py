"""Events that waited in a client's spool are booked at any age, and nobody gains by saying so of what was not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.verbs import event
from tests.api.world import World, fresh
from token_ledger.proof.verify import verify_database
from token_ledger.worker.retention import Retention

USAGE = {"input_tokens": 1_000, "output_tokens": 1_000}
OLD = 40
"""Days: longer than an event may be on its way that no spool kept."""


async def old_tenant(world: World, days: int = 2 * OLD, *windows: str) -> str:
    """Return a tenant that was made so many days ago, with a budget per window."""
    tenant = fresh("tenant")
    await world.add_tenant(tenant)
    for window in windows:
        terms = {"selector": {"user": "*"}, "limits": {"tokens": 5_000}, "window": window}
        await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": window, **terms}, tenant=tenant)
    await world.let_pass(tenant, days)
    return tenant


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


async def sent(world: World, tenant: str, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Send events as a spool does, and return what became of each."""
    operations = [{"op": "event", **each} for each in events]
    results = (await world.made("/v1/operations", {"operations": operations}, tenant=tenant))["results"]
    return [each["body"] for each in results]


async def settled(world: World, tenant: str) -> dict[tuple[str, bool], int]:
    """Return the settled tokens by budget, and whether the account's window is under way."""
    accounts = (await world.get("/v1/accounts", tenant=tenant)).json()["accounts"]
    now, found = datetime.now(UTC).isoformat(), dict[tuple[str, bool], int]()
    for each in accounts:
        key = each["budget"], each["window_end"] is None or each["window_end"] > now
        found[key] = found.get(key, 0) + each["balance"]["settled"]["tokens"]
    return found


async def test_only_what_says_that_it_waited_in_a_spool_may_be_older_than_35_days(world: World) -> None:
    tenant = await old_tenant(world)
    one = event(usage=USAGE, occurred_at=ago(OLD))
    results = await sent(world, tenant, one, event(usage=USAGE, occurred_at=ago(OLD), spooled=True))
    assert [each["status"] for each in results] == ["quarantined", "booked"]
    assert results[0]["code"] == "time_out_of_range"


async def test_it_is_on_the_windows_of_its_time_and_on_none_that_is_under_way(world: World) -> None:
    tenant = await old_tenant(world, 2 * OLD, "day", "month", "total")
    old = event(usage=USAGE, occurred_at=ago(OLD), spooled=True)
    young = event(usage=USAGE, occurred_at=ago(0), spooled=True)
    for _ in range(2):  # sent again, it has the answer that it had
        assert [each["status"] for each in await sent(world, tenant, old, young)] == ["booked", "booked"]
    assert await settled(world, tenant) == {
        ("day", False): 2_000, ("day", True): 2_000, ("month", False): 2_000, ("month", True): 2_000,
        ("total", True): 2_000,
    }  # fmt: skip
    span: dict[str, Any] = {"from": ago(60)}
    report = (await world.get("/v1/reports/spend", tenant=tenant, **span)).json()
    assert (report["total"]["calls"], report["imported"]["calls"]) == (2, 1)
    assert (await verify_database(world.url, tenant)).clean


async def test_it_counts_on_its_run_whatever_its_age(world: World) -> None:
    tenant = await old_tenant(world, OLD)
    body = {"idempotency_key": fresh(), "user": "ada", "limits": {"tokens": 5_000}}
    run_id = (await world.made("/v1/runs", body, tenant=tenant))["run_id"]
    await world.let_pass(tenant, OLD)
    old = event(usage=USAGE, run_id=run_id, user=None, occurred_at=ago(OLD), spooled=True)
    assert [each["status"] for each in await sent(world, tenant, old)] == ["booked"]
    run = (await world.get(f"/v1/runs/{run_id}", tenant=tenant)).json()
    assert run["balance"]["settled"]["tokens"] == 2_000
    before = {**old, "idempotency_key": fresh(), "occurred_at": ago(OLD + 1)}
    [refused] = await sent(world, tenant, before)
    assert (refused["status"], refused["code"]) == ("quarantined", "time_out_of_range")
    assert "before its run was opened" in refused["detail"]
    assert (await verify_database(world.url, tenant)).clean


async def test_nobody_has_spooled_anything_before_there_was_the_tenant(world: World) -> None:
    tenant = await old_tenant(world, OLD)
    results = await sent(
        world, tenant, event(usage=USAGE, occurred_at=ago(OLD), spooled=True),
        event(usage=USAGE, occurred_at=ago(OLD + 1), spooled=True),
        event(usage=USAGE, occurred_at="1970-01-01T00:00:00Z", spooled=True),
    )  # fmt: skip
    assert [each["status"] for each in results] == ["booked", "quarantined", "quarantined"]
    assert "before the tenant was made" in results[1]["detail"]


async def test_a_response_that_was_booked_at_any_time_is_a_duplicate(world: World) -> None:
    tenant = await old_tenant(world, 2)
    first = event(usage=USAGE, response_id="resp_1")
    assert [each["status"] for each in await sent(world, tenant, first)] == ["booked"]
    await world.let_pass(tenant, OLD)
    again = event(usage=USAGE, response_id="resp_1", occurred_at=ago(OLD), spooled=True)
    assert [each["status"] for each in await sent(world, tenant, again)] == ["duplicate"]


@pytest.mark.parametrize("kind", ["llm_call", "tool_call", "cache_hit"])
async def test_what_is_older_than_the_events_that_are_kept_is_kept_whole_and_not_booked(
    kind: str, world: World
) -> None:
    tenant = await old_tenant(world, 2)
    told = event(usage=USAGE, spooled=True)
    if kind != "llm_call":
        told |= {"type": kind, "tool": "search"}
    lost = {**told, "idempotency_key": fresh(), "occurred_at": ago(0)}
    assert [each["status"] for each in await sent(world, tenant, lost)] == ["booked"]
    await world.let_pass(tenant, 150)
    await Retention(world.service.database, 3).drop_months()
    await world.forget()
    assert await world.rows("select * from usage_events where tenant_id = $1", world.tenants[tenant]) == []
    # Of another day than the booked one: the event of a hold has the instant of the call, which ended the day after.
    again = {**lost, "occurred_at": ago(151)}
    [kept] = await sent(world, tenant, again)
    assert (kept["status"], kept["code"]) == ("quarantined", "time_out_of_range")
    [item] = (await world.get("/v1/quarantine", tenant=tenant)).json()["quarantine"]
    assert item["body"] == again
    later = event(usage=USAGE, occurred_at=ago(100), spooled=True)
    assert [each["status"] for each in await sent(world, tenant, later)] == ["booked"]
    assert (await verify_database(world.url, tenant)).clean
