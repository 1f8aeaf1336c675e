"""Audio, searches and whatever few calls have over HTTP: priced, visible where not, taken back, and bounded."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

from tests.api.verbs import event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.other_kinds import OTHER_KINDS
from token_ledger.proof.verify import verify_database
from token_ledger.wire.token_kinds import OtherKindName

SEARCHED = {"input_tokens": 1_000, "output_tokens": 100, "web_searches": 2, "images": 1}


async def test_a_settle_says_what_other_kinds_cost(world: World) -> None:
    held = await world.made("/v1/reservations", reservation(model="gpt-5.4"))
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    settled = await world.made(path, {"usage": SEARCHED})
    assert settled["others"] == [
        {"kind": "web_searches", "count": 2, "cost": "0.020000000"}, {"kind": "images", "count": 1, "cost": None},
    ]  # fmt: skip
    assert (settled["cost"], settled["unpriced"]) == ("0.024000000", True)
    again = await world.made(path, {"usage": SEARCHED})
    assert again == {**settled, "replayed": True}
    other = await world.post(path, {"usage": {**SEARCHED, "web_searches": 3}})
    check_problem(other, 409, "idempotency_conflict")
    assert (await verify_database(world.url, "acme")).clean


async def test_a_call_without_other_kinds_has_no_lines_of_them(world: World) -> None:
    held = await world.made("/v1/reservations", reservation())
    used = {"usage": {"input_tokens": 10, "output_tokens": 1}, "service_tier": "standard"}
    assert "others" not in await world.made(f"/v1/reservations/{held['reservation_id']}/settle", used)


async def test_the_batch_tier_costs_half(world: World) -> None:
    costs = []
    for tier in ("standard", "batch", "priority"):
        held = await world.made("/v1/reservations", reservation(model="gpt-5.4"))
        used = {"usage": {"input_tokens": 1_000, "output_tokens": 100}, "service_tier": tier}
        settled = await world.made(f"/v1/reservations/{held['reservation_id']}/settle", used)
        assert not settled["unpriced"]
        costs.append(settled["cost"])
    assert costs == ["0.004000000", "0.002000000", "0.008000000"]


async def test_an_event_with_other_kinds_is_booked_and_can_be_taken_back(world: World) -> None:
    user = fresh("user")
    sent = event(user=user, model="gpt-5.4", usage=SEARCHED, service_tier="flex")
    [booked] = (await world.made("/v1/events", {"events": [sent]}))["results"]
    assert (booked["status"], booked["cost"]) == ("booked", "0.022000000")
    taken = await world.made("/v1/reversals", {"key": sent["idempotency_key"], "source": sent["source"], "reason": "t"})
    assert taken["cost"] == "-0.022000000"
    assert (await verify_database(world.url, "acme")).clean


async def test_more_of_a_kind_than_any_call_has_is_refused_or_kept(world: World) -> None:
    for kind in OTHER_KINDS:
        sent = event(usage={"input_tokens": 10, "output_tokens": 1, kind: 10**12 + 1})
        [kept] = (await world.made("/v1/events", {"events": [sent]}))["results"]
        assert (kept["status"], kept["field"]) == ("quarantined", f"events.0.usage.{kind}")
        held = await world.made("/v1/reservations", reservation())
        used = {"usage": {"input_tokens": 10**12, "output_tokens": 10**12, kind: 10**12 + 1}}
        answer = await world.post(f"/v1/reservations/{held['reservation_id']}/settle", used)
        assert answer.status_code in (200, 422), "tokens are cut to their whole, other kinds are kept for review"


async def test_what_a_call_announces_is_held_and_what_has_no_price_is_named(world: World) -> None:
    asked = reservation(model="gpt-5.4", max_usage={"web_searches": 5, "images": 2}, service_tier="flex")
    held = await world.made("/v1/reservations", asked)
    plain = await world.made("/v1/reservations", reservation(model="gpt-5.4", service_tier="flex"))
    assert Decimal(held["held"]["cost"]) == Decimal(plain["held"]["cost"]) + Decimal("0.05")
    assert (held["without_price"], "without_price" in plain) == (["images"], False)
    assert await world.made("/v1/reservations", asked) == {**held, "replayed": True}
    lent = await world.made("/v1/leases", {**asked, "idempotency_key": fresh("lease"), "calls": 2})
    assert (lent["without_price"], lent["price"]["tiers"][0]["request"]) == (["images"], "0.05")
    planned = await world.made("/v1/preflight", {"calls": [{k: v for k, v in asked.items() if k != "idempotency_key"}]})
    assert planned["cost"] == held["held"]["cost"]
    report = await verify_database(world.url, "acme")
    assert report.clean, report.as_text()


async def test_a_kind_that_nobody_knows_is_no_kind_to_announce(world: World) -> None:
    for wrong in ({"searches": 1}, {"web_searches": -1}, {"input_tokens": 5}):
        answer = await world.post("/v1/reservations", reservation(max_usage=wrong))
        check_problem(answer, 422, "invalid_request")


def test_the_kinds_that_can_be_announced_are_the_other_kinds() -> None:
    assert {*get_args(OtherKindName)} == {*OTHER_KINDS}


async def test_every_grouping_shows_the_same_kinds_and_corrections_take_them_back(own_world: World) -> None:
    world = own_world
    audio = {"input_tokens": 400, "output_tokens": 10, "audio_input_tokens": 300}
    sent = [
        event(user=user, model="gpt-5.4", usage=usage, idempotency_key=fresh("kind"))
        for user in ("ada", "bob")
        for usage in (SEARCHED, SEARCHED, audio, {"input_tokens": 10, "output_tokens": 1})
    ]
    await world.made("/v1/events", {"events": sent})
    await world.made("/v1/reversals", {"key": sent[0]["idempotency_key"], "source": sent[0]["source"], "reason": "t"})
    reports = []
    for dimension in ("user", "agent_type", "model", "cost_center", "request_type"):
        answer = await world.get("/v1/reports/kinds", group_by=dimension)
        assert answer.status_code == 200, answer.text
        rows = answer.json()["rows"]
        kinds = sorted({row["kind"] for row in rows})
        sums = {k: [sum(r[f] for r in rows if r["kind"] == k) for f in ("count", "unpriced")] for k in kinds}
        reports.append((sums, sum(Decimal(row["cost"]) for row in rows)))
    expected = {"audio_input_tokens": [600, 0], "images": [3, 3], "web_searches": [6, 0]}
    assert reports == [(expected, Decimal("0.0615"))] * 5
    row = next(row for row in rows if row["kind"] == "web_searches")
    assert row == {"key": "chat", "kind": "web_searches", "count": 6, "cost": "0.060000000", "unpriced": 0}


async def test_the_report_of_kinds_begins_and_ends_with_its_span(world: World) -> None:
    user, now = fresh("user"), datetime.now(UTC)
    at = [now - timedelta(hours=hours) for hours in (5, 4, 3)]
    sent = [event(user=user, usage=SEARCHED, occurred_at=each.isoformat()) for each in at]
    await world.made("/v1/events", {"events": sent})

    async def searches(since: datetime, until: datetime) -> int:
        span: dict[str, Any] = {"from": since.isoformat(), "to": until.isoformat()}
        rows = (await world.get("/v1/reports/kinds", **span)).json()["rows"]
        counts: list[int] = [row["count"] for row in rows if (row["key"], row["kind"]) == (user, "web_searches")]
        return sum(counts)

    each = await searches(at[1], at[2])  # the start is included, the end is not
    assert each > 0
    assert await searches(at[0], at[2]) == 2 * each
    assert await searches(at[0], now) == 3 * each


async def test_both_reports_agree_on_random_traffic_and_the_spend_has_kinds_only_if_they_are_asked_for(
    own_world: World,
) -> None:
    world, seed = own_world, random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    asked: dict[str, list[int]] = {}
    sent = []
    for _ in range(200):
        usage = {"input_tokens": 10_000, "output_tokens": 5_000}
        for kind in chance.sample(("web_searches", "audio_input_tokens", "images", "pages"), chance.choice((0, 1, 2))):
            usage[kind] = chance.randrange(1, 2_000)
            asked.setdefault(kind, []).append(usage[kind])
        names = {"user": chance.choice("abc"), "agent_type": chance.choice("de"), "cost_center": chance.choice("fg")}
        model = chance.choice(("gpt-5.4", "gpt-5.4-mini", "nobody-knows"))
        sent.append(event(**names, model=model, usage=usage, request_type=chance.choice(("chat", "batch"))))
    results = (await world.made("/v1/usage", {"events": sent}))["results"]
    assert {result["status"] for result in results} == {"booked"}
    expected = {kind: sum(counts) for kind, counts in asked.items()}
    for dimension in ("user", "agent_type", "model", "cost_center", "request_type"):
        listed = (await world.get("/v1/reports/kinds", group_by=dimension)).json()["rows"]
        report = (await world.get("/v1/reports/spend", group_by=dimension, kinds="true")).json()
        values = [row["by"][dimension] for row in report["rows"]]
        used = {value: [use for use in listed if use["key"] == value] for value in values}
        assert used == {
            value: [{"key": value, **use} for use in row["kinds"]]
            for value, row in zip(values, report["rows"], strict=True)
        }
        assert sum(map(len, used.values())) == len(listed)
        assert {use["kind"]: use["count"] for use in report["total"]["kinds"]} == expected
        for use in report["total"]["kinds"]:
            of_kind = [row for row in listed if row["kind"] == use["kind"]]
            assert Decimal(use["cost"]) == sum(Decimal(row["cost"]) for row in of_kind)
            assert use["unpriced"] == sum(row["unpriced"] for row in of_kind)
        for row in report["rows"]:
            assert sum(Decimal(use["cost"]) for use in row["kinds"]) <= Decimal(row["cost"])
        plain = (await world.get("/v1/reports/spend", group_by=dimension)).json()
        for each in (*report["rows"], report["total"]):
            del each["kinds"]
        assert plain == {**report, "from": plain["from"], "to": plain["to"]}
    assert (await verify_database(world.url, "acme")).clean


PAGES: dict[str, Any] = {
    "provider": "mistral", "model": "mistral-ocr-2512", "input_tokens": 0, "max_output_tokens": 0,
}  # fmt: skip


async def test_a_model_that_is_priced_by_the_page_is_held_by_the_page(own_world: World) -> None:
    world = own_world
    none = {"input_tokens": 0, "output_tokens": 0}
    limit = {"idempotency_key": fresh(), "name": "money", "selector": {"user": "ada"}, "limits": {"cost": "0.02"}}
    await world.made("/v1/budgets", {**limit, "window": "total"})
    held = await world.made("/v1/reservations", reservation(**PAGES, max_usage={"pages": 9}))
    assert held["held"] == {"tokens": 0, "cost": "0.018000000", "calls": 1}
    denied = await world.post("/v1/reservations", reservation(**PAGES, max_usage={"pages": 2}))
    check_problem(denied, 402, "budget_exceeded")
    hint = check_problem(await world.post("/v1/reservations", reservation(**PAGES)), 422, "unknown_model", "model")
    assert "announces the most of these as max_usage, and no tokens" in hint["detail"]
    path = f"/v1/reservations/{held['reservation_id']}/settle"
    for part, pages, cost in ((True, 4, "0.008000000"), (False, 1, "0.002000000")):
        body = {"usage": {**none, "pages": pages}, "part": part, "idempotency_key": fresh()}
        settled = await world.made(path, body)
        assert (settled["cost"], settled["unpriced"]) == (cost, False)
    # What served, or what was used, has no price of its own: what was held counts, and it is marked.
    for said, cost in (
        ({"usage": {**none, "pages": 1}, "model": "unheard-of"}, "0.002000000"),
        ({"usage": {"input_tokens": 500, "output_tokens": 9, "pages": 1}}, "0.002000000"),
        ({"usage": {**none, "annotated_pages": 1, "web_searches": 1}}, "0.003000000"),
    ):
        one = await world.made("/v1/reservations", reservation(**PAGES, max_usage={"pages": 1}))
        settled = await world.made(f"/v1/reservations/{one['reservation_id']}/settle", said)
        assert (settled["cost"], settled["unpriced"]) == (cost, True)
    # Where something stands in for unknown prices, it does for the tokens.
    stand_in = {"idempotency_key": fresh(), "rates": {"base": {"input": "15", "output": "75"}}}
    await world.made("/v1/prices/*/*", stand_in, method="PUT")
    for said, cost in (
        ({"usage": {**none, "pages": 1}, "model": "unheard-of"}, "0.002000000"),
        ({"usage": {"input_tokens": 500, "output_tokens": 10, "pages": 1}}, "0.010250000"),
        ({"usage": {**none, "pages": 1, "web_searches": 1}}, "0.002000000"),
    ):
        body = reservation(**{**PAGES, "user": "bob"}, max_usage={"pages": 1})
        one = await world.made("/v1/reservations", body)
        settled = await world.made(f"/v1/reservations/{one['reservation_id']}/settle", said)
        assert (settled["cost"], settled["unpriced"]) == (cost, True)
    assert (await world.get("/v1/recostings")).status_code == 200
    batch = reservation(**{**PAGES, "user": "bob"}, max_usage={"pages": 1}, service_tier="batch")
    assert (await world.made("/v1/reservations", batch))["held"]["cost"] == "0.001000000"
    assert (await verify_database(world.url, "acme")).clean
