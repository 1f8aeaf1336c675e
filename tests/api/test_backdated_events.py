"""Usage belongs to the window in which it happened."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.verbs import event, reservation
from tests.api.world import World, fresh
from token_ledger.proof.verify import verify_database

USAGE = {"input_tokens": 1_000, "output_tokens": 1_000}


async def test_events_of_other_days_do_not_fill_today(world: World) -> None:
    tenant, today = fresh("tenant"), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await world.add_tenant(tenant)
    terms = {"selector": {}, "limits": {"tokens": 5_000}, "window": "day"}
    await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": "day", **terms}, tenant=tenant)
    days = (1, 2, 3, 30)
    events = [event(usage=USAGE, occurred_at=(today - timedelta(days=day)).isoformat()) for day in days]
    results = (await world.made("/v1/events", {"events": events}, tenant=tenant))["results"]
    assert [each["status"] for each in results] == ["booked"] * 4
    held = reservation(input_tokens=10, max_output_tokens=10)
    await world.made("/v1/reservations", held, tenant=tenant)
    accounts = (await world.get("/v1/accounts", tenant=tenant)).json()["accounts"]
    settled = {datetime.fromisoformat(a["window_start"]): a["balance"]["settled"]["tokens"] for a in accounts}
    assert settled == {today: 0, **{today - timedelta(days=day): 2_000 for day in days}}
    span: dict[str, Any] = {"from": today.isoformat()}
    report = (await world.get("/v1/reports/spend", tenant=tenant, **span)).json()
    assert report["total"]["calls"] == 0
    assert (await world.get("/v1/thresholds", tenant=tenant)).json()["thresholds"] == []
    assert (await verify_database(world.url, tenant)).clean


async def test_importing_last_month_denies_nobody_this_month(world: World) -> None:
    tenant, now = fresh("tenant"), datetime.now(UTC)
    await world.add_tenant(tenant)
    terms = {"selector": {"user": "*"}, "limits": {"tokens": 5_000}, "window": "month"}
    await world.made("/v1/budgets", {"idempotency_key": fresh(), "name": "month", **terms}, tenant=tenant)
    last_month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(seconds=1)
    events = [event(user=user, usage=USAGE, occurred_at=last_month.isoformat()) for user in ("ada", "bob") * 3]
    await world.made("/v1/events", {"events": events}, tenant=tenant)
    for user in ("ada", "bob"):
        await world.made("/v1/reservations", reservation(user=user), tenant=tenant)
    fired = (await world.get("/v1/thresholds", tenant=tenant)).json()["thresholds"]
    starts = {
        a["account_id"]: a["window_start"] for a in (await world.get("/v1/accounts", tenant=tenant)).json()["accounts"]
    }
    assert {starts[each["account_id"]] < last_month.isoformat() for each in fired} == {True}
