"""What operators ask: is the process up, can it serve, and do the eight figures of the mission have samples."""

import re

from prometheus_client.parser import text_string_to_metric_families

from tests.api.verbs import MODEL, budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.observability.metrics import MISSION_NAMES

Samples = list[tuple[str, dict[str, str], float]]


async def _scrape(world: World) -> Samples:
    answer = await world.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return [(s.name, s.labels, s.value) for family in families for s in family.samples]


def _sum(samples: Samples, name: str, **labels: str) -> float:
    return sum(value for found, has, value in samples if found == name and labels.items() <= has.items())


async def test_a_process_that_serves_is_up_and_ready_without_a_key(world: World) -> None:
    up, ready = await world.client.get("/healthz"), await world.client.get("/readyz")
    assert (up.status_code, up.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_a_process_whose_database_is_at_another_revision_is_up_but_not_ready(own_world: World) -> None:
    await own_world.rows("update alembic_version set version_num = '1999_01_01_older'")
    answer = await own_world.client.get("/readyz")
    problem = check_problem(answer, 503, "unavailable")
    assert "1999_01_01_older" in problem["detail"]
    assert answer.headers["retry-after"]
    assert (await own_world.client.get("/healthz")).status_code == 200


async def test_a_process_that_stops_is_up_but_not_ready(own_world: World) -> None:
    own_world.service.stopping.set()
    check_problem(await own_world.client.get("/readyz"), 503, "unavailable")
    assert (await own_world.client.get("/healthz")).status_code == 200


async def _use_everything(world: World) -> None:
    """Make traffic that every figure of the mission speaks of, but for live streams."""
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"tokens": 4_000}))
    step = {**MODEL, "to_provider": "openai", "to_model": "gpt-5.4-mini", "context_tokens": 10_000}
    trigger = {"idempotency_key": fresh(), "kind": "high_cost", "at_percent": 1, "mode": "apply", "downgrades": [step]}
    await world.made("/v1/triggers", {**trigger, "per_call_cost": "0.001"})
    held = await world.made("/v1/reservations", reservation(user=user))
    usage = {"input_tokens": 900, "output_tokens": 100, "cache_read_tokens": 300, "cache_write_5m_tokens": 100}
    await world.made(
        f"/v1/reservations/{held['reservation_id']}/settle", {"usage": usage, "original_input_tokens": 1_800}
    )
    check_problem(await world.post("/v1/reservations", reservation(user=user, input_tokens=9_000)), 402,
                  "budget_exceeded")  # fmt: skip
    await world.made("/v1/events", {"events": [event(user=user), event(user=user, model="gpt-5.4-mini")]})


def _selected(expression: str) -> list[tuple[str, dict[str, str]]]:
    found = re.findall(r"(token_ledger_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in found]


async def test_every_figure_of_the_mission_has_samples_after_traffic(own_world: World) -> None:
    before = await _scrape(own_world)
    await _use_everything(own_world)
    own_world.service.metrics.stream_events("acme", events=2)  # test_live counts those of real streams
    after = await _scrape(own_world)
    assert len(MISSION_NAMES) == 8
    for figure, expression in MISSION_NAMES.items():
        selected = _selected(expression)
        assert selected, figure
        for name, labels in selected:
            assert _sum(before, name, **labels) == 0, (figure, name)
            assert _sum(after, name, tenant="acme", **labels) > 0, (figure, name)
            assert _sum(after, name, tenant="globex", **labels) == 0, (figure, name)


async def test_counters_show_what_was_booked(own_world: World) -> None:
    await _use_everything(own_world)
    samples = await _scrape(own_world)

    def value(name: str, **labels: str) -> float:
        return _sum(samples, f"token_ledger_{name}", tenant="acme", **labels)

    [row] = await own_world.rows(
        "select count(*) as calls, sum(input_tokens) as input, sum(output_tokens) as output,"
        " sum(cost_nanos) / 1e9 as dollars from usage_events"
    )
    assert value("calls_total") == row["calls"] == 3
    assert value("user_tokens_total", kind="input") == row["input"]
    assert value("user_tokens_total", kind="output") == row["output"]
    assert round(value("cost_dollars_total"), 9) == round(float(row["dollars"]), 9)
    assert value("request_cost_dollars_count") == 3
    assert value("input_tokens_total", source="cache_read") == 300
    assert value("input_tokens_total", source="cache_write") == 100
    assert value("denials_total", enforcement="hard", unit="tokens") == 1
    assert value("compression_input_tokens_total", stage="before") == 1_800
    assert value("compression_input_tokens_total", stage="after") == 900
    assert value("optimizations_total", outcome="ok", technique="model_downgrade") == 1


async def test_a_replay_is_counted_as_an_operation_and_never_as_a_call(own_world: World) -> None:
    sent = {"events": [event()]}
    for _ in range(3):
        await own_world.made("/v1/events", sent)
    samples = await _scrape(own_world)
    assert _sum(samples, "token_ledger_calls_total") == 1
    assert _sum(samples, "token_ledger_operations_total", operation="record", outcome="done") == 1
    assert _sum(samples, "token_ledger_operations_total", operation="record", outcome="replayed") == 2


async def test_requests_are_measured_by_the_template_of_their_route(own_world: World) -> None:
    held = await own_world.made("/v1/reservations", reservation())
    await own_world.made(f"/v1/reservations/{held['reservation_id']}/release")
    await own_world.get(f"/v1/reservations/{held['reservation_id']}")
    await own_world.get("/v1/runs/12345")
    await own_world.client.get("/nowhere/" + fresh())
    samples = await _scrape(own_world)
    counted = {
        (labels["route"], labels["method"], labels["status"]): value
        for name, labels, value in samples
        if name == "token_ledger_http_request_seconds_count"
    }
    assert counted[("/v1/reservations", "POST", "201")] == 1
    assert counted[("/v1/reservations/{reservation_id}/release", "POST", "200")] == 1
    assert counted[("/v1/reservations/{reservation_id}", "GET", "200")] == 1
    assert counted[("/v1/runs/{run_id}", "GET", "404")] == 1
    assert [route for route, _, _ in counted if held["reservation_id"] in route or "12345" in route] == []
    assert ("unknown", "GET", "404") in counted
